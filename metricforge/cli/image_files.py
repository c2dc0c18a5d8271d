"""What a command embeds: the images or vectors that were named, and what of them can be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from metricforge.errors import ArtefactError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metricforge.model import EmbeddingModel

BROKEN = click.option(
    "--broken", metavar="NAME", type=click.Choice(["refuse", "skip"]), default="refuse",
    help="refuse files that are no images or can't be decoded, or skip and report them.  "
    "[default: refuse]",
)  # fmt: skip
QUIET = click.option("--quiet", is_flag=True, help="No progress.")


class Embedded(NamedTuple):
    """Embeddings [N, D] with their names, and the files that were skipped, with the reasons."""

    names: Sequence[str]
    rows: NDArray[Any]
    skipped: dict[str, str]


def files_of(
    images: Iterable[Path],
    model: EmbeddingModel,
    skipped: dict[str, str] | None = None,
    once: bool = False,
) -> list[Path]:
    """The files to embed: each file of `images`, and all image files below each folder.

    For a model of vectors, all .npy files below it, in natural order.

    Files in folders that are no images are added to `skipped`, with the reason, or else are a
    DataError. With `once` a file that is named twice counts once. DataError for a path that does
    not exist, and if there are no files.
    """
    of_vectors = model.card.of_vectors
    files = list(_arrays(images) if of_vectors else _files(images, skipped))
    if once:
        different: dict[Path, Path] = {}
        for file in files:
            different.setdefault(file.resolve(), file)
        if again := len(files) - len(different):
            _note(f"{again:,} files are named more than once and count once.")
        files = list(different.values())
    if not files:
        what = ".npy files" if of_vectors else "images"
        raise DataError(f"there are no {what} in what was given.")
    return files


def embed_files(
    model: EmbeddingModel, files: Sequence[Path], skipped: dict[str, str] | None, quiet: bool
) -> Embedded:
    """The embeddings of files; those that can't be decoded are added to `skipped`, if given.

    A model of vectors embeds each row of .npy files, which is named as in FILE.npy[0]. DataError
    where none can be decoded.
    """
    from metricforge.report.progress import CountLine

    if model.card.of_vectors:
        return _embed_rows(model, files, skipped, quiet)
    names = [str(file) for file in files]
    broken: dict[int, str] | None = None if skipped is None else {}
    with nullcontext() if quiet else CountLine("images", len(files)) as done:
        try:
            rows = model.encode(files, broken=broken, progress=done)
        except DataError as error:
            raise DataError(f"{error} --broken skip skips all such images.") from error
    if broken is None or skipped is None:
        return Embedded(names, rows, {})
    if len(broken) == len(files):
        first = next(iter(broken.values()))
        raise DataError(f"none of the {len(files):,} images can be read; the first: {first}")
    skipped |= {names[index]: reason for index, reason in broken.items()}
    return Embedded([name for i, name in enumerate(names) if i not in broken], rows, skipped)


def _embed_rows(
    model: EmbeddingModel, files: Sequence[Path], skipped: dict[str, str] | None, quiet: bool
) -> Embedded:
    import numpy as np

    from metricforge.report.progress import CountLine

    arrays: dict[Path, NDArray[Any]] = {}
    refused: dict[str, str] = {}
    for file in files:
        try:
            arrays[file] = _rows_in(file, model.card.shape[0])
        except (ArtefactError, DataError) as error:
            if skipped is None:
                raise
            refused[str(file)] = str(error)
    rows, names = [], []
    with nullcontext() if quiet else CountLine("vectors", sum(map(len, arrays.values()))) as done:
        for file in (file for file in files if file in arrays):
            try:
                embedded = model.encode(arrays[file], progress=done)
            except DataError as error:
                if skipped is None:
                    raise DataError(f"{shown(file)}: {error}") from error
                refused[str(file)] = f"{file}: {error}"
                continue
            rows.append(embedded)
            names += [f"{file}[{index}]" for index in range(len(embedded))]
    if not rows:
        first = next(iter(refused.values()))
        raise DataError(f"none of the {len(files):,} files can be read; the first: {first}")
    return Embedded(names, np.concatenate(rows), refused)


def _rows_in(file: Path, length: int) -> NDArray[Any]:
    """The rows of a .npy file; DataError for any other file."""
    from metricforge.data.embedding_files import mapped_array

    if file.suffix.lower() != ".npy":
        raise DataError(
            f"the model takes vectors of {length} numbers, and {shown(file)} is no .npy file of "
            "them."
        )
    array = mapped_array(file)
    if array.ndim == 0:
        raise DataError(f"{shown(file)} has one number: vectors are real numbers [N, V].")
    if len(array) == 0:
        raise DataError(f"{shown(file)} has no rows; leave it out.")
    return array


def report_skipped(skipped: dict[str, str]) -> None:
    """A line on stderr for each skipped file."""
    for reason in skipped.values():
        click.echo(f"skipped: {shown(reason)}", err=True)


def refuse_among_any(out: Path, images: Iterable[Path]) -> None:
    """UsageError for an output in one of the folders that are to be embedded."""
    from metricforge.data.own_outputs import refuse_among

    for folder in images:
        if folder.is_dir():
            refuse_among(out, folder)


def shown(text: object) -> str:
    """Text that a terminal can print."""
    from metricforge.report.page import printable

    return printable(text)


def _arrays(images: Iterable[Path]) -> Iterator[Path]:
    for each in images:
        if each.is_dir():
            yield from _arrays_below(each)
        elif each.is_file():
            yield each
        else:
            raise DataError(f"{each} is neither a file nor a folder; check its path.")


def _arrays_below(folder: Path) -> Iterator[Path]:
    """The .npy files at any depth, by folder and name; hidden ones and outputs are left out."""
    from metricforge.data.class_names import natural_key
    from metricforge.data.filetypes import is_skipped
    from metricforge.data.own_outputs import is_output

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename} can't be read ({error.strerror}).") from error

    for path, folders, files in os.walk(folder, onerror=stop):
        if is_output([*folders, *files]):
            _note(f"skipped {shown(path)}, written by metricforge.")
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


def _files(images: Iterable[Path], skipped: dict[str, str] | None) -> Iterator[Path]:
    from metricforge.data.folder_walk import walk
    from metricforge.data.skipped_files import asides

    for image in images:
        if image.is_dir():
            unknown: list[Path] | None = None if skipped is None else []
            for each in walk(image, unknown=unknown):
                if each.is_output:
                    _note(f"skipped {shown(each.path)}, written by metricforge.")
                yield from (each.path / name for name in each.names)
            for note in asides(image):
                _note(f"{image}: {note}")
            if skipped is not None:
                skipped |= {str(path): f"'{path}' is no image." for path in unknown or ()}
        elif image.is_file():
            yield image
        else:
            raise DataError(f"{image} is neither a file nor a folder; check its path.")


def _note(sentence: str) -> None:
    click.echo(f"note: {sentence}", err=True)
