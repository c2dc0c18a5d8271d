"""`metricforge encode`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metricforge.cli.image_files import (
    BROKEN,
    QUIET,
    embed_files,
    files_of,
    refuse_among_any,
    report_skipped,
    shown,
)
from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOREIGN = {".csv", ".h5", ".json", ".npz", ".parquet", ".pkl", ".pt", ".pth", ".tsv", ".txt"}
"""Suffixes of formats that embeddings are not written in."""


@click.command("encode")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="The .npy file to write, float32 [N, D]; the names of the images, a list in "
              "the order of the rows, are written beside it, with .json for .npy. Earlier "
              "files are replaced.")  # fmt: skip
@BROKEN
@DEVICE
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    images: tuple[Path, ...],
    out: Path,
    broken: str,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Embed IMAGES with the model of RUN, a row for each in the order given.

    A folder stands for all images at any depth below it, by folder and name. With --broken skip,
    skipped files have no row and no name. A model of vectors embeds the rows of .npy files,
    and a folder stands for those.
    """
    from metricforge.loading import load

    out = _rows_file(out)
    refuse_among_any(out, images)
    skipped: dict[str, str] | None = {} if broken == "skip" else None
    model = load(run, device=device)
    embedded = embed_files(model, files_of(images, model, skipped), skipped, quiet)
    _write(out, embedded.rows, embedded.names)
    if as_json:
        print_json({
            "out": str(out),
            "names": str(_beside(out)),
            "shape": list(embedded.rows.shape),
            "skipped": embedded.skipped,
        })  # fmt: skip
        return
    report_skipped(embedded.skipped)
    count = f", {len(embedded.skipped):,} skipped" if embedded.skipped else ""
    click.echo(
        f"{shown(out)}: {len(embedded.rows)} embeddings of {embedded.rows.shape[1]} dimensions"
        f"{count}; names in {shown(_beside(out))}"
    )


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

    Without it `x` and `x.npy` would share one file of names. UsageError for another suffix and
    ResourceError if it can't be written, before any image is embedded.
    """
    from metricforge.atomic_files import check_writable, refuse_irregular
    from metricforge.errors import UsageError

    if out.suffix.lower() in FOREIGN:
        raise UsageError(
            f"{out} would be no {out.suffix} file: embeddings are written as NumPy's .npy; give "
            f"--out {out.with_suffix('.npy')}."
        )
    refuse_irregular(out)
    rows = out if out.suffix == ".npy" else out.with_name(f"{out.name}.npy")
    check_writable(out, rows, _beside(rows))
    if _beside(rows).exists() and not rows.exists():
        raise UsageError(
            f"{_beside(rows)} exists, and is not of an earlier {rows}; give another --out, since "
            "the names of the images would replace it."
        )
    return rows


def _beside(out: Path) -> Path:
    """The file with the names of the rows."""
    return out.with_suffix(".json")
