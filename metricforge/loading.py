"""Models as their cards describe them: built anew, or loaded with their weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from metricforge.atomic_files import read_folder
from metricforge.contracts import Adapter
from metricforge.errors import ArtefactError, PluginError, UsageError
from metricforge.fetching import nothing_fetched
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card, model_folder, read_card
from metricforge.registry import Registry
from metricforge.runtime import Runtime
from metricforge.spec import Spec
from metricforge.weights.adapting import adapt, weights_hash
from metricforge.weights.matching import load_exactly, start_from
from metricforge.weights.reading import WEIGHTS, parsed, read_weights


def build(
    registry: Registry,
    card: Card,
    backbone: nn.Module | None,
    head: nn.Module | None,
    adapters: Sequence[Adapter] | None = None,
) -> EmbeddingModel:
    """The untrained model that a card describes; finished modules may replace its specs.

    Raises PluginError for a backbone without `out_features`.
    """
    if adapters is None:
        adapters = [registry.build("adapter", Spec.parse(spec), {}) for spec in card.adapters]
    if backbone is None:
        backbone = registry.build("backbone", Spec.parse(card.backbone), card.offers)
    features = getattr(backbone, "out_features", None)
    if not isinstance(backbone, nn.Module) or not isinstance(features, int):
        raise PluginError(f"backbone '{card.backbone}' must be an nn.Module with int out_features.")
    if head is None:
        offers: dict[str, Any] = {"in_features": features, "dim": card.dim}
        head = registry.build("head", Spec.parse(card.head), offers)
    if not isinstance(head, nn.Module):
        raise PluginError(f"head '{card.head}' must be an nn.Module.")
    adapt(backbone, adapters)
    return EmbeddingModel(backbone, head, card, adapters)


def load(
    folder: str | os.PathLike[str],
    *,
    backbone: nn.Module | None = None,
    head: nn.Module | None = None,
    base: str | os.PathLike[str] | None = None,
    device: str = "auto",
    registry: Registry | None = None,
) -> EmbeddingModel:
    """Load the model in a folder, in evaluation mode.

    Args:
        folder: A run, its folder, or its `model/`; or `hub:OWNER/NAME[@REVISION]`, a model on a
            hub, which is downloaded unless it is in the cache.
        backbone: Required if the model was trained with a backbone module of your own.
        head: Likewise.
        base: File with the backbone's weights before training, for a model that was saved with
            `base=False`.
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.

    Returns:
        The model.

    Raises:
        ArtefactError: The folder is damaged or foreign, or its weights don't fit.
        UsageError: A module of your own, or the base, is missing.
        ResourceError: A hub can't be reached, or grants no access.
    """
    folder = model_folder(folder)
    registry = registry or Registry.installed()
    files = read_folder(folder)
    card = read_card(folder, files)
    for name, module in (("backbone", backbone), ("head", head)):
        if module is None and getattr(card, name).startswith("object "):
            raise UsageError(
                f"{folder} was trained with a {name} of your own ({getattr(card, name)[7:]}): "
                f"pass it, load(..., {name}=...)."
            )
    if own := [spec for spec in card.adapters if spec.startswith("object ")]:
        raise UsageError(
            f"{folder} was trained with an adapter of your own ({own[0][7:]}), and can't be loaded "
            "by name; save model.merged(), or make the adapter a plugin."
        )
    with nothing_fetched(f"loading the model in {folder}"):
        model = build(registry, card, backbone, head, () if base else None)
    if base:
        _put_base(model, os.fspath(base), registry, folder)
    content = files.get(WEIGHTS, b"")
    if (
        card.adapters
        and not base
        and not model.base_weights() <= parsed(content, str(folder)).keys()
    ):
        raise UsageError(
            f"the model in {folder} was saved without the weights that its adapters sit on: load("
            "..., base=FILE)."
        )
    load_exactly(model, content, folder, model.base_weights() if base else ())
    runtime = Runtime.resolve(device)
    runtime.place(model)
    return model.eval()


def _put_base(model: EmbeddingModel, base: str, registry: Registry, folder: Path) -> None:
    """Load a file into the backbone, then apply the model's adapters.

    ArtefactError if the file is not what they were trained on.
    """
    if not model.card.adapters:
        raise UsageError(f"the model in {folder} has no adapters: leave base out.")
    start_from(model.backbone, read_weights(base).of_part("backbone"), "the backbone")
    if weights_hash(model.backbone) != model.card.base:
        raise ArtefactError(f"the adapters in {folder} were not trained on the weights in {base}.")
    specs = model.card.adapters
    model.adapters = tuple(registry.build("adapter", Spec.parse(spec), {}) for spec in specs)
    adapt(model.backbone, model.adapters)
