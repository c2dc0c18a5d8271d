"""The speed and size of a file beside its model."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from metricforge.exporting.agreement import Runner
from metricforge.model import EmbeddingModel

BATCHES = (1, 32)
REPEATS = 5


@dataclass(frozen=True)
class Speed:
    """Images a second by the size of a batch, and bytes, of the model and of the file."""

    model: dict[int, float]
    exported: dict[int, float]
    model_bytes: int
    file_bytes: int

    @classmethod
    def of(cls, model: EmbeddingModel, runner: Runner, images: Tensor, content: bytes) -> Speed:
        """Measure both on copies of an image as they take it, [1, ...], on the CPU."""
        weights = sum(value.nbytes for value in model.state_dict().values())
        return cls(
            {size: _rate(lambda batch: model.embed([batch]), images, size) for size in BATCHES},
            {size: _rate(runner, images, size) for size in BATCHES},
            weights,
            len(content),
        )

    def to_json(self) -> dict[str, Any]:
        """The speeds as plain values for JSON."""
        return asdict(self)


def _rate(runner: Runner, image: Tensor, size: int) -> float:
    """Images a second, by the median of some batches; a first one is not counted."""
    batch = image.expand(size, *image.shape[1:]).contiguous()
    runner(batch)
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        runner(batch)
        seconds.append(time.perf_counter() - begun)
    return size / statistics.median(seconds)
