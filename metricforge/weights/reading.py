"""Weights that were saved elsewhere: files of tensors, models and runs, read without unpickling."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from metricforge.atomic_files import read_folder
from metricforge.errors import ArtefactError, UsageError
from metricforge.hub.address import is_address
from metricforge.model_card import Card, model_folder, read_card
from metricforge.regular_file import TENSORS, read_bytes

WEIGHTS = "weights.safetensors"
"""The file of a saved model that has its weights."""

_SAFETENSORS = (".safetensors", ".st")


@dataclass(frozen=True)
class Weights:
    """Tensors by name, as a file has them.

    Args:
        source: The file or folder, as the user named it.
        tensors: Tensors by name; those of a nested dict by names joined with dots.
        sha256: Of the file; of a folder, of its `weights.safetensors`.
        card: Description of the model, if the source is a model or a run of MetricForge.
    """

    source: str
    tensors: Mapping[str, Tensor]
    sha256: str
    card: Card | None = None

    def of_part(self, part: str) -> Weights:
        """Those of the `backbone` or the `head` of a saved model; a file has no parts."""
        if self.card is None:
            return self
        own = {
            name.removeprefix(f"{part}."): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{part}.")
        }
        return Weights(self.source, own, self.sha256, self.card)


def read_weights(source: str) -> Weights:
    """Read the weights in a file, or in the folder of a model or a run.

    Args:
        source: A safetensors file; a file of `torch.save` with tensors, e.g. a `state_dict()`; a
            run, or the `model/` of one.

    Returns:
        The weights, on the CPU.

    Raises:
        UsageError: There is no such file or folder, or it is an address on a hub: a spec may be a
            stranger's, and downloads nothing.
        ArtefactError: It is damaged, or has anything but tensors.
    """
    if is_address(source):
        raise UsageError(
            f"weights={source}: a spec downloads nothing; save the model in a folder, "
            f"metricforge.load('{source}').save(FOLDER), and name that."
        )
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_folder(source, path)
    try:
        content = read_bytes(path, TENSORS)
    except FileNotFoundError as error:
        raise UsageError(f"weights={source}: there is no file or run of that name.") from error
    except OSError as error:
        raise ArtefactError(f"can't read the weights {source}: {error.strerror}.") from error
    read = parsed if path.suffix.lower() in _SAFETENSORS else load_pickled
    tensors = read(content, source)
    return Weights(source, tensors, hashlib.sha256(content).hexdigest())


def load_pickled(content: bytes, source: str) -> dict[str, Tensor]:
    """The tensors of a file of `torch.save`; no code in it is run.

    Args:
        content: The file.
        source: Its name, for errors.

    Returns:
        The tensors, by names joined with dots if they are nested.

    Raises:
        ArtefactError: It is no such file, or needs code to be read.
    """
    try:
        loaded = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtefactError(
            f"{source} has more than tensors, and reading it would run its code; save the "
            "network's state_dict() instead, as safetensors if possible."
        ) from error
    # The reader of archives and pickles raises errors of many types for damaged ones.
    except Exception as error:
        raise ArtefactError(
            f"{source} is damaged, or is neither a safetensors file nor one of torch.save."
        ) from error
    tensors = dict(_flat(loaded))
    if not tensors:
        raise ArtefactError(f"{source} has no tensors by name; save the network's state_dict().")
    return tensors


def _of_folder(source: str, path: Path) -> Weights:
    folder = model_folder(path)
    files = read_folder(folder)
    content = files.get(WEIGHTS, b"")
    tensors, card = parsed(content, source), read_card(folder, files)
    return Weights(source, tensors, hashlib.sha256(content).hexdigest(), card)


def parsed(content: bytes, source: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ArtefactError if it is none."""
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except SafetensorError as error:
        raise ArtefactError(f"the weights in {source} are no safetensors: {error}.") from error
    return tensors


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested dicts, by their keys joined with dots."""
    if not isinstance(value, Mapping):
        return
    for key, part in value.items():
        name = f"{prefix}{key}"
        if isinstance(part, Tensor):
            yield name, part.detach()
        else:
            yield from _flat(part, f"{name}.")
