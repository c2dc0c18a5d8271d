"""The backbone `onnx`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metricforge.contracts import Preprocessing
from metricforge.errors import UsageError
from metricforge_standard import _onnx


class Onnx(nn.Module):
    """An embedding network in an ONNX file, frozen; its own output is the features.

    Images [B, C, H, W], or vectors [B, V] if the file takes these, to features [B, F]. The file is
    run by onnxruntime on the CPU, and is a part of the saved model. One that takes uint8 gets
    pixels, as files of `metricforge export` do. A grey image is repeated on three channels. Files
    with operators of another library are refused. Requires the packages of metricforge[export].

    Args:
        path: The file; none in a saved model.
        size: Side to which the core resizes images; none: that of the file, or no resize if it
            takes any.
        mean: Mean of each channel, for pixels of 0 to 1, of a file that takes float32; one number
            for all.
        std: Standard deviation of each channel, likewise.
        saved: Bytes and features of the file in a saved model; written by metricforge.

    Raises:
        UsageError: There is no file, or its input and output are not those of a backbone.
        ArtefactError: It is damaged or refused.
    """

    file: Tensor

    def __init__(
        self,
        *,
        path: Path | None = None,
        size: int | None = None,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
        saved: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self._session: tuple[int, Any] | None = None
        self._signature: _onnx.Signature | None = None
        self.name = "the ONNX file of the model" if path is None else str(path)
        if path is None:
            if len(saved) != 2 or min(saved) < 1:
                raise UsageError("backbone 'onnx' needs the option 'path', an ONNX file.")
            self.register_buffer("file", torch.zeros(saved[0], dtype=torch.uint8))
            self.out_features = saved[1]
            return
        content = _onnx.read(path)
        self.register_buffer("file", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self._signature = _onnx.signature(_onnx.parsed(content, self.name), self.name)
        self.takes_vectors = len(self._signature.axes) == 2
        self.pretrained = True
        if not self.takes_vectors:
            self.preprocessing = _preprocessing(self._signature, size, mean, std)
        self.out_features = self._measured(size)
        self.rebuild = f"onnx:path=none,saved={len(content)}+{self.out_features}"

    def forward(self, images: Tensor) -> Tensor:
        """The features [B, F], without gradient."""
        session, signature = self._running()
        rows = images.detach().float().cpu()
        if len(signature.axes) == 4:
            rows = rows.expand(-1, signature.axes[1] or -1, -1, -1)
        if signature.type == "uint8":
            rows = rows.round().clamp(0, 255).to(torch.uint8)
        batch = rows.contiguous().numpy()
        # A file for one image at a time gets one at a time.
        parts = [batch] if signature.axes[0] is None else np.split(batch, len(batch))
        outputs = [session.run(None, {signature.name: part})[0] for part in parts if len(part)]
        made = np.concatenate(outputs) if outputs else np.zeros((0, self.out_features))
        return torch.from_numpy(made.astype(np.float32)).to(images.device)

    def __getstate__(self) -> dict[str, Any]:
        # A session can be neither copied nor sent.
        return {**self.__dict__, "_session": None}

    def _running(self) -> tuple[Any, _onnx.Signature]:
        """The session of this process: one that was forked has no threads."""
        if self._session is None or self._session[0] != os.getpid():
            content = self.file.cpu().numpy().tobytes()
            self._signature = _onnx.signature(_onnx.parsed(content, self.name), self.name)
            self._session = os.getpid(), _onnx.session(content, self.name)
        assert self._signature is not None
        return self._session[1], self._signature

    def _measured(self, size: int | None) -> int:
        """F, of an image or a vector of zeros."""
        session, signature = self._running()
        side = size or 32
        sides = [length or side for length in signature.axes[1:]]
        kind = np.uint8 if signature.type == "uint8" else np.float32
        try:
            made = session.run(None, {signature.name: np.zeros((1, *sides), kind)})[0]
        except Exception as error:  # of the library, for a network that takes other sizes
            raise UsageError(
                f"{self.name} can't embed an image of {sides}: name its size, "
                f"onnx:path={self.name},size=224."
            ) from error
        if made.ndim != 2 or len(made) != 1 or made.dtype.kind != "f":
            raise UsageError(
                f"{self.name} gives {list(made.shape)} {made.dtype} for one image; a backbone "
                "gives features [B, F]."
            )
        return int(made.shape[1])


def _preprocessing(
    signature: _onnx.Signature,
    size: int | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Preprocessing:
    """What the core makes of an image: pixels for uint8, or what the mean and deviation say."""
    _, channels, height, width = signature.axes
    assert channels is not None
    if size is not None and size < 1:
        raise UsageError(f"backbone 'onnx' needs size >= 1, not {size}.")
    if size is not None and {height, width} - {None, size}:
        raise UsageError(f"the file takes images of {height} x {width}: leave size={size} out.")
    if signature.type == "uint8":
        if (mean, std) != ((0.0,), (1.0,)):
            raise UsageError("the file takes uint8, and normalises itself: leave mean and std out.")
        mean, std = (0.0,), (1 / 255,)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise UsageError(f"{name} has {len(values)} numbers for {channels} channels.")
    if min(std) <= 0:
        raise UsageError("backbone 'onnx' needs std above 0.")
    sides = (height or size, width or size)
    return Preprocessing(
        size=(sides[0], sides[1]) if sides[0] and sides[1] else None,
        mean=mean * channels if len(mean) == 1 else mean,
        std=std * channels if len(std) == 1 else std,
    )
