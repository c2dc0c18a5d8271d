"""The inputs of a model: arrays of images or vectors, or files, PIL images and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metricforge.contracts import AS_IT_LIES, Reading
from metricforge.data.decode import read_image, read_opened
from metricforge.data.decode_pool import decode_pool
from metricforge.data.embedding_files import real_rows
from metricforge.data.prefetch import ahead
from metricforge.errors import DataError, UsageError

Shape: TypeAlias = tuple[int, ...]
OneImage: TypeAlias = Path | str | Image.Image | Tensor | NDArray[Any]
Encodable: TypeAlias = Tensor | NDArray[Any] | Iterable[OneImage]

_LUMA = (0.299, 0.587, 0.114)
_READABLE = (1, 3)
_AS_CHANNELS = (1, 3, 4)  # sizes of an axis that mean channels, not height or width
_NO_ORDER = (AbstractSet, Mapping)


class Batch(NamedTuple):
    """Images as uint8 [B, C, H, W], or vectors as float32 [B, V], and their names in errors."""

    names: Sequence[str]
    images: Tensor


def batches(
    images: Encodable,
    size: int,
    shape: Shape,
    reading: Reading,
    broken: dict[int, str] | None = None,
) -> Iterator[Batch]:
    """All of `images` in batches of `size`, of the given shape, (C, H, W) or (V,) of vectors.

    Files of a sequence are decoded ahead. With `broken`, images that can't be decoded are skipped,
    and it gets the index of each with the reason.

    Raises DataError for anything that holds no images, or for a single image; UsageError for a size
    below 1.
    """
    if not isinstance(size, Integral) or size < 1:
        raise UsageError(f"batch_size is a whole number from 1, not {size!r}.")
    if len(shape) == 1:
        return _of_vectors(images, size, shape)
    if isinstance(images, str | bytes | Path | Image.Image):
        raise _single(type(images).__name__)
    if isinstance(images, Tensor | np.ndarray) and not _holds_names(images):
        return _of_array(images, size, shape, reading)
    if isinstance(images, _NO_ORDER) or not isinstance(images, Iterable):
        raise DataError(f"encode takes a list of images or one array, not {type(images).__name__}.")
    items = _of_items(iter(images), size, shape, reading, broken)
    # What a generator yields may belong to its own thread.
    return ahead(items) if isinstance(images, Sequence | np.ndarray) else items


def fit(images: Tensor, shape: Shape, reading: Reading = AS_IT_LIES) -> Tensor:
    """uint8 images [N, C, H, W] with the channels and size of `shape`; bilinear, antialiased.

    Other proportions are squeezed, cropped or padded, as files are by `reading.fit`. Vectors [N, V]
    stay as they are. DataError for images where vectors are expected, or the reverse, and for
    vectors of another length.
    """
    if len(shape) == 1 or images.ndim == 2:
        _refuse_others(images, shape)
        return images
    channels, height, width = shape
    if images.shape[1] != channels:
        luma = torch.tensor(_LUMA, device=images.device).view(1, 3, 1, 1)
        grey = images if channels == 3 else (images * luma).sum(1, keepdim=True).round()
        images = grey.to(torch.uint8).expand(-1, channels, -1, -1)
    if reading.fit == "crop":
        images = _middle(images, height / width)
    elif reading.fit == "pad":
        return _padded(images, (height, width))
    return _resized(images, (height, width))


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[2:] == size:
        return images
    resized = F.interpolate(
        images.float(), size, mode="bilinear", antialias=True, align_corners=False
    )
    return resized.round().clamp(0, 255).to(torch.uint8)


def _middle(images: Tensor, ratio: float) -> Tensor:
    """The middle of images [N, C, H, W], of the given ratio of height to width."""
    height, width = images.shape[2:]
    high, wide = min(height, round(width * ratio)), min(width, round(height / ratio))
    high, wide = max(high, 1), max(wide, 1)
    top, left = (height - high) // 2, (width - wide) // 2
    return images[:, :, top : top + high, left : left + wide]


def _padded(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [N, C, H, W] in their own proportions, with black around them, at a size."""
    ratio = max(own / wanted for own, wanted in zip(images.shape[2:], size, strict=True))
    high, wide = (max(1, round(own / ratio)) for own in images.shape[2:])
    down, across = size[0] - high, size[1] - wide
    around = (across // 2, across - across // 2, down // 2, down - down // 2)
    return F.pad(_resized(images, (high, wide)), around)


def _refuse_others(vectors: Tensor, shape: Shape) -> None:
    if len(shape) != 1:
        raise DataError("the model takes images, and these are vectors.")
    if vectors.ndim != 2:
        raise DataError(f"the model takes vectors of {shape[0]} numbers, and these are images.")
    if vectors.shape[1] != shape[0]:
        raise DataError(
            f"the model takes vectors of {shape[0]} numbers, and these have {vectors.shape[1]}."
        )


def _of_vectors(vectors: Encodable, size: int, shape: Shape) -> Iterator[Batch]:
    if isinstance(vectors, str | Path) or (
        isinstance(vectors, Sequence) and any(isinstance(each, str | Path) for each in vectors)
    ):
        raise DataError(
            f"the model takes vectors of {shape[0]} numbers: pass an array [N, {shape[0]}], e.g. "
            "numpy.load(FILE), not the names of files."
        )
    rows = real_rows(vectors, "the vectors are", "vectors")
    _refuse_others(torch.empty(0, *rows.shape[1:]), shape)
    for begin in range(0, len(rows), size):
        with np.errstate(over="ignore"):  # beyond float32 it is infinite
            part = np.array(rows[begin : begin + size], dtype=np.float32)
        if len(bad := np.flatnonzero(~np.isfinite(part).all(axis=1))):
            raise DataError(f"vector {begin + bad[0]} has numbers that are NaN or infinite.")
        names = [f"vector {index}" for index in range(begin, begin + len(part))]
        yield Batch(names, torch.from_numpy(part))


def _of_array(
    images: Tensor | NDArray[Any], size: int, shape: Shape, reading: Reading
) -> Iterator[Batch]:
    axes = _axes(tuple(images.shape), shape[0])
    for begin in range(0, len(images), size):
        part = _channels_first(images[begin : begin + size], axes)
        names = [f"image {index}" for index in range(begin, begin + len(part))]
        yield Batch(names, fit(part, shape, reading))


def _of_items(
    images: Iterator[OneImage],
    size: int,
    shape: Shape,
    reading: Reading,
    broken: dict[int, str] | None,
) -> Iterator[Batch]:
    begin = 0
    while part := list(islice(images, size)):
        names = [
            str(image) if isinstance(image, str | Path) else f"image {index}"
            for index, image in enumerate(part, begin)
        ]
        read = partial(_read_or_why, shape=shape, reading=reading)
        # Files alone go to the pool: an image that Pillow has opened must not be loaded by two
        # threads, and torch has threads of its own for arrays.
        in_files = all(isinstance(image, str | Path) for image in part)
        rows = list((decode_pool().map if in_files else map)(read, part, names))
        reasons = {begin + i: row for i, row in enumerate(rows) if isinstance(row, DataError)}
        if broken is None and reasons:
            raise next(iter(reasons.values()))
        if broken is not None:
            broken |= {index: str(reason) for index, reason in reasons.items()}
        if whole := [row for row in rows if isinstance(row, Tensor)]:
            sound = [name for i, name in enumerate(names, begin) if i not in reasons]
            yield Batch(sound, torch.stack(whole))
        begin += len(part)


def _read_or_why(image: OneImage, name: str, shape: Shape, reading: Reading) -> Tensor | DataError:
    try:
        return _read(image, name, shape, reading)
    except DataError as error:
        return error


def _read(image: OneImage, name: str, shape: Shape, reading: Reading) -> Tensor:
    if isinstance(image, str | Path):
        return read_image(Path(image), shape, reading=reading)
    if isinstance(image, Image.Image):
        return read_opened(image, shape, name, reading)
    if isinstance(image, Tensor | np.ndarray) and image.ndim in (2, 3):
        if 0 in image.shape:
            raise DataError(f"{name} has no pixels: its shape is {list(image.shape)}.")
        axes = "NHW" if image.ndim == 2 else _axes((1, *image.shape), 1)
        return fit(_channels_first(image[None], axes), shape, reading)[0]
    what = f"an array {list(image.shape)}" if hasattr(image, "shape") else type(image).__name__
    raise DataError(
        f"{name} is {what}; encode takes files, PIL images and arrays [H, W] or [H, W, C] in a "
        "list, or all images in one array."
    )


def _axes(shape: tuple[int, ...], channels: int) -> str:
    """How the axes of so many images are meant, "NHW", "NCHW" or "NHWC".

    DataError for one image, and for what is none. Of a model of three channels three images in
    grey, [3, H, W], look like one in colour.
    """
    if len(shape) == 2 or (len(shape) == 3 and _looks_single(shape, channels)):
        raise _single(f"an array {list(shape)}", ", or write images in grey as [N, 1, H, W]")
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4 and shape[1] in _READABLE:
        return "NCHW"
    if len(shape) == 4 and shape[3] in _READABLE:
        return "NHWC"
    raise DataError(
        f"images are [N, C, H, W] or [N, H, W, C] with C 1 or 3, or [N, H, W], not {list(shape)}."
    )


def _looks_single(shape: tuple[int, ...], channels: int) -> bool:
    return shape[2] in _AS_CHANNELS or (channels == 3 and shape[0] in (3, 4))


def _channels_first(images: Tensor | NDArray[Any], axes: str) -> Tensor:
    """The images as a tensor [N, C, H, W]."""
    if images.dtype not in (torch.uint8, np.uint8):
        raise DataError(f"images are uint8 (0 to 255), not {images.dtype}.")
    # A copy: an array may be read-only or run backwards, which torch can't share.
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(images.copy())
    if axes == "NHW":
        return tensor[:, None]
    return tensor.permute(0, 3, 1, 2) if axes == "NHWC" else tensor


def _holds_names(images: Tensor | NDArray[Any]) -> bool:
    """Whether an array is a column of file names, as pandas has them."""
    return isinstance(images, np.ndarray) and images.ndim == 1 and images.dtype.kind in "OU"


def _single(what: str, otherwise: str = "") -> DataError:
    return DataError(
        f"encode takes several images, not one ({what}); put the one into a list{otherwise}."
    )
