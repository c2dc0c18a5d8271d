"""Builds losses, and computes their values and gradients for a batch and its tuples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from metricforge.contracts import Pairs, Triplets, TupleKind, Tuples
from metricforge.enforcement import check_loss
from metricforge.testing.batches import (
    CLASSES,
    DIM,
    Batch,
)
from metricforge.testing.checks import Broken, obey
from metricforge.testing.randomness import set_globals
from metricforge.testing.subject import Subject

KINDS = (Pairs, Triplets, None)


def made(subject: Subject, seed: int = 0) -> Any:
    """A fresh loss, whose weights are drawn from torch's generator as the core seeds it."""
    set_globals(seed)
    return subject.build(dim=DIM, num_classes=CLASSES)


def kinds_of(loss: Any) -> tuple[TupleKind, ...]:
    """The tuple kinds that it takes."""
    accepts = getattr(loss, "accepts", None)
    return KINDS if accepts is None else tuple(accepts)


def value_of(loss: Any, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
    """The loss of a batch, a scalar with a graph; torch seeded as the loop does at each step."""
    torch.manual_seed(1)
    value: Tensor = loss(embeddings, labels, tuples)
    obey(check_loss, loss, value)
    return value


def for_each_kind(subject: Subject) -> Iterator[tuple[TupleKind, Any]]:
    """Each tuple kind that it takes, with a fresh loss."""
    for kind in kinds_of(made(subject)):
        yield kind, made(subject)


def inputs_of(batch: Batch) -> tuple[Tensor, Tensor]:
    # Not a leaf, as in training, so that a loss may work in place; input_stays detects it.
    embeddings = batch.embeddings.clone().requires_grad_() * 1
    embeddings.retain_grad()
    return embeddings, batch.labels.clone()


def backward(loss: Any, batch: Batch, tuples: Tuples | None) -> Tensor:
    """The value, after a check that it and its gradients are finite."""
    embeddings, labels = inputs_of(batch)
    value = value_of(loss, embeddings, labels, tuples)
    check_finite(value)
    value.backward()
    learns = {"the embeddings": embeddings, **weights_of(loss)}
    for name, leaf in learns.items():
        if leaf.grad is not None and not bool(leaf.grad.isfinite().all()):
            raise Broken(
                f"gave {name} a gradient that is not finite; a root or a norm has none at zero, "
                "nor has a quotient: keep zero out of them with torch.where on both sides."
            )
    return value


def check_finite(value: Tensor) -> None:
    if not bool(value.isfinite()):
        raise Broken(f"gave {float(value.detach())}; keep zero out of divisions, roots and logs.")


def weights_of(loss: Any) -> dict[str, Tensor]:
    if not isinstance(loss, nn.Module):
        return {}
    return {name: weight for name, weight in loss.named_parameters() if weight.requires_grad}


def kind_label(kind: TupleKind) -> str:
    return f"all its {kind.__name__.lower()}" if kind else "as a whole"
