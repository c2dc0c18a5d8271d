"""The images or vectors of a dataset, in memory or on disk, by index."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from metricforge.contracts import AS_IT_LIES, Dataset, Reading
from metricforge.data.cache import cached
from metricforge.data.decode import read_image
from metricforge.data.decode_pool import decode_pool
from metricforge.data.image_files import Encoded, names_below, sizes_of
from metricforge.errors import DataError, PluginError

MEMORY_LIMIT = 512 * 2**20
"""Bytes of decoded images up to which they are kept in memory, not decoded at each use."""

VECTOR_TYPES = (torch.float32, torch.float16, torch.float64)
"""The types of vectors; batches of them are float32."""

_CHUNK = 4096  # files that the pool gets at once
_PIECE = 8  # files that a thread decodes one after the other


class Images(Protocol):
    """N images of one shape (C, H, W), or vectors (F,), taken as batches on one device."""

    @property
    def in_memory(self) -> bool:
        """Whether taking images costs next to nothing, so that nothing need be read ahead."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image, or (F,) of every vector."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """The images of some indices.

        Args:
            indices: int64 [B], on any device.

        Returns:
            uint8 [B, C, H, W], or float32 [B, F].
        """

    def to(self, device: torch.device | str) -> Images:
        """The same images on another device.

        Args:
            device: Device of the batches.

        Returns:
            The images.
        """


class MemoryImages:
    """Images or vectors in one tensor; `to` moves all of them at once.

    Args:
        images: uint8 [N, C, H, W], or vectors of any float type [N, F].
    """

    in_memory = True

    def __init__(self, images: Tensor) -> None:
        self._images = images

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image, or (F,) of every vector."""
        return tuple(self._images.shape[1:])

    def __len__(self) -> int:
        return len(self._images)

    def take(self, indices: Tensor) -> Tensor:
        """As :meth:`Images.take`."""
        rows = self._images.index_select(0, indices.to(self._images.device))
        return rows.float() if rows.is_floating_point() else rows

    def to(self, device: torch.device | str) -> MemoryImages:
        """As :meth:`Images.to`; copies all images at once."""
        return MemoryImages(self._images.to(device))


class MappedImages(MemoryImages):
    """Images or vectors in a file that is mapped to memory, on the CPU: it is read on access."""

    in_memory = False

    def to(self, device: torch.device | str) -> MappedImages:
        return self


class FileImages:
    """Image files, decoded to `shape` by a pool of threads each time they are taken.

    Args:
        files: N paths or encoded images.
        shape: (C, H, W) of every image.
        device: Device of the batches.
        workers: Threads that decode. Default: one for each core.
        advice: What the user may do about a file that can't be read; the error ends with it.
        reading: How files are read, apart from size and channels.
    """

    in_memory = False

    def __init__(
        self,
        files: Sequence[Encoded],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        workers: int | None = None,
        advice: str = "",
        reading: Reading = AS_IT_LIES,
    ) -> None:
        self._advice = advice
        self._reading = reading
        self._files = files
        self._shape = shape
        self._device = torch.device(device)
        self._workers = workers

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image."""
        return self._shape

    def __len__(self) -> int:
        return len(self._files)

    def take(self, indices: Tensor) -> Tensor:
        """As :meth:`Images.take`; raises DataError, naming the file, for one that can't be read."""
        requested = indices.tolist()
        if requested and min(requested) < 0:
            raise IndexError("an image index is negative.")
        # Pinned, so that the copy to a GPU does not block.
        batch = torch.empty(
            (len(requested), *self._shape),
            dtype=torch.uint8,
            pin_memory=self._device.type == "cuda",
        )

        rows = batch.numpy()  # which torch takes several times as long to write to

        def decode(piece: range) -> None:
            for row in piece:
                file = self._files[requested[row]]
                rows[row] = read_image(file, self._shape, reading=self._reading).numpy()

        # In pieces: submitting a task takes a tenth of the time of decoding a small image.
        pieces = [
            range(begin, min(begin + _PIECE, len(requested)))
            for begin in range(0, len(requested), _PIECE)
        ]
        try:
            for _ in decode_pool(self._workers).map(decode, pieces):
                pass
        except DataError as error:
            raise DataError(" ".join(filter(None, (str(error), self._advice)))) from error
        return batch.to(self._device, non_blocking=True)

    def to(self, device: torch.device | str) -> FileImages:
        """As :meth:`Images.to`; nothing is decoded yet."""
        return FileImages(
            self._files, self._shape, device, self._workers, self._advice, self._reading
        )


