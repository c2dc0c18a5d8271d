"""Features of a network on disk, by image and by network, so that each image is embedded once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metricforge.atomic_files import write_files
from metricforge.contracts import Dataset
from metricforge.data.code_identity import code_of
from metricforge.data.decode_pool import decode_pool
from metricforge.errors import ResourceError
from metricforge.regular_file import TENSORS, read_bytes

FORMAT = "metricforge features 1"
"""Changes when the same network would give other features for the same image."""

KEY_BYTES = 16
MOST_BYTES = 10 * 2**30
"""Bytes that a folder of features may take; beyond, the networks that were used longest ago go."""


class FeatureCache:
    """The features of one network, in a folder of its own, in files that are never changed.

    Each file has the keys of some images and their features, and its name is its sha256: two
    processes that write at a time write two files.

    Args:
        folder: The folder of all networks.
        network: Hash of all that determines the features of an image.
        keys: The keys of the images at indices [M] in a view, KEY_BYTES each.
    """

    def __init__(
        self, folder: Path, network: str, keys: Callable[[Tensor, int], Sequence[bytes]]
    ) -> None:
        self._root, self._folder, self.keys = folder, folder / network, keys

    def find(self, keys: Sequence[bytes]) -> tuple[Tensor, Tensor | None]:
        """Which of M images are known, bool [M], and the features [hits, F] of these, if any.

        A file that is damaged is removed: its images are embedded anew.
        """
        positions: dict[bytes, list[int]] = {}
        for position, key in enumerate(keys):
            positions.setdefault(key, []).append(position)
        features: dict[int, Tensor] = {}
        for file in sorted(self._folder.glob("*.safetensors")):
            for key, row in _rows(file):
                features |= dict.fromkeys(positions.get(key, ()), row)
        with suppress(OSError):
            os.utime(self._folder)
        hits = torch.zeros(len(keys), dtype=torch.bool)
        hits[list(features)] = True
        rows = [features[position] for position in sorted(features)]
        return hits, torch.stack(rows) if rows else None

    def add(self, keys: Sequence[bytes], features: Tensor) -> None:
        """Store the features [M, F] of images [M] that are not known yet."""
        blob = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES).copy()
        tensors = {"keys": torch.from_numpy(blob), "features": features.contiguous()}
        content = save_tensors(tensors)
        name = hashlib.sha256(content).hexdigest()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(
                f"can't write the features {self._folder} ({error.strerror}); name another folder, "
                "--feature-cache DIR, or none."
            ) from error
        write_files({self._folder / f"{name}.safetensors": content})
        self._prune()

    def _prune(self) -> None:
        """Remove the networks that were used longest ago, while all take more than they may."""
        folders = sorted(
            (each for each in self._root.iterdir() if each.is_dir()),
            key=lambda each: _size_and_time(each)[1],
        )
        sizes = {each: sum(_size_and_time(file)[0] for file in _in(each)) for each in folders}
        for folder in folders[:-1]:
            if sum(sizes.values()) <= MOST_BYTES:
                return
            sizes.pop(folder)
            for file in _in(folder):
                with suppress(OSError):
                    file.unlink()
            with suppress(OSError):
                folder.rmdir()


def _in(folder: Path) -> list[Path]:
    """What is in a folder that another process may remove or write to at the same time."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size_and_time(path: Path) -> tuple[int, float]:
    """The bytes and the time of change of what may be gone by now."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0.0
    return found.st_size, found.st_mtime


def _rows(file: Path) -> Iterator[tuple[bytes, Tensor]]:
    """The keys in a file with their features [F]; none if it is damaged, and then it is removed."""
    try:
        content = read_bytes(file, TENSORS)
        if hashlib.sha256(content).hexdigest() != file.stem:
            raise ValueError("its sha256 is not its name")
        tensors = load_tensors(content)
        blob, features = tensors["keys"].numpy().tobytes(), tensors["features"]
    except (OSError, ValueError, KeyError, SafetensorError):
        with suppress(OSError):
            file.unlink()
        return
    for row, begin in enumerate(range(0, len(blob), KEY_BYTES)):
        yield blob[begin : begin + KEY_BYTES], features[row]


def image_keys(dataset: Dataset, indices: Tensor, extra: str = "") -> Sequence[bytes]:
    """The keys of images [M]: hashes of their content, and of how it is read.

    Args:
        dataset: The dataset.
        indices: int64 [M].
        extra: What else determines the image that the network gets, e.g. its augmentation.

    Returns:
        KEY_BYTES for each image.
    """
    images, reading = dataset.images, dataset.reading.hashed()
    how = json.dumps([dataset.shape, reading, extra]).encode()
    if isinstance(images, Tensor):
        contents: Iterator[Any] = (images[i].contiguous().numpy() for i in indices.tolist())
        return [_hash(how, content.data) for content in contents]

    def key(index: int) -> bytes:
        file = images[index]
        return _hash(how, read_bytes(file) if isinstance(file, Path) else file.read())

    return list(decode_pool().map(key, indices.tolist()))


def _hash(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


def network_key(module: nn.Module, *settings: object) -> str:
    """A hash of a network: its weights, its layers, the code of its classes, and settings.

    The code counts, in all files of its package, so that a plugin that its writer changes gives no
    features of yesterday.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, torch.__version__, *map(repr, settings)]).encode())
    digest.update(repr(module).encode())
    for code in sorted({code_of(type(each).__module__) for each in module.modules()}):
        digest.update(code.encode())
    # Buffers that are not saved count as well.
    for name, tensor in sorted({**module.state_dict(), **dict(module.named_buffers())}.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
