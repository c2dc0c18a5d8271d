"""`metricforge export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metricforge.cli.image_files import QUIET, shown
from metricforge.cli.options import JSON, by_first_rank, debug, print_json
from metricforge.errors import UsageError

if TYPE_CHECKING:
    from metricforge.exporting.agreement import Agreement
    from metricforge.exporting.export import Export


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="The file to write.")  # fmt: skip
@click.option("--to", type=click.Choice(["onnx", "pt2"]), default="onnx", show_default=True,
              help="ONNX, or an archive of torch.export.")  # fmt: skip
@click.option("--fp16", is_flag=True, help="The network computes in float16.")
@click.option("--int8", is_flag=True,
              help="The backbone computes in int8, calibrated on training images; ONNX alone.",
              )  # fmt: skip
@click.option("--with-preprocessing", "preprocessing", is_flag=True,
              help="The file takes images of any size, and resizes them as the model's files are.",
              )  # fmt: skip
@click.option("--images", metavar="DATASET",
              help="What to compare on.  [default: the held-out images of RUN]")  # fmt: skip
@click.option(
    "--licence", metavar="TEXT", default="", help="The licence of the data, for the file."
)
@click.option("--data-root", metavar="DIR", envvar="METRICFORGE_DATA",
              help="Where the run's dataset lies.  [default: as in its config]")  # fmt: skip
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    out: Path,
    to: Literal["onnx", "pt2"],
    fp16: bool,
    int8: bool,
    preprocessing: bool,
    images: str | None,
    licence: str,
    data_root: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the model of RUN as one file that needs no MetricForge: uint8 pixels to embeddings.

    The file is compared with the model on held-out images. It is refused, with exit code 5, unless
    its embeddings and its rankings are those of the model: components of embeddings of unit length
    within 1e-5 (fp16: 1e-2, int8: 0.2), and the 95 % intervals of the paired differences of
    recall@1 and map@r within 0.005 of zero (int8: 0.01).

    With --with-preprocessing the rankings are those of whole images, and the embeddings those of
    images in the model's size.

    RUN may be the folder of a model or of a gallery; --images then says what to compare on.
    """
    from metricforge.exporting.agreement import DriftError
    from metricforge.exporting.export import export

    if fp16 and int8:
        raise UsageError("take --fp16 or --int8, not both.")
    try:
        exported = export(
            run, out, to, precision="fp16" if fp16 else "int8" if int8 else "fp32",
            preprocessing=preprocessing, images=images, licence=licence, data_root=data_root,
            progress=not quiet,
        )  # fmt: skip
    except DriftError as error:
        if as_json:
            print_json({"file": None, "agreement": error.agreement.to_json()})
        else:
            print_agreement(error.agreement)
        raise
    report(exported, as_json)


def report(exported: Export, as_json: bool) -> None:
    """Print what was written, how it compares, and its speed."""
    if as_json:
        print_json(exported.to_json())
        return
    for note in exported.notes:
        click.echo(f"note: {shown(note)}", err=True)
    size = f"{exported.speed.file_bytes:,} bytes"
    click.echo(
        f"{shown(exported.path)}: {exported.format}, {exported.description.precision}, {size}"
    )
    click.echo(f"takes {_input(exported)}, gives float32 [batch, {exported.description.dim}]")
    print_agreement(exported.agreement)
    _print_speed(exported)


def print_agreement(agreement: Agreement) -> None:
    """Print both tables of a comparison: the scores with their difference, and the embeddings."""
    from rich.console import Console
    from rich.table import Table

    from metricforge.cli.run_table import difference, interval

    where = f"{agreement.dataset} ({agreement.part})"
    click.echo(f"\n{agreement.images:,} images of {agreement.classes:,} classes of {shown(where)}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "model", "export", "paired difference"):
        table.add_column(column, no_wrap=True)
    for name, own in agreement.model.items():
        cells = (interval(own), interval(agreement.exported[name]))
        table.add_row(name, *cells, difference(agreement.differences[name], sure=False))
    console = Console(highlight=False)
    console.width = max(console.width, 80)
    console.print(table)
    most, bounds = agreement.embedding, agreement.bounds
    click.echo(f"allowed: intervals of differences within {bounds.score:g} of zero\n")
    click.echo(f"embeddings differ by {most:.1e} at most, allowed {bounds.embedding:.0e}")
    if agreement.whole is not None:
        click.echo(f"those of whole images, with their resizing, by {agreement.whole:.1e}")


def _input(exported: Export) -> str:
    taken = exported.description.input
    if taken["layout"] == "BV":
        return f"float32 vectors [batch, {taken['length']}]"
    sides = (taken["height"] or "height", taken["width"] or "width")
    return f"uint8 images [batch, {taken['channels']}, {sides[0]}, {sides[1]}]"


def _print_speed(exported: Export) -> None:
    speed = exported.speed
    click.echo("\nimages/s       model     export")
    for size, rate in speed.model.items():
        click.echo(f"  batch {size:<4}{rate:>9,.0f}  {speed.exported[size]:>9,.0f}")
    click.echo(f"megabytes   {speed.model_bytes / 1e6:>8.1f}  {speed.file_bytes / 1e6:>9.1f}")
