"""A backbone and a head: images or vectors in, embeddings out; saved without pickles."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metricforge.atomic_files import read_folder, write_folder
from metricforge.contracts import Adapter, ScalingItself
from metricforge.data.model_inputs import Encodable, batches
from metricforge.errors import ArtefactError, DivergedError, PluginError, UsageError
from metricforge.fetching import nothing_fetched
from metricforge.model_card import FORMAT, Card, model_folder, read_card, readme
from metricforge.pairwise.unit_length import unit_rows
from metricforge.registry import Registry
from metricforge.runtime import Runtime
from metricforge.runtime.allocator import keep_large_blocks
from metricforge.runtime.evaluation_mode import evaluating
from metricforge.runtime.forks import without_lost_threads
from metricforge.spec import Spec
from metricforge.weights.adapting import adapt, merge, weights_hash
from metricforge.weights.matching import load_exactly, start_from
from metricforge.weights.reading import WEIGHTS, parsed, read_weights

MOST_PIXELS, MOST_IMAGES = 512 * 64 * 64, 512
"""Pixels and images that a network embeds at a time: the outputs of its layers take many times the
memory of its input, 15 GB for 512 images of 224 x 224 pixels."""


class EmbeddingModel(nn.Module):
    """Images to embeddings: normalisation, backbone, head, and unit length if the head requires it.

    uint8 images [B, C, H, W], or vectors float32 [B, V], to float32 embeddings [B, D].

    Args:
        backbone: `nn.Module` from normalised images [B, C, H, W], or vectors [B, V], to features
            [B, F].
        head: `nn.Module` from features to embeddings [B, D].
        card: Description of the model.
        adapters: The adapters that the backbone has got.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        card: Card,
        adapters: Sequence[Adapter] = (),
    ) -> None:
        super().__init__()
        self.adapters = tuple(adapters)
        self.backbone, self.head, self.card = backbone, head, card
        self.unit_length = bool(head.unit_length) if isinstance(head, ScalingItself) else True
        self.train_size: tuple[int, int] | None = None
        """Height and width of the backbone's input in training. Default: as in evaluation."""
        channels = (1, len(card.mean)) if card.of_vectors else (1, len(card.mean), 1, 1)
        self.register_buffer("mean", torch.tensor(card.mean).view(channels), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images, or what the backbone has made of them.

        Args:
            images: uint8 [B, C, H, W], or features [B, F] of the backbone; of a model of vectors
                float32 [B, V].

        Returns:
            float32 [B, D].
        """
        has_features = images.ndim == 2 and not self.card.of_vectors
        embedding: Tensor = self.head(images if has_features else self.features(images))
        if embedding.dtype != torch.float64:
            embedding = embedding.float()
        return unit_rows(embedding) if self.unit_length else embedding

    def features(self, images: Tensor) -> Tensor:
        """The features of the backbone, before the head.

        Args:
            images: uint8 [B, C, H, W], or vectors float32 [B, V].

        Returns:
            [B, F].
        """
        pixels = images if self.card.of_vectors else self._resized(images.float()) / 255
        # The statistics have the type of a model that was made .half() or .double().
        features: Tensor = self.backbone(((pixels - self.mean) / self.std).to(self.mean.dtype))
        return features

    @property
    def device(self) -> torch.device:
        """The device of the model, which may have no parameters."""
        return self.mean.device

    @property
    def batch(self) -> int:
        """The images to embed at a time, by the pixels of the network's input."""
        if self.card.of_vectors:
            return MOST_IMAGES
        height, width = self.card.input_size or self.card.shape[1:]
        return min(MOST_IMAGES, max(1, MOST_PIXELS // (height * width)))

    @property
    def width(self) -> int:
        """F, the number of features of the backbone."""
        return int(self.backbone.out_features)  # type: ignore[arg-type]

    def features_of(self, images: Tensor, runtime: Runtime) -> Tensor:
        """The features of a batch, in evaluation mode and without gradient.

        Args:
            images: uint8 [B, C, H, W].
            runtime: Device and precision.

        Returns:
            float32 [B, F] on the CPU.
        """
        with evaluating(self), torch.inference_mode(), runtime.autocast():
            return self.features(runtime.prepare(images)).float().cpu()

    def _resized(self, images: Tensor) -> Tensor:
        size, mode = self.card.input_size, self.card.interpolation
        if self.training and self.train_size:
            size = self.train_size
        if size is None or images.shape[2:] == size:
            return images
        resized = F.interpolate(images, size, mode=mode, antialias=True, align_corners=False)
        return resized.clamp(0, 255)  # bicubic overshoots

    def embed(self, batches: Iterable[Tensor], runtime: Runtime | None = None) -> Tensor:
        """Embed batches that have the model's shape, in evaluation mode and without gradient.

        Args:
            batches: uint8 [B, C, H, W] each, or vectors float32 [B, V].
            runtime: Device and precision. Default: the model's device, in float32.

        Returns:
            float32 embeddings [N, D] on the CPU.
        """
        runtime = runtime or Runtime(self.device)
        keep_large_blocks()
        without_lost_threads()
        with evaluating(self), torch.inference_mode(), runtime.autocast():
            rows = [self(runtime.prepare(images)).cpu() for images in batches]
        return torch.cat(rows) if rows else torch.zeros(0, self.card.dim)

    def encode(
        self,
        images: Encodable,
        batch_size: int | None = None,
        *,
        broken: dict[int, str] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> NDArray[np.float32]:
        """Embed images of any size or source.

        Images are resized, and converted to the channels that the model was trained on. Files and
        PIL images are read as those of its dataset were, e.g. inverted. An array must look as that
        dataset's images do.

        Args:
            images: uint8 [N, C, H, W], [N, H, W, C] or [N, H, W] (grey) as a tensor or an array; or
                a list or another iterable of files, PIL images and arrays [H, W, C], [C, H, W] or
                [H, W]. Of a model of vectors: real numbers [N, V], as a tensor, an array or lists.
            batch_size: Images in a batch, 1 or more. Default: up to 512, fewer if they are large.
            broken: Dict that gets the index of each listed image that can't be decoded, with the
                reason; these have no row. Default: the first of them raises.
            progress: Called with the number of images of each batch, when it is embedded.

        Returns:
            Embeddings float32 [N, D].

        Raises:
            DataError: `images` is anything else, e.g. one image that is in no list.
            UsageError: `batch_size` is below 1.
            DivergedError: An embedding is NaN or infinite; the error names the image.
        """
        without_lost_threads()
        rows = []
        card, size = self.card, self.batch if batch_size is None else batch_size
        for names, batch in batches(images, size, card.shape, card.reading, broken):
            embeddings = self.embed([batch]).float().numpy()
            _refuse_not_finite(embeddings, names)
            rows.append(embeddings)
            if progress:
                progress(len(batch))
        return np.concatenate(rows) if rows else np.zeros((0, self.card.dim), np.float32)

    def merged(self) -> EmbeddingModel:
        """A copy without adapters, whose weights have what these added.

        It embeds as this model does, and costs what the backbone alone does.
        """
        model = copy.deepcopy(self)
        merge(model.backbone, model.adapters)
        model.adapters, model.card = (), replace(self.card, adapters=(), base="")
        return model.requires_grad_(True)

    def save(self, folder: str | Path, base: bool = True) -> None:
        """Save the model as safetensors, JSON and a readable card.

        Args:
            folder: Folder to write.
            base: Whether to save the weights of the backbone that adapters keep from learning.
                Without them, `load` takes them from a file.

        Raises:
            UsageError: The model has no adapters, and nothing to leave out.
        """
        if not base and not self.adapters:
            raise UsageError("the model has no adapters: base=False leaves nothing out.")
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        kept = {name: value for name, value in weights.items() if base or name not in self._base()}
        files = {
            WEIGHTS: save_tensors(kept),
            "model.json": json.dumps(asdict(self.card) | {"format": FORMAT}, indent=1).encode(),
            "README.md": readme(self.card).encode(),
        }
        write_folder(Path(folder), files)

    def _base(self) -> set[str]:
        """The names of the backbone's weights that do not learn."""
        every = self.backbone.named_parameters(prefix="backbone")
        return {name for name, parameter in every if not parameter.requires_grad}


def without_head(model: EmbeddingModel) -> EmbeddingModel:
    """The same backbone; its features, scaled to unit length, are the embedding."""
    return EmbeddingModel(model.backbone, nn.Identity(), model.card)


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
        folder: A run, its folder, or its `model/`.
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
    if card.adapters and not base and not model._base() <= parsed(content, str(folder)).keys():
        raise UsageError(
            f"the model in {folder} was saved without the weights that its adapters sit on: load("
            "..., base=FILE)."
        )
    load_exactly(model, content, folder, model._base() if base else ())
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


def _refuse_not_finite(rows: NDArray[np.float32], names: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DivergedError(
            f"the embedding of '{names[bad[0]]}' is NaN or infinite: the model has diverged, or "
            "its mean and std are none; train it with a smaller learning rate or in float32."
        )
