"""The numbers of possible and of chosen tuples of a batch, without a list of them."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Tuples

Count = int | Tensor
"""A count; on the device a 0-d int64 tensor."""


def possible(tuples: Tuples, labels: Tensor, anchors: int) -> Count:
    """The number of tuples of that kind in a batch with these labels [B + M], `anchors` B.

    An anchor has a pair with every other row, so there are B(B-1), and B M with the memory; half as
    many if each pair is listed once, the earlier row as its anchor. Its triplets are its positives
    times its negatives.
    """
    if isinstance(tuples, Pairs) and len(tuples.anchor) and anchors == len(labels):
        once = (tuples.anchor < tuples.other).all().long()
        return anchors * (anchors - 1) // (1 + once)
    if isinstance(tuples, Pairs | AllPairs):
        return anchors * (len(labels) - 1)
    # By sorting, because unique() would wait for the device.
    ordered, of_anchor = labels.sort().values, labels[:anchors]
    before = torch.searchsorted(ordered, of_anchor)
    alike = torch.searchsorted(ordered, of_anchor, right=True) - before
    return ((alike - 1) * (len(labels) - alike)).sum()


def chosen(tuples: Tuples, labels: Tensor, anchors: int) -> Count:
    """The number of these tuples, listed or described, in a batch with these labels [B + M]."""
    if isinstance(tuples, AllPairs | AllTriplets):
        some = anchors if tuples.anchors is None else min(tuples.anchors, len(labels))
        return possible(tuples, labels, some)
    return len(tuples.anchor)
