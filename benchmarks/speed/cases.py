"""What the mining benchmark runs: ours, pytorch-metric-learning's, and the two floors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.training.mining import mine

Step = Callable[[Tensor, Tensor], object]
"""From embeddings [B, D] that want a gradient and labels [B] to that gradient, and no further."""

ROWS = 128


def tiled_limit(embeddings: Tensor, labels: Tensor) -> None:
    """One product in tiles with the highest and the lowest of each row: what mining has to read."""
    rows = embeddings.detach()
    tile = rows.new_empty(min(ROWS, len(rows)), len(rows))
    for part in rows.split(ROWS):
        values = torch.mm(part, rows.T, out=tile[: len(part)])
        values.amax(1)
        values.amin(1)


def three_products(embeddings: Tensor, labels: Tensor) -> None:
    """Three products of B x B x D: what any loss over all pairs with its gradient multiplies."""
    rows = embeddings.detach()
    tile = rows.new_empty(min(ROWS, len(rows)), len(rows))
    gradient = torch.zeros_like(rows)
    for part in rows.split(ROWS):
        values = torch.mm(part, rows.T, out=tile[: len(part)])
        torch.mm(values, rows)
        gradient.addmm_(values.T, part)


def ours(sampler: str | None, miner: str = "", loss: str = "") -> Callable[[Tensor], Step]:
    """Mining and loss of a sampler, or of a miner and a loss."""

    def build(labels: Tensor) -> Step:
        registry = Registry.installed()
        offers: Any = {"labels": labels.cpu(), "groups": None}
        made = registry.build("sampler", Spec.parse(sampler), offers) if sampler else None
        spec = Spec.parse(loss or made.default_loss)  # type: ignore[union-attr]
        measure = registry.build("loss", spec, {"dim": 128, "num_classes": 2})
        if isinstance(measure, torch.nn.Module):
            measure.to(labels.device)
        choose = registry.build("miner", Spec.parse(miner), {}) if miner else made.miner  # type: ignore[union-attr]

        def step(embeddings: Tensor, labels: Tensor) -> None:
            with torch.no_grad():
                tuples = mine(choose, embeddings.detach(), labels, np.random.default_rng(0))
            measure(embeddings, labels, tuples).backward()

        return step

    return build


def theirs(
    loss: Callable[[], Any], miner: Callable[[], Any] | None = None
) -> Callable[[Tensor], Step]:
    """A loss of pytorch-metric-learning, with one of its miners or without."""

    def build(labels: Tensor) -> Step:
        measure, choose = loss().to(labels.device), miner() if miner else None

        def step(embeddings: Tensor, labels: Tensor) -> None:
            tuples = choose(embeddings, labels) if choose else None
            measure(embeddings, labels, tuples).backward()

        return step

    return build


def floor(step: Step) -> Callable[[Tensor], Step]:
    """Something that needs no building."""
    return lambda labels: step


EUCLIDEAN = distances.LpDistance
LIMIT, PRODUCTS = "tiled limit", "three products"
FLOORS: Mapping[str, Callable[[Tensor], Step]] = {
    LIMIT: floor(tiled_limit),
    PRODUCTS: floor(three_products),
}
# Ours, the floor to hold it against, and what pytorch-metric-learning has for the same.
CASES: Mapping[str, tuple[Callable[[Tensor], Step], str, Callable[[Tensor], Step] | None]] = {
    "hard-triplet + triplet": (
        ours("hard-triplet", loss="triplet"),
        LIMIT,
        theirs(losses.TripletMarginLoss, miners.BatchHardMiner),
    ),
    "all-triplets": (ours("all-triplets"), PRODUCTS, theirs(losses.TripletMarginLoss)),
    "semihard-triplet": (
        ours("semihard-triplet"),
        PRODUCTS,
        theirs(
            losses.TripletMarginLoss,
            lambda: miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard"),
        ),
    ),
    "random-hard-triplet": (ours("random-hard-triplet"), PRODUCTS, None),
    "easy-positive": (
        ours("easy-positive"),
        PRODUCTS,
        theirs(losses.TripletMarginLoss, lambda: miners.BatchEasyHardMiner("easy", "semihard")),
    ),
    "n-hard": (ours("n-hard"), PRODUCTS, None),
    "hard-pairs": (ours("hard-pairs"), PRODUCTS, None),
    "all-pairs (contrastive)": (
        ours("all-pairs"),
        PRODUCTS,
        theirs(lambda: losses.ContrastiveLoss(pos_margin=0, neg_margin=1)),
    ),
    "multi-similarity": (
        ours("multi-similarity"),
        PRODUCTS,
        theirs(losses.MultiSimilarityLoss, miners.MultiSimilarityMiner),
    ),
    "distance-weighted": (
        ours("distance-weighted"),
        PRODUCTS,
        theirs(losses.MarginLoss, miners.DistanceWeightedMiner),
    ),
    "nt-xent": (ours(None, "all-pairs", "nt-xent"), PRODUCTS, theirs(losses.NTXentLoss)),
    "supcon": (ours(None, "all-pairs", "supcon"), PRODUCTS, theirs(losses.SupConLoss)),
}
