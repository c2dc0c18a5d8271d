"""Ways to embed a dataset by a network that does not learn, and by heads on its features."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor

from metricforge.contracts import Estimate
from metricforge.data.images import Images
from metricforge.errors import Interrupted
from metricforge.loading import load
from metricforge.model import EmbeddingModel
from metricforge.recipes.pretrained import IDENTITY
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.report.progress import Listener
from metricforge.runs.build import Assembly
from metricforge.runs.train import run_recipe
from metricforge.scoring.baselines import PIXELS, VECTORS, directions, pixels
from metricforge.scoring.whitening import Whitening
from metricforge.spec import Spec
from metricforge.training.frozen_features import FrozenFeatures

WIDTH = 512
"""The most dimensions of whitened features."""

WHITENED = 20_000
"""The most training images by which features are whitened."""

TIMED = 64
"""Images by which the time of one is measured."""


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
class Way:
    """A row, and how it embeds the images [M] at indices."""

    row: Row
    embed: Callable[[Tensor], Tensor]


def features_name(backbone: str) -> str:
    """The name of the row of a backbone's features as they are."""
    return VECTORS if backbone == str(IDENTITY) else f"{backbone}, features"


def pixels_way(assembly: Assembly) -> Way:
    shown = pixels(assembly.images, assembly.split.validation[:1])
    row = Row(PIXELS, "", "", shown.shape[1], None, {})
    return Way(row, lambda indices: pixels(assembly.images, indices))


def backbone_ways(
    recipe: Recipe,
    assembly: Assembly,
    samplers: Sequence[str],
    scratch: Path,
    registry: Registry,
    listener: Listener,
) -> Iterator[Way]:
    """The features of one backbone, whitened, and heads that are trained on them."""
    features, train, backbone = assembly.inputs, assembly.split.train, str(recipe.backbone)
    name = VECTORS if backbone == str(IDENTITY) else backbone
    seconds = None
    if isinstance(features, FrozenFeatures):
        every = torch.cat([train, assembly.split.validation])
        listener.say(f"{name}: embedding {len(every):,} images once.")
        features.compute(every, listener.counting("features", len(every)))
        seconds = _seconds(features, train)
    row = Row(features_name(backbone), backbone, "", assembly.setup.model.width, seconds, {})
    yield Way(row, lambda indices: directions(_known(features, indices)))
    sample = train[:: -(-len(train) // WHITENED)]
    whitening = Whitening.of(_known(features, sample), WIDTH)
    yield Way(
        replace(row, name=f"{name}, whitened", dim=len(whitening.axes)),
        lambda indices: directions(whitening(_known(features, indices))),
    )
    for sampler in samplers:
        listener.say(f"{name}: a linear head by {sampler}.")
        out = Path(mkdtemp(dir=scratch))
        own = recipe.but(sampler=Spec.parse(sampler))
        try:
            run = run_recipe(own, out=out, registry=registry, listener=listener)
        except Interrupted as stop:
            # The run itself is gone with the scratch folder.
            stopped = Interrupted("stopped before anything was ranked; run the command again.")
            stopped.exit_code = stop.exit_code
            raise stopped from None
        model = load(run.path, device="cpu", registry=registry)
        yield Way(
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
def _headed(model: EmbeddingModel, features: Images, indices: Tensor) -> Tensor:
    embeddings: Tensor = model(_known(features, indices))
    return embeddings


def _known(features: Images, indices: Tensor) -> Tensor:
    """Features [M, F] on the CPU, those of earlier runs where there are any."""
    if isinstance(features, FrozenFeatures):
        features.compute(indices)
    return features.take(indices).cpu()


def _seconds(features: FrozenFeatures, train: Tensor) -> float:
    """The seconds that an image takes, decoded and embedded, on this machine."""
    began = time.perf_counter()
    shown = train[:TIMED]
    features.embed(shown)
    return (time.perf_counter() - began) / len(shown)
