"""What pretrained features are worth on a dataset, before anything is fine-tuned."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Estimate, EvaluationProtocol, Result
from metricforge.errors import DataError
from metricforge.judging.compare import paired_differences
from metricforge.model import EmbeddingModel, load
from metricforge.recipes.components import make_protocol
from metricforge.recipes.dataset_spec import located
from metricforge.recipes.recipe import NONE, Recipe
from metricforge.registry import Registry
from metricforge.report.progress import Listener
from metricforge.runs.build import Assembly, assemble
from metricforge.runs.train import run_recipe
from metricforge.scoring.baselines import PIXELS, pixels
from metricforge.scoring.measure import SELECT, Embedded, results_of
from metricforge.scoring.whitening import Whitening
from metricforge.spec import Spec
from metricforge.training.frozen_features import FrozenFeatures

BACKBONES = ("efficientnet-lite0",)
SAMPLERS = ("hard-triplet", "multi-similarity:classes=16,per_class=4")
WIDTH = 512
"""The most dimensions of whitened features."""

FROZEN = "backbone=0"
OF_FEATURES = ", features"
TIMED = 64  # images by which the time of one is measured


@dataclass(frozen=True)
class Row:
    """One way to embed the images.

    Args:
        name: E.g. "efficientnet-lite0, head by hard-triplet".
        backbone: Spec of the backbone, "" for pixels.
        sampler: The sampler that trained a head on the features, "" without.
        dim: Dimensions of an embedding.
        seconds: Seconds that an image takes to be embedded on this machine; None where it is not
            embedded by a network.
        validation: Metrics on the validation classes, by name.
        test: Metrics on the test classes; empty if they stay closed.
        differences: Of the test metrics from the features of the same backbone, over the same
            queries.
    """

    name: str
    backbone: str
    sampler: str
    dim: int
    seconds: float | None
    validation: Mapping[str, Estimate]
    test: Mapping[str, Estimate] = field(default_factory=dict)
    differences: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Baseline:
    """Ways to embed a dataset without fine-tuning, the best on the validation classes first.

    Args:
        dataset: Name of the dataset.
        rows: The ways.
        command: The command that trains on from the choice.
        validation_classes: Number of classes that rank the ways, and of their images.
        test_classes: Number of classes that test them, and of their images.
        closed_set: Whether the test classes are training classes too.
        notes: Sentences for the user.
    """

    dataset: str
    rows: tuple[Row, ...]
    command: tuple[str, ...]
    validation_classes: tuple[int, int]
    test_classes: tuple[int, int]
    closed_set: bool
    notes: tuple[str, ...] = ()

    @property
    def choice(self) -> Row:
        """The best way on the validation classes."""
        return self.rows[0]

    def to_json(self) -> dict[str, Any]:
        """The table as plain values for JSON."""
        return asdict(self) | {
            "choice": self.choice.name,
            "command": shlex.join(self.command),
        }


def baseline(
    dataset: Any,
    *,
    backbones: Sequence[str] = BACKBONES,
    samplers: Sequence[str] = SAMPLERS,
    split: str | None = None,
    test: bool = True,
    data_root: str | None = None,
    device: str = "auto",
    feature_cache: str | None = None,
    seed: int = 0,
    registry: Registry | None = None,
    listener: Listener | None = None,
) -> Baseline:
    """Rank pixels, frozen features and heads on them, on validation and then on test classes.

    Each backbone embeds each image once. Its features are compared by their cosine, as they are and
    whitened, and by a linear head that each sampler trains on them.

    Args:
        dataset: A spec, a path or a Dataset.
        backbones: Specs of pretrained backbones.
        samplers: Specs of the samplers that train a head, each with its default loss.
        split: Spec of the split. Default: that of `train`.
        test: Whether to open the test classes.
        data_root: Folder of the datasets. Default: "data".
        device: "auto", "cpu", "cuda" or "mps".
        feature_cache: Folder that keeps the features, or "none". Default: ~/.cache/metricforge.
        seed: Seed of the heads.
        registry: Registry of components. Default: what is installed.
        listener: Receives the progress.

    Returns:
        The ways, the best first.

    Raises:
        DataError: No two classes validate, so that nothing can be ranked.
        UsageError: A component does not exist, or a backbone's package is not installed.
    """
    registry, listener = registry or Registry.installed(), listener or Listener()
    recipe = located(
        Recipe.from_values(
            {
                "dataset": dataset, "split": split, "rates": FROZEN, "test": False, "seed": seed,
                "device": device, "protocols": ("retrieval",), "feature_cache": feature_cache,
            }
            | ({"data_root": data_root} if data_root else {}),
            "baseline()",
        ),
        registry,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="metricforge-") as scratch:
        if recipe.feature_cache == NONE:
            # Heads of one backbone share its features all the same.
            recipe = recipe.but(feature_cache=f"{scratch}/features")
        ways: list[_Way] = []
        for text in backbones:
            own = recipe.but(backbone=Spec.parse(text))
            assembly = assemble(own.but(sampler=Spec.parse(samplers[0])), registry)
            _refuse_unranked(assembly)
            if not ways:
                ways.append(_pixels(assembly))
            ways += _ways(own, assembly, samplers, Path(scratch), registry, listener)
        data = dataset if isinstance(dataset, str) else str(recipe.dataset)
        return _ranked(ways, assembly, data, split, test, registry)


@dataclass(frozen=True)
class _Way:
    """A row, and how it embeds the images [M] at indices."""

    row: Row
    embed: Callable[[Tensor], Tensor]


def _refuse_unranked(assembly: Assembly) -> None:
    classes = assembly.dataset.labels[assembly.split.validation].unique()
    if len(classes) < 2:
        raise DataError(
            f"nothing can be ranked: {len(classes)} classes of '{assembly.dataset.name}' validate; "
            "take another split, e.g. --split random:validation=0.2,test=0.3."
        )


def _pixels(assembly: Assembly) -> _Way:
    shown = pixels(assembly.images, assembly.split.validation[:1])
    row = Row(PIXELS, "", "", shown.shape[1], None, {})
    return _Way(row, lambda indices: pixels(assembly.images, indices))


def _ways(
    recipe: Recipe,
    assembly: Assembly,
    samplers: Sequence[str],
    scratch: Path,
    registry: Registry,
    listener: Listener,
) -> Iterator[_Way]:
    """The features of one backbone, whitened, and heads that are trained on them."""
    features = assembly.inputs
    assert isinstance(features, FrozenFeatures), "the backbone is frozen"
    train, name = assembly.split.train, str(recipe.backbone)
    every = torch.cat([train, assembly.split.validation])
    listener.say(f"{name}: embedding {len(every):,} images once.")
    _embed_all(features, every, listener)
    row = Row(f"{name}{OF_FEATURES}", name, "", features.width, _seconds(features, train), {})
    yield _Way(row, lambda indices: F.normalize(features.take(indices).cpu(), dim=1))
    whitening = Whitening.of(features.take(train).cpu(), WIDTH)
    yield _Way(
        replace(row, name=f"{name}, whitened", dim=len(whitening.axes)),
        lambda indices: F.normalize(whitening(features.take(indices).cpu()), dim=1),
    )
    for number, sampler in enumerate(samplers):
        listener.say(f"{name}: a linear head by {sampler}.")
        out = scratch / f"{len(list(scratch.iterdir()))}-{number}"
        run = run_recipe(
            recipe.but(sampler=Spec.parse(sampler)), out=out, registry=registry, listener=listener
        )
        model = load(run.path, device="cpu", registry=registry)
        yield _Way(
            replace(
                row,
                name=f"{name}, head by {_short(sampler, samplers)}",
                sampler=sampler,
                dim=model.card.dim,
            ),
            partial(_headed, model, features),
        )


def _short(sampler: str, samplers: Sequence[str]) -> str:
    """The name of a sampler without its options, if no other has the name."""
    names = [Spec.parse(each).name for each in samplers]
    name = Spec.parse(sampler).name
    return name if names.count(name) == 1 else sampler


@torch.no_grad()
def _headed(model: EmbeddingModel, features: FrozenFeatures, indices: Tensor) -> Tensor:
    embeddings: Tensor = model(features.take(indices).cpu())
    return embeddings


def _embed_all(features: FrozenFeatures, indices: Tensor, listener: Listener) -> None:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        listener.embedded(done, len(indices))

    features.compute(indices, count)


def _seconds(features: FrozenFeatures, train: Tensor) -> float:
    """The seconds that an image takes, decoded and embedded, on this machine."""
    began = time.perf_counter()
    shown = train[:TIMED]
    features.embed(shown)
    return (time.perf_counter() - began) / len(shown)


def _ranked(
    ways: Sequence[_Way],
    assembly: Assembly,
    data: str,
    split_spec: str | None,
    test: bool,
    registry: Registry,
) -> Baseline:
    """The rows with their metrics, by the main one on the validation classes."""
    protocols = {"retrieval": make_protocol(registry, Spec.parse("retrieval"))}
    split, labels = assembly.split, assembly.dataset.labels

    def results(indices: Tensor) -> dict[str, Result]:
        rows = {way.row.name: way.embed(indices) for way in ways}
        part = Embedded(rows, indices)
        return {name: _result(name, part, protocols, assembly) for name in rows}

    validation = results(split.validation)
    tested = results(split.test) if test else {}
    rows = []
    for way in ways:
        name, base = way.row.name, f"{way.row.backbone}{OF_FEATURES}"
        differs = base in tested and base != name
        rows.append(
            replace(
                way.row,
                validation=validation[name].estimates,
                test=tested[name].estimates if tested else {},
                differences=paired_differences(tested[base], tested[name]) if differs else {},
            )
        )
    rows.sort(key=lambda row: -row.validation[SELECT].value)
    return Baseline(
        dataset=assembly.dataset.name,
        rows=tuple(rows),
        command=_command(data, split_spec, rows),
        validation_classes=(len(labels[split.validation].unique()), len(split.validation)),
        test_classes=(len(labels[split.test].unique()), len(split.test)),
        closed_set=split.closed_set,
        notes=assembly.notes,
    )


def _result(
    name: str, part: Embedded, protocols: Mapping[str, EvaluationProtocol], assembly: Assembly
) -> Result:
    (result,) = results_of(name, part, protocols, assembly.dataset, None)
    return result


def _command(data: str, split: str | None, rows: Sequence[Row]) -> tuple[str, ...]:
    """The command that fine-tunes the backbone of the best way by the best sampler for it."""
    backbone = next(row.backbone for row in rows if row.backbone)
    samplers = [row.sampler for row in rows if row.sampler and row.backbone == backbone]
    words = ["metricforge", "train", "--dataset", data, *(("--split", split) if split else ())]
    words += ["--backbone", backbone]
    return (*words, *(("--sampler", samplers[0]) if samplers else ()))
