"""One pass over the images of a dataset: their headers, digests and thumbnails, the broken ones."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from metricforge.data.decode import Header, read_header, read_image
from metricforge.data.image_files import Encoded
from metricforge.errors import DataError

SIDE = 16
"""Height and width of a thumbnail."""

CELLS = 4
"""Height and width of the colours of an image: coarser than a thumbnail, as they only confirm."""

_CHUNK = 2_048  # images in the pool's queue
_FINE = 2  # a thumbnail averages this many pixels each way, or a resized copy's would be another's
_DIGEST_BYTES = 16  # of a sha256: enough to tell more images apart than there are
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Survey:
    """The properties of N images; some 350 bytes of each, whatever its size.

    - `headers`: how many there are of each format ("" in a tensor), mode and size.
    - `broken`: by index, the sentence that says why an image can't be used.
    - `digests`: uint64 [N, 2], equal where two files hold the same bytes, or two images of a
      tensor the same pixels; `thumbnails`: grey uint8 [N, SIDE, SIDE]; and `colours`: uint8 [N, 3,
      CELLS, CELLS]. All are zero for an image that is broken.
    """

    headers: Mapping[Header, int]
    broken: Mapping[int, str]
    digests: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    colours: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def sound(self) -> NDArray[np.int64]:
        """The indices of the images that are not broken, in order."""
        return np.setdiff1d(np.arange(len(self)), list(self.broken))

    @property
    def formats(self) -> Mapping[str, int]:
        """How many images have each format, the most frequent first; none in a tensor."""
        return _counted(
            (header.format, count) for header, count in self.headers.items() if header.format
        )

    @property
    def modes(self) -> Mapping[str, int]:
        """How many images have each of Pillow's modes, the most frequent first."""
        return _counted((header.mode, count) for header, count in self.headers.items())

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of the smallest, the median and the largest image, by their area.

        Empty where no image can be read.
        """
        counts: Counter[tuple[int, int]] = Counter()
        for header, count in self.headers.items():
            counts[header.width, header.height] += count
        order = sorted(counts, key=lambda size: (size[0] * size[1], size))
        if not order:
            return ()
        up_to = np.cumsum([counts[size] for size in order])
        middle = int(np.searchsorted(up_to, (up_to[-1] + 1) // 2))
        return order[0], order[middle], order[-1]


def survey(images: Tensor | Sequence[Encoded]) -> Survey:
    """Survey all images: uint8 [N, C, H, W], or files, each of which is read and decoded once.

    Files are decoded by a thread a core. A file that can't be decoded is reported, not raised.
    Vectors [N, V] have digests alone, and no thumbnails.
    """
    if isinstance(images, Tensor) and images.ndim == 2:
        return _of_vectors(images)
    return _of_tensor(images) if isinstance(images, Tensor) else _of_files(images)


def _of_files(files: Sequence[Encoded]) -> Survey:
    digests, thumbnails, colours = _blank(len(files))
    headers: Counter[Header] = Counter()
    broken = {}

    def look(index: int) -> Header | str:
        try:
            image = _Read.of(files[index])
            # The decoder that training uses decides what is broken.
            pixels = read_image(image, (3, SIDE * _FINE, SIDE * _FINE))
            header = read_header(image)
        except DataError as error:
            return str(error)
        thumbnails[index], colours[index] = (part[0] for part in _shrunk(pixels[None]))
        digests[index] = _digest(image.content)
        return header

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="survey") as pool:
        for begin in range(0, len(files), _CHUNK):
            indices = range(begin, min(begin + _CHUNK, len(files)))
            for index, result in zip(indices, pool.map(look, indices), strict=True):
                if isinstance(result, str):
                    broken[index] = result
                else:
                    headers[result] += 1
    return Survey(headers, broken, digests, thumbnails, colours)


def _of_tensor(images: Tensor) -> Survey:
    count, channels, height, width = images.shape
    digests, thumbnails, colours = _blank(count)
    for index, pixels in enumerate(images.cpu()):
        digests[index] = _digest(pixels.contiguous().numpy().tobytes())
    for begin in range(0, count, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        thumbnails[part], colours[part] = _shrunk(images[part].cpu())
    mode = {1: "L", 3: "RGB"}.get(channels, f"{channels} channels")
    return Survey({Header("", mode, width, height): count}, {}, digests, thumbnails, colours)


def _of_vectors(vectors: Tensor) -> Survey:
    digests, thumbnails, colours = _blank(len(vectors))
    for index, vector in enumerate(vectors):
        digests[index] = _digest(vector.contiguous().numpy().tobytes())
    return Survey({}, {}, digests, thumbnails, colours)


def _blank(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8]]:
    digests = np.zeros((count, 2), np.uint64)
    thumbnails = np.zeros((count, SIDE, SIDE), np.uint8)
    return digests, thumbnails, np.zeros((count, 3, CELLS, CELLS), np.uint8)


@dataclass(frozen=True)
class _Read:
    """An encoded image in memory, so that its file is read once."""

    name: str
    content: bytes

    @classmethod
    def of(cls, file: Encoded) -> _Read:
        if not isinstance(file, Path):
            return cls(file.name, file.read())
        try:
            return cls(str(file), file.read_bytes())
        except OSError as error:
            raise DataError(
                f"image '{file}' can't be opened ({error.strerror}); check its path and "
                "permissions."
            ) from error

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self) -> bytes:
        return self.content


def _digest(content: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(hashlib.sha256(content).digest()[:_DIGEST_BYTES], np.uint64)


def _shrunk(images: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Thumbnails [n, SIDE, SIDE] and colours [n, 3, CELLS, CELLS] of uint8 [n, C, H, W]."""
    pixels = images.float()
    if pixels.shape[1] != 3:
        pixels = pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    side = SIDE * _FINE
    if pixels.shape[2:] != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    fine = pixels.clamp(0, 255)
    grey = (fine * fine.new_tensor(_LUMA).view(3, 1, 1)).sum(1)
    return _averaged(grey.numpy(), SIDE), _averaged(fine.numpy(), CELLS)


def _averaged(fine: NDArray[Any], cells: int) -> NDArray[np.uint8]:
    """Images [..., side, side] as the means of [..., cells, cells]."""
    each = fine.shape[-1] // cells
    parts = fine.reshape(*fine.shape[:-2], cells, each, cells, each)
    means: NDArray[np.uint8] = parts.mean((-3, -1), dtype=np.float32).round().astype(np.uint8)
    return means


def _counted(pairs: Iterator[tuple[str, int]]) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for name, count in pairs:
        counts[name] += count
    return dict(counts.most_common())
