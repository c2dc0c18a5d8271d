"""The precisions of an exported network, and how far each may drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Bounds:
    """What an export may differ by from the model.

    Args:
        embedding: The largest absolute difference of a component of embeddings of unit length.
        score: The most by which recall@1 and map@r may differ: their paired 95 % intervals lie
            within.
    """

    embedding: float
    score: float


BOUNDS: dict[Precision, Bounds] = {
    "fp32": Bounds(1e-5, 0.005),
    "fp16": Bounds(1e-2, 0.005),
    "int8": Bounds(0.2, 0.01),
}
