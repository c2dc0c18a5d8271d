"""Decoded images on disk, so that files are decoded and resized once and not at every use."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.atomic_files import clear_partials, partial_of, write_file
from metricforge.contracts import AS_IT_LIES, Reading
from metricforge.data.image_files import Encoded, names_of, sizes_of
from metricforge.decoding import decoded
from metricforge.errors import ArtefactError, ResourceError
from metricforge.regular_file import open_regular, read_bytes

FORMAT = "metricforge cache 1"
"""Changes when the same file would be decoded to something else."""

_BATCH = 1024
_BLOCK = 1 << 24

Shape = tuple[int, ...]


def cached(
    folder: Path,
    files: Sequence[Encoded],
    shape: Shape,
    decode: Callable[[Tensor], Tensor],
    reading: Reading = AS_IT_LIES,
) -> Tensor:
    """The images as uint8 [N, C, H, W] from a cache file below `folder`, written if it is missing.

    Its name is a hash of the images' names, sizes and times of change, the shape and the reading;
    its content is checked by sha256 before it is used. `decode` returns the images at indices [B].
    The tensor is a memory map: what is written to it stays in memory. Raises ArtefactError for a
    damaged file, ResourceError where it can't be written.
    """
    content = folder / f"{_key(files, shape, reading)}.u8"
    record = content.with_suffix(".json")
    whole = (len(files), *shape)
    if not record.is_file():
        _make(content, record, whole, decode)
    else:
        _check(content, record, whole)
    images: NDArray[np.uint8] = np.memmap(content, np.uint8, "c", shape=whole)
    return torch.from_numpy(images)


def _key(files: Sequence[Encoded], shape: Shape, reading: Reading) -> str:
    how = [] if reading == AS_IT_LIES else [reading.hashed()]
    digest = hashlib.sha256(json.dumps([FORMAT, shape, len(files), *how]).encode())
    for name, size, changed in zip(names_of(files), sizes_of(files), _changes(files), strict=True):
        digest.update(json.dumps([os.path.abspath(name), size, changed]).encode())  # noqa: PTH100
    return digest.hexdigest()[:32]


def _changes(files: Sequence[Encoded]) -> Iterator[int]:
    """When each file last changed, in ns; 0 where that is unknown."""
    return (
        file.stat().st_mtime_ns if isinstance(file, Path) else getattr(file, "changed", 0)
        for file in files
    )


def _make(
    content: Path, record: Path, shape: tuple[int, ...], decode: Callable[[Tensor], Tensor]
) -> None:
    partial = partial_of(content)
    try:
        content.parent.mkdir(parents=True, exist_ok=True)
        clear_partials(content.parent)
        with partial.open("wb") as file:
            digest = _write(file, shape[0], decode)
        partial.replace(content)
        write_file(record, json.dumps({"format": FORMAT, "shape": shape, "sha256": digest}))
    except OSError as error:
        raise ResourceError(
            f"can't write the cache {content} ({error.strerror or error}); make room, or name "
            "another folder."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _write(file: IO[bytes], count: int, decode: Callable[[Tensor], Tensor]) -> str:
    digest = hashlib.sha256()
    for indices in torch.arange(count).split(_BATCH):
        pixels = decode(indices).numpy().data
        digest.update(pixels)
        file.write(pixels)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def _check(content: Path, record: Path, shape: tuple[int, ...]) -> None:
    digest = hashlib.sha256()
    try:
        metadata = decoded(read_bytes(record), dict[str, Any])
        if metadata.get("shape") != list(shape) or content.stat().st_size != math.prod(shape):
            raise _damaged(content)
        with open_regular(content) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except (OSError, ValueError) as error:
        raise _damaged(content) from error
    if digest.hexdigest() != metadata.get("sha256"):
        raise _damaged(content)


def _damaged(content: Path) -> ArtefactError:
    return ArtefactError(
        f"the cache {content} is damaged; delete it and its .json, and it is made anew."
    )
