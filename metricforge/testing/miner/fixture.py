"""Builds miners, and calls them for the tuples of a batch as the loop does."""

from __future__ import annotations

from typing import Any

import torch

from metricforge.contracts import Tuples
from metricforge.enforcement import check_tuples
from metricforge.runtime import generator
from metricforge.testing.batches import (
    Batch,
)
from metricforge.testing.checks import obey
from metricforge.testing.subject import Subject
from metricforge.training.mining import mine

MARGIN = 0.2


def made(subject: Subject) -> Any:
    """A fresh miner."""
    return subject.build(margin=MARGIN)


def mined(miner: Any, batch: Batch, seed: int = 0) -> Tuples | None:
    """The tuples of a batch, of the agreed form; mined as the loop does, without gradient."""
    with torch.no_grad():
        # Copies: a miner that changes its input must not spoil the other checks.
        rows, labels = batch.embeddings.clone(), batch.labels.clone()
        tuples = mine(miner, rows, labels, generator(seed, 0, 0), MARGIN)
    obey(check_tuples, miner, tuples, batch.labels)
    return tuples