def open_images(
    dataset: Dataset, memory_limit: int = MEMORY_LIMIT, workers: int | None = None
) -> Images:
    """The images of a dataset, on the CPU; files that fit in `memory_limit` are read now.

    Args:
        dataset: The dataset.
        memory_limit: Bytes of decoded images to keep in memory. More bytes of vectors are taken
            from where they lie, which may be a file that is mapped.
        workers: Threads that decode files. Default: one for each core.

    Returns:
        The images.

    Raises:
        PluginError: The images are no uint8 [N, C, H, W], or float [N, F], of the dataset's own N
            and shape.
        DataError: A file can't be read.
    """
    if isinstance(dataset.images, Tensor):
        images = _checked(dataset.images, dataset)
        large = dataset.of_vectors and images.nbytes > memory_limit
        return MappedImages(images) if large else MemoryImages(images)
    if len(dataset.images) != len(dataset):
        raise PluginError(
            f"dataset '{dataset.name}' has {len(dataset.images)} images for {len(dataset)} labels."
        )
    files = FileImages(
        dataset.images,
        dataset.shape,
        workers=workers,
        advice=dataset.advice,
        reading=dataset.reading,
    )
    fits = len(files) * math.prod(dataset.shape) <= memory_limit
    if dataset.cache:
        kept = cached(dataset.cache, dataset.images, dataset.shape, files.take, dataset.reading)
        return MemoryImages(kept.clone()) if fits else MappedImages(kept)
    return MemoryImages(files.take(torch.arange(len(files)))) if fits else files


def unreadable(
    files: Sequence[Encoded], shape: tuple[int, ...], reading: Reading = AS_IT_LIES
) -> dict[int, str]:
    """The indices of the files that can't be decoded, in order, each with the reason."""

    def reason(index: int) -> str:
        try:
            read_image(files[index], shape, reading=reading)
        except DataError as error:
            return str(error)
        return ""

    broken: dict[int, str] = {}
    # In chunks, since a pool queues all that it gets at once.
    for begin in range(0, len(files), _CHUNK):
        indices = range(begin, min(begin + _CHUNK, len(files)))
        reasons = zip(indices, decode_pool().map(reason, indices), strict=True)
        broken |= {index: message for index, message in reasons if message}
    return broken


def fingerprint(dataset: Dataset) -> str:
    """A hash that changes when the images, their labels, groups, flags or names do.

    Files count with their size and their path below the folder that they share, so that a dataset
    keeps its fingerprint if it is moved or copied. Their content is not read.

    Args:
        dataset: The dataset.

    Returns:
        A sha256 in hex.
    """
    header: dict[str, Any] = {
        "shape": dataset.shape,
        "classes": dataset.classes,
        "groups": dataset.group_names,
        "images": len(dataset),
    }
    if dataset.reading != AS_IT_LIES and not isinstance(dataset.images, Tensor):
        header["reading"] = dataset.reading.hashed()
    digest = hashlib.sha256(json.dumps(header).encode())
    for numbers in (dataset.labels, dataset.groups):
        if numbers is not None:
            digest.update(numbers.cpu().contiguous().numpy().astype("<i8").tobytes())
    for flags in (dataset.queries, dataset.gallery):
        if flags is not None:
            digest.update(flags.cpu().contiguous().numpy().tobytes())
    _add_images(digest, dataset.images)
    return digest.hexdigest()


def places_hash(dataset: Dataset) -> str:
    """A sha256 in hex that changes when an image is added, removed or gets another index.

    Unlike the fingerprint it is the same for images in files that are read at another size.
    """
    digest = hashlib.sha256(json.dumps([len(dataset), dataset.classes]).encode())
    digest.update(dataset.labels.cpu().contiguous().numpy().astype("<i8").tobytes())
    _add_images(digest, dataset.images)
    return digest.hexdigest()


def _add_images(digest: Any, images: Tensor | Sequence[Encoded]) -> None:
    if isinstance(images, Tensor):
        # In parts, since vectors may lie in a file, and in an order that is none of rows.
        for part in images.split(_CHUNK):
            digest.update(part.cpu().contiguous().numpy().data)
        return
    for name, size in zip(names_below(images), sizes_of(images), strict=True):
        digest.update(json.dumps([name, size]).encode())


def _checked(images: Tensor, dataset: Dataset) -> Tensor:
    expected = (len(dataset), *dataset.shape)
    if not is_of_inputs(images) or tuple(images.shape) != expected:
        kind = "float" if dataset.of_vectors else "torch.uint8"
        raise PluginError(
            f"dataset '{dataset.name}' has images of {images.dtype} {tuple(images.shape)}; "
            f"its labels and shape ask for {kind} {expected}."
        )
    return images


def is_of_inputs(images: Tensor) -> bool:
    """Whether a tensor has the type and dimensions of images or of vectors."""
    if images.ndim == 2:
        return images.dtype in VECTOR_TYPES
    return images.ndim == 4 and images.dtype == torch.uint8
