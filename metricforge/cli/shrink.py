"""`metricforge shrink`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metricforge.cli.image_files import QUIET, shown
from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, by_first_rank, debug, print_json
from metricforge.errors import UsageError

if TYPE_CHECKING:
    from metricforge.shrinking.form import EmbeddingForm
    from metricforge.shrinking.shrink import Shrunken


@click.command("shrink")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dim", metavar="N", type=click.IntRange(min=1),
              help="Dimensions.  [default: those of the model]")  # fmt: skip
@click.option("--int8", is_flag=True, help="One byte for each dimension.")
@click.option("--binary", is_flag=True, help="One bit for each dimension.")
@click.option("--pq", metavar="M", type=click.IntRange(min=1),
              help="Product quantization into M bytes; M divides the dimensions.")  # fmt: skip
@click.option("--axes", type=click.Choice(["pca", "first"]), default="pca", show_default=True,
              help="Keep the principal components, or the first dimensions, as the loss 'nested' "
              "trains them.")  # fmt: skip
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
              help="Save the model with smaller embeddings there.")  # fmt: skip
@click.option("--images", metavar="DATASET",
              help="What to compare on.  [default: the dataset of RUN]")  # fmt: skip
@click.option("--part", metavar="NAME", help="train, validation, test or all.  [default: test; "
              "validation without --dim, --int8, --binary or --pq]")  # fmt: skip
@DATA_ROOT
@DEVICE
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    dim: int | None,
    int8: bool,
    binary: bool,
    pq: int | None,
    axes: Literal["pca", "first"],
    out: Path | None,
    images: str | None,
    part: str | None,
    data_root: str | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the embeddings of RUN smaller, and show what that costs.

    Without --dim, --int8, --binary or --pq the usual forms are compared on the validation classes,
    to choose one. With them that form is compared on the held-out test classes, and --out saves a
    model folder whose embeddings have it, for encode, index and search. They write float32 rows:
    load(DIR).head.pack packs them into the bytes of the table. The folder is no run: evaluate asks
    for a --dataset, enrol for --validation. export takes a form that --dim alone made.

    Forms are fitted to the training images of RUN. Queries are rounded as the gallery is. Bytes are
    those of a row; queries/s are of faiss among 100,000 rows on this machine.
    """
    from metricforge.atomic_files import check_writable
    from metricforge.shrinking.shrink import shrink

    form = _form(dim, int8, binary, pq, axes)
    if out is not None:
        if form is None:
            raise UsageError("--out saves one form: choose it, e.g. --dim 64 --int8.")
        if out.exists():
            raise UsageError(f"{out} exists: give a new folder.")
        check_writable(out.resolve().with_name(f"{out.resolve().name}.partial"))
    shrunken = shrink(
        run, [form] if form else [], images=images, part=part, data_root=data_root,
        device=device, progress=not quiet,
    )  # fmt: skip
    if out is not None and shrunken.model is not None:
        shrunken.model.save(out)
    if as_json:
        print_json(shrunken.to_json() | {"out": str(out) if out else None})
        return
    print_table(shrunken)
    if out is not None:
        click.echo(f"{shown(out)}: the model; bytes of a packed row: {shrunken.rows[1].bytes:,}")
    elif form is None:
        click.echo(f"next    metricforge shrink {shown(run)} --int8 --out DIR")


def _form(
    dim: int | None,
    int8: bool,
    binary: bool,
    pq: int | None,
    axes: Literal["pca", "first"],
) -> EmbeddingForm | None:
    """The form of these options; None if none is given."""
    from metricforge.shrinking.form import EmbeddingForm

    if int8 + binary + (pq is not None) > 1:
        raise UsageError("take one of --int8, --binary and --pq.")
    if dim is None and not int8 and not binary and pq is None:
        if axes == "first":
            raise UsageError("--axes is for --dim: say how many dimensions to keep.")
        return None
    code: Literal["float", "int8", "binary", "pq"] = (
        "int8" if int8 else "binary" if binary else "float" if pq is None else "pq"
    )
    return EmbeddingForm(dim, code, pq or 16, axes)


def print_table(shrunken: Shrunken) -> None:
    """Print a line for each form: bytes, speed, scores, and the paired differences."""
    from rich.console import Console
    from rich.table import Table

    from metricforge.cli.run_table import difference, interval
    from metricforge.judging.rankings import METRICS

    for note in shrunken.notes:
        click.echo(f"note: {shown(note)}", err=True)
    where = f"{shown(shrunken.dataset)} ({shrunken.part})"
    click.echo(f"{shrunken.images:,} images of {shrunken.classes:,} classes of {where}\n")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for column in ("bytes", "queries/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in METRICS:
        table.add_column(name, no_wrap=True)
    for row in shrunken.rows:
        scores = [
            difference(row.differences[name], sure=False)
            if row.differences
            else interval(row.metrics[name])
            for name in METRICS
        ]
        table.add_row(row.name, f"{row.bytes:,}", f"{row.queries:,.0f}", *scores)
    console = Console(highlight=False)
    console.width = max(console.width, 80)
    console.print(table)
    click.echo("\nThe scores of the first row; of the others the paired difference from these.")
