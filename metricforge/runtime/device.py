"""The device, the precision and the memory layout that a run computes with."""

from __future__ import annotations

import os
import platform
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metricforge.errors import ResourceError, UsageError
from metricforge.runtime.ranks import ALONE, Ranks

Precision = Literal["fp32", "bf16", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """Where and how to compute; made by :meth:`resolve`.

    `chunk` is the number of images that the network embeds at a time, None for a whole batch;
    `ranks` are the processes that a batch is divided among.
    """

    device: torch.device
    precision: Precision = "fp32"
    channels_last: bool = True
    chunk: int | None = None
    ranks: Ranks = ALONE

    @classmethod
    def resolve(
        cls,
        device: str = "auto",
        precision: str = "fp32",
        channels_last: bool = True,
        chunk: int | None = None,
    ) -> Runtime:
        """A runtime from options; "auto" takes CUDA, then MPS, then the CPU.

        Raises UsageError for a device or precision that does not exist, ResourceError for a
        device that this machine does not have.
        """
        kind: Precision | None = next((k for k in get_args(Precision) if k == precision), None)
        if kind is None:
            raise UsageError(f"precision is fp32, bf16 or fp16, not '{precision}'.")
        resolved = _best_device() if device == "auto" else _checked_device(device)
        return cls(resolved, kind, channels_last, chunk, Ranks.current())

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device and in the memory layout of this runtime."""
        return model.to(self.device, memory_format=self._layout)  # type: ignore[call-overload, no-any-return]

    def prepare(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] on the device and in the memory layout; also features [B, ...]."""
        if images.ndim != 4:
            return images.to(self.device, non_blocking=True)
        return images.to(self.device, non_blocking=True, memory_format=self._layout)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the network runs: bf16 or fp16 if selected, else float32."""
        dtype = AUTOCAST.get(self.precision, torch.bfloat16)
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss so that gradients in fp16 don't vanish; no effect in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def device_name(device: torch.device) -> str:
    """The name of the GPU or the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return match[1].strip() if match else platform.processor() or platform.machine()


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _checked_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device is called '{name}'; write auto, cpu, cuda or mps.") from None
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ResourceError(f"device '{name}' can't be used: {reason}; try auto.") from error
    return device
