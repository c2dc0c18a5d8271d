"""Calling a miner for the tuples of a batch, and what it passes to the loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor, nn

from metricforge.contracts import (
    AllPairs,
    AllTriplets,
    LeavingChoice,
    Loss,
    Miner,
    Tuples,
    WithMargin,
)
from metricforge.enforcement import asks
from metricforge.plugin_errors import broken, described


def mine(
    miner: Miner,
    embeddings: Tensor,
    labels: Tensor,
    rng: np.random.Generator,
    margin: float | None = None,
) -> Tuples | None:
    """The tuples that the miner chooses for embeddings [B, D] with labels [B].

    `rng` and `margin`, that of the loss, are passed if its call takes them.
    """
    available = {"rng": rng, "margin": margin}
    arguments: Any = {name: value for name, value in available.items() if takes(miner, name)}
    return miner(embeddings, labels, **arguments)


def margin_of(loss: Loss) -> float | None:
    """The margin of a loss, None if it has none."""
    return loss.margin if isinstance(loss, WithMargin) else None


def effective_miner(miner: Miner, loss: Loss) -> Miner:
    """The miner to call: the loss chooses another one if the miner leaves that to it."""
    replacement = miner.left_to(loss) if isinstance(miner, LeavingChoice) else None
    if replacement is None:
        return miner
    if getattr(replacement, "kind", "nothing") is not miner.kind or not callable(replacement):
        contract = "must leave its choice to a miner of its kind, or to None"
        raise broken(miner, contract, described(replacement))
    return replacement


def takes(miner: Miner, name: str) -> bool:
    """Whether the miner's call takes an argument of this name."""
    # A module's own call takes anything; `forward` has the parameters.
    return asks(miner.forward if isinstance(miner, nn.Module) else miner, name)


def anchored(tuples: Tuples | None, anchors: int) -> Tuples | None:
    """The tuples whose anchor is among the first `anchors` images, those with a gradient."""
    if tuples is None:
        return None
    if isinstance(tuples, AllPairs | AllTriplets):
        return dataclasses.replace(tuples, anchors=anchors)
    mask = tuples.anchor < anchors
    return type(tuples)(*(part[mask] for part in tuples))
