"""Asking a miner for the tuples of a batch, and leaving to the loss those that can teach."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor, nn

from metricforge.contracts import AllPairs, AllTriplets, Loss, Miner, Tuples
from metricforge.enforcement import asks
from metricforge.plugin_errors import broken, described


def mine(
    miner: Miner, embeddings: Tensor, labels: Tensor, rng: np.random.Generator
) -> Tuples | None:
    """What the miner chooses for embeddings [B, D] with labels [B]; `rng` is for one that draws."""
    drawn: Any = {"rng": rng} if draws(miner) else {}
    return miner(embeddings, labels, **drawn)


def give_margin(miner: Miner, loss: Loss) -> None:
    """A miner that was made with a sampler, before the loss, is given the loss's margin."""
    if getattr(miner, "margin", 0.0) is None:
        vars(miner)["margin"] = getattr(loss, "margin", None)


def at_work(miner: Miner, loss: Loss) -> Miner:
    """The miner to ask: another one, where it leaves its choice to the loss."""
    leave = getattr(miner, "left_to", None)
    other: Miner | None = None if leave is None else leave(loss)
    if other is None:
        return miner
    if getattr(other, "kind", "nothing") is not miner.kind or not callable(other):
        wanted = "must leave its choice to a miner of its kind, or to None"
        raise broken(miner, wanted, described(other))
    return other


def draws(miner: Miner) -> bool:
    """Whether the miner's call takes `rng`."""
    # A module's own call takes anything; what it hands on, `forward` names.
    return asks(miner.forward if isinstance(miner, nn.Module) else miner, "rng")


def anchored(tuples: Tuples | None, anchors: int) -> Tuples | None:
    """The tuples whose anchor is among the first `anchors` images, those with a gradient."""
    if tuples is None:
        return None
    if isinstance(tuples, AllPairs | AllTriplets):
        return dataclasses.replace(tuples, anchors=anchors)
    kept = tuples.anchor < anchors
    return type(tuples)(*(part[kept] for part in tuples))
