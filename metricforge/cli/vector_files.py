"""What a command embeds by a model of vectors: the rows of .npy files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metricforge.errors import ArtefactError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metricforge.model import EmbeddingModel


def array_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Each file of `paths`, and the .npy files at any depth below each folder, by their names.

    Hidden ones are left out, and what metricforge wrote. DataError for a path that does not exist,
    a folder that can't be read, and a link to a folder.
    """
    for path in paths:
        if path.is_dir():
            yield from _below(path)
        elif path.is_file():
            yield path
        else:
            raise DataError(f"{path} is neither a file nor a folder; check its path.")


def embed_arrays(
    model: EmbeddingModel, files: Sequence[Path], skipped: dict[str, str] | None, quiet: bool
) -> tuple[list[str], NDArray[Any], dict[str, str]]:
    """The names of all rows, as in FILE.npy[0], their embeddings [N, D], and the skipped files.

    Files that can't be read or have other rows are skipped where `skipped` is given, and else
    raise. DataError where none is left.
    """
    import numpy as np

    from metricforge.report.progress import count_line

    refused: dict[str, str] = {}

    @contextmanager
    def trying(file: Path) -> Iterator[None]:
        try:
            yield
        except (ArtefactError, DataError) as error:
            if skipped is None:
                raise DataError(f"{error} --broken skip skips all such files.") from error
            refused[str(file)] = str(error)

    arrays, rows, names = [], [], []
    for file in files:
        with trying(file):
            arrays.append((file, _mapped(file, model.card.shape[0])))
    total = sum(len(array) for _, array in arrays if array.ndim)
    with count_line("vectors", total, not quiet) as done:
        for file, array in arrays:
            with trying(file):
                rows.append(_embedded(model, file, array, done))
                names += [f"{file}[{index}]" for index in range(len(array))]
    if not rows:
        first = next(iter(refused.values()))
        raise DataError(f"none of the {len(files):,} files can be read; the first: {first}")
    return names, np.concatenate(rows), refused


def _embedded(
    model: EmbeddingModel, file: Path, rows: NDArray[Any], progress: Callable[[int], object] | None
) -> NDArray[Any]:
    try:
        return model.encode(rows, progress=progress)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _mapped(file: Path, length: int) -> NDArray[Any]:
    """The array of a .npy file; DataError for any other file."""
    from metricforge.data.embedding_files import mapped_array
    from metricforge.report.page import printable

    if file.suffix.lower() == ".npy":
        return mapped_array(file)
    raise DataError(
        f"the model takes vectors of {length} numbers, and {printable(str(file))} is no .npy file "
        "of them."
    )


def _below(folder: Path) -> Iterator[Path]:
    from metricforge.data.class_names import natural_key
    from metricforge.data.filetypes import is_skipped
    from metricforge.data.own_outputs import is_output

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename} can't be read ({error.strerror}).") from error

    for path, folders, files in os.walk(folder, onerror=stop):
        if is_output([*folders, *files]):
            click.echo(f"note: skipped {path}, written by metricforge.", err=True)
            folders.clear()
            continue
        kept = [name for name in folders if not is_skipped(name, is_folder=True)]
        for name in kept:
            if (Path(path) / name).is_symlink():
                raise DataError(f"{Path(path) / name} is a link to a folder; name the folder.")
        folders[:] = sorted(kept, key=natural_key)
        for name in sorted(files, key=natural_key):
            if name.lower().endswith(".npy") and not is_skipped(name, is_folder=False):
                yield Path(path) / name
