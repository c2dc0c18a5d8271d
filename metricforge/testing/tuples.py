"""Whether tuples are true: they agree with the labels, and pair no image with itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets, TupleKind, Tuples
from metricforge.testing.checks import Broken


def all_of(kind: TupleKind, labels: Tensor) -> Tuples | None:
    """Every tuple of this kind in a batch with labels [B], listed; None for the whole batch."""
    if kind is None:
        return None
    described = AllPairs() if kind is Pairs else AllTriplets()
    return described.listed(labels)


def none_of(kind: TupleKind) -> Tuples | None:
    """No tuples of this kind."""
    empty = torch.zeros(0, dtype=torch.int64)
    if kind is None:
        return None
    return Pairs(empty, empty, empty.bool()) if kind is Pairs else Triplets(empty, empty, empty)


def check_labels_agree(tuples: Tuples | None, labels: Tensor) -> None:
    """Pairs must be `same` where the labels [B] are; triplets must be of two classes."""
    if tuples is None:
        return
    listed = tuples.listed(labels)
    if isinstance(listed, Pairs):
        wrong = listed.same != (labels[listed.anchor] == labels[listed.other])
        if bool(wrong.any()):
            positions = _first(wrong, listed[:2])
            raise Broken(
                f"gave a pair {positions} whose `same` is not whether its labels agree "
                f"({int(wrong.sum())} of {len(wrong)} are wrong); set it from the labels."
            )
        return
    positive = labels[listed.anchor] != labels[listed.positive]
    negative = labels[listed.anchor] == labels[listed.negative]
    for wrong, what in ((positive, "a positive of another"), (negative, "a negative of the same")):
        if bool(wrong.any()):
            raise Broken(
                f"gave a triplet {_first(wrong, listed)} with {what} class than its anchor "
                f"({int(wrong.sum())} of {len(wrong)}); leave out anchors that have none."
            )


def check_no_self(tuples: Tuples | None, labels: Tensor, images: Tensor) -> None:
    """No pair and no positive may be the anchor's own image; `images` [B] are those in the batch.

    Without tuples the loss compares the whole batch, which then must hold no image twice.
    """
    if tuples is None:
        if len(images.unique()) < len(images):
            raise Broken(
                "holds an image twice in a batch that the loss compares as a whole; "
                "leave the second out."
            )
        return
    listed = tuples.listed(labels)
    other = listed.other if isinstance(listed, Pairs) else listed.positive
    itself = images[listed.anchor] == images[other]
    if bool(itself.any()):
        raise Broken(
            f"paired an image with itself, {_first(itself, (listed.anchor, other))} in the batch "
            f"({int(itself.sum())} of {len(itself)}); leave such tuples out."
        )


def alike(first: Any, second: Any) -> bool:
    """Whether two results of a miner are the same, bit for bit."""
    if not isinstance(first, Pairs | Triplets) or type(first) is not type(second):
        return bool(first == second)
    return all(a.equal(b) for a, b in zip(first, second, strict=True))


def _first(wrong: Tensor, parts: tuple[Tensor, ...]) -> tuple[int, ...]:
    """The positions of the first wrong tuple."""
    index = int(wrong.nonzero()[0])
    return tuple(int(part[index]) for part in parts)
