"""`metricforge encode`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import click

from metricforge.cli.dataset_images import DATASET, PART, embed_named
from metricforge.cli.image_files import (
    BROKEN,
    QUIET,
    Embedded,
    embed_files,
    files_of,
    refuse_among_any,
    report_skipped,
    shown,
)
from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, by_first_rank, debug, print_json

FOREIGN = {".csv", ".h5", ".json", ".npz", ".parquet", ".pkl", ".pt", ".pth", ".tsv", ".txt"}
"""Suffixes of formats that embeddings are not written in."""


@click.command("encode")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="The .npy file to write, float32 [N, D]; the names of the images, a list in "
              "the order of the rows, are written beside it, with .json for .npy. Earlier "
              "files are replaced.")  # fmt: skip
@DATASET
@PART
@DATA_ROOT
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
    dataset: str | None,
    part: str | None,
    data_root: str | None,
    broken: str,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Embed IMAGES with the model of RUN, a row for each in the order given.

    A folder stands for all images at any depth below it, by folder and name. With --broken skip,
    skipped files have no row and no name. A model of vectors embeds the rows of .npy files,
    and a folder stands for those.

    A single archive or .csv is a dataset. The labels of a dataset are written beside the rows, with
    .labels.csv for .npy, as evaluate --embeddings reads them.
    """
    from metricforge.loading import load

    out = _rows_file(out)
    refuse_among_any(out, images)
    skipped: dict[str, str] | None = {} if broken == "skip" else None
    model = load(run, device=device)
    embedded = embed_named(run, model, images, dataset, part, data_root, broken, quiet)
    if embedded is None:
        embedded = embed_files(model, files_of(images, model, skipped), skipped, quiet)
    _write(out, embedded)
    if as_json:
        print_json({
            "out": str(out),
            "names": str(_beside(out)),
            **({"labels": str(_labels_beside(out))} if embedded.labels else {}),
            "shape": list(embedded.rows.shape),
            "skipped": embedded.skipped,
        })  # fmt: skip
        return
    report_skipped(embedded.skipped)
    count = f", {len(embedded.skipped):,} skipped" if embedded.skipped else ""
    click.echo(
        f"{shown(out)}: {len(embedded.rows)} embeddings of {embedded.rows.shape[1]} dimensions"
        f"{count}; names in {shown(_beside(out))}"
        + (f", labels in {shown(_labels_beside(out))}" if embedded.labels else "")
    )


def _write(out: Path, embedded: Embedded) -> None:
    """Rows, names and labels, which are useless without each other."""
    import numpy as np

    from metricforge.atomic_files import write_files

    write_files({
        out: lambda file: np.save(file, embedded.rows, allow_pickle=False),
        _beside(out): (json.dumps(list(embedded.names), indent=0) + "\n").encode(),
        **({_labels_beside(out): _csv(embedded)} if embedded.labels else {}),
    })  # fmt: skip
    if not embedded.labels:  # of an earlier dataset, whose rows are gone
        _labels_beside(out).unlink(missing_ok=True)


def _csv(embedded: Embedded) -> bytes:
    """The image and the label of each row."""
    text = io.StringIO()
    rows = zip(embedded.names, embedded.labels, strict=True)
    # As they are: evaluate reads them, and classes must keep their names.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("image", "label"), *rows])
    return text.getvalue().encode(errors="surrogateescape")


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
    check_writable(out, rows, _beside(rows), _labels_beside(rows))
    for beside, what in ((_beside(rows), "names"), (_labels_beside(rows), "labels")):
        if beside.exists() and not rows.exists():
            raise UsageError(
                f"{beside} exists, and is not of an earlier {rows}; give another --out, since the "
                f"{what} of the images would replace it."
            )
    return rows


def _beside(out: Path) -> Path:
    """The file with the names of the rows."""
    return out.with_suffix(".json")


def _labels_beside(out: Path) -> Path:
    """The file with the labels of the rows of a dataset."""
    return out.with_suffix(".labels.csv")
