"""`metricforge encode`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metricforge.cli.options import JSON, by_first_rank, debug, print_json
from metricforge.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metricforge.model import EmbeddingModel


@click.command("encode")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="The .npy file to write, float32 [N, D]; the names of the images, a list in "
              "the order of the rows, are written beside it, with .json for .npy. Earlier "
              "files are replaced.")  # fmt: skip
@click.option("--broken", metavar="NAME", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="refuse images that can't be read, or skip them: they have no row and no name.  "
              "[default: refuse]")  # fmt: skip
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or mps.")
@JSON
@debug
@by_first_rank
def command(
    run: Path, images: tuple[Path, ...], out: Path, broken: str, device: str, as_json: bool
) -> None:
    """Embed IMAGES with the model of RUN, a row for each in the order given.

    A folder stands for all images at any depth below it, by folder and name.
    """
    from metricforge.model import load

    out = _rows_file(out)
    refuse_among_any(out, images)
    files = files_of(images)
    model = load(run, device=device)
    embeddings, skipped = _embedded(model, files, broken == "skip")
    names = [str(file) for file in files if file not in skipped]
    _write(out, embeddings, names)
    if as_json:
        print_json({
            "out": str(out),
            "names": str(_beside(out)),
            "shape": list(embeddings.shape),
            "skipped": {str(file): why for file, why in skipped.items()},
        })  # fmt: skip
        return
    for why in skipped.values():
        click.echo(f"left out: {_shown(why)}", err=True)
    left_out = f", {len(skipped):,} left out" if skipped else ""
    click.echo(
        f"{_shown(out)}: {len(embeddings)} embeddings of {embeddings.shape[1]} dimensions"
        f"{left_out}; names in {_shown(_beside(out))}"
    )


def refuse_among_any(out: Path, images: Iterable[Path]) -> None:
    """UsageError for an output in one of the folders that are to be embedded."""
    from metricforge.data.own_outputs import refuse_among

    for folder in images:
        if folder.is_dir():
            refuse_among(out, folder)


def files_of(images: Iterable[Path]) -> list[Path]:
    """The image files: each file of `images`, and all files below each folder.

    DataError for a path that does not exist, and if there are no files.
    """
    files = list(_files(images))
    if not files:
        raise DataError("there are no images in what was given.")
    return files


def _files(images: Iterable[Path]) -> Iterator[Path]:
    from metricforge.data.folder_walk import walk

    for image in images:
        if image.is_dir():
            for each in walk(image):
                if each.is_output:
                    click.echo(
                        f"note: skipped {_shown(each.path)}, written by metricforge.", err=True
                    )
                yield from (each.path / name for name in each.names)
        elif image.is_file():
            yield image
        else:
            raise DataError(f"{image} is neither a file nor a folder; check its path.")


def _embedded(
    model: EmbeddingModel, files: Sequence[Path], skip: bool
) -> tuple[NDArray[Any], dict[Path, str]]:
    """Embeddings of the files, and the unreadable files, each with the reason."""
    from metricforge.data.images import unreadable

    if not skip:
        try:
            return model.encode(files), {}
        except DataError as error:
            raise DataError(f"{error} --broken skip leaves all such images out.") from error
    bad = {files[index]: why for index, why in unreadable(files, model.card.shape).items()}
    sound = [file for file in files if file not in bad]
    if not sound:
        raise DataError(f"none of the {len(files):,} images can be read; the first: "
                        f"{next(iter(bad.values()))}")  # fmt: skip
    return model.encode(sound), bad


def _write(out: Path, embeddings: NDArray[Any], names: Sequence[str]) -> None:
    """Rows and names, which are useless without each other."""
    import numpy as np

    from metricforge.atomic_files import write_files

    write_files({
        out: lambda file: np.save(file, embeddings, allow_pickle=False),
        _beside(out): (json.dumps(names, indent=0) + "\n").encode(),
    })  # fmt: skip


def _rows_file(out: Path) -> Path:
    """The file for the rows, with the suffix .npy that NumPy adds.

    Without it `x` and `x.npy` would share one file of names. UsageError if it can't be written,
    before any image is embedded.
    """
    from metricforge.atomic_files import refuse_irregular

    refuse_irregular(out)
    rows = out if out.suffix == ".npy" else out.with_name(f"{out.name}.npy")
    for file in (rows, _beside(rows)):
        refuse_irregular(file)
    return rows


def _beside(out: Path) -> Path:
    """The file with the names of the rows."""
    return out.with_suffix(".json")


def _shown(text: object) -> str:
    from metricforge.report.page import printable

    return printable(text)
