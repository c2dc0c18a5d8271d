"""The hook `tensorboard`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from metricforge.errors import UsageError

OF_STEPS = ("loss", "lr", "active_share", "chosen_share", "gradient_norm")
OF_EPOCHS = (
    "loss", "validation_loss", "validation_accuracy", "active_share", "spread", "effective_rank",
)  # fmt: skip


class TensorBoard:
    """Writes the metrics of a training for TensorBoard, into `tensorboard/` of the run's folder.

    It writes every `every`-th step and each epoch, and no embeddings. If a run is resumed,
    TensorBoard hides what was written after the step that it resumes from. Requires the package:
    metricforge[tensorboard].

    Args:
        folder: The run's folder.
        step: The steps that are done when a run is resumed.
        every: Steps from one written step to the next, 1 or more.
    """

    def __init__(self, folder: Path, step: int, *, every: int = 1) -> None:
        if every < 1:
            raise UsageError(f"tensorboard needs every >= 1, not {every}.")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "the hook tensorboard needs its package: pip install 'metricforge[tensorboard]'."
            ) from error
        self.every = every
        written = folder / "tensorboard"
        _wait_for_a_later_second(written)
        self.writer = SummaryWriter(str(written), purge_step=step + 1)

    def on_step(self, record: Mapping[str, Any], embeddings: Tensor) -> None:
        """Write the loss, learning rate, fractions and speed of a step."""
        if record["step"] % self.every:
            return
        speed = record["images"] / max(record["seconds"], 1e-9)
        metrics = {name: record[name] for name in OF_STEPS} | {"images_per_second": speed}
        self._write("step", metrics, record["step"])

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """Write the means and health of an epoch, and its scores on validation classes."""
        self._write("epoch", {name: record[name] for name in OF_EPOCHS}, record["step"])
        self._write("validation", record["validation"], record["step"])

    def on_end(self) -> None:
        """Write what is left, and close the file."""
        self.writer.close()

    def _write(self, part: str, numbers: Mapping[str, float | None], step: int) -> None:
        for name, value in numbers.items():
            if value is not None:
                self.writer.add_scalar(f"{part}/{name}", value, step)


def _wait_for_a_later_second(written: Path) -> None:
    """Wait until the next file of events gets a name after those that exist.

    TensorBoard reads them in the order of their names, which begin with a second and continue with
    a process's number as text: of two begun in one second, the later may be read first.
    """
    second = int(time.time())
    if any(written.glob(f"events.out.tfevents.{second}.*")):
        while int(time.time()) <= second:
            time.sleep(0.01)
