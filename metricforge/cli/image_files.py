"""What a command embeds: the images or vectors that were named, and what of them can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from metricforge.cli.vector_files import array_files, embed_arrays
from metricforge.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metricforge.model import EmbeddingModel
    from metricforge.stores.table import EmbeddingTable

BROKEN = click.option(
    "--broken", metavar="NAME", type=click.Choice(["refuse", "skip"]), default="refuse",
    help="refuse files that are no images or can't be decoded, or skip and report them.  "
    "[default: refuse]",
)  # fmt: skip
QUIET = click.option("--quiet", is_flag=True, help="No progress.")


class Embedded(NamedTuple):
    """Embeddings [N, D] with their names, and the files that were skipped, with the reasons.

    Those of a dataset have labels.
    """

    names: Sequence[str]
    rows: NDArray[Any]
    skipped: dict[str, str]
    labels: Sequence[str] = ()


def files_of(
    images: Iterable[Path],
    model: EmbeddingModel,
    skipped: dict[str, str] | None = None,
    once: bool = False,
) -> list[Path]:
    """The files to embed: each file of `images`, and all image files below each folder.

    For a model of vectors, all .npy files below it.

    Files in folders that are no images are added to `skipped`, with the reason, or else are a
    DataError. With `once` a file that is named twice counts once. DataError for a path that does
    not exist, and if there are no files.
    """
    of_vectors = model.card.of_vectors
    files = list(array_files(images) if of_vectors else _files(images, skipped))
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
    model: EmbeddingModel,
    files: Sequence[Path],
    skipped: dict[str, str] | None,
    quiet: bool,
    advise: bool = True,
) -> Embedded:
    """The embeddings of files; those that can't be decoded are added to `skipped`, if given.

    A model of vectors embeds each row of .npy files, which is named as in FILE.npy[0]. DataError
    where none can be decoded; with `advise` the command has the option --broken.
    """
    from metricforge.report.progress import count_line

    if model.card.of_vectors:
        return Embedded(*embed_arrays(model, files, skipped, quiet))
    names = [str(file) for file in files]
    broken: dict[int, str] | None = None if skipped is None else {}
    with count_line("images", len(files), not quiet) as done:
        try:
            rows = model.encode(files, broken=broken, progress=done)
        except DataError as error:
            advice = " --broken skip skips all such images." if advise else ""
            raise DataError(f"{error}{advice}") from error
    if broken is None or skipped is None:
        return Embedded(names, rows, {})
    if len(broken) == len(files):
        first = next(iter(broken.values()))
        raise DataError(f"none of the {len(files):,} images can be read; the first: {first}")
    skipped |= {names[index]: reason for index, reason in broken.items()}
    return Embedded([name for i, name in enumerate(names) if i not in broken], rows, skipped)


def table_of(run: Path, model: EmbeddingModel, embedded: Embedded) -> EmbeddingTable:
    """Embeddings as other programs get them."""
    from metricforge.image_index import model_hash
    from metricforge.stores.table import EmbeddingTable

    hashed = model_hash(run, model.card)
    return EmbeddingTable(embedded.names, embedded.rows, hashed, embedded.labels)


def note_escaped(table: EmbeddingTable) -> None:
    """A note if names of a table can't be stored as they are."""
    if table.escaped:
        _note(f"{table.escaped:,} names and labels are no valid Unicode: written with \\udcXX.")


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
