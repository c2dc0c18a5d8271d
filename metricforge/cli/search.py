"""`metricforge search`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.image_files import BROKEN, QUIET, embed_files, files_of, report_skipped
from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json


@click.command("search")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", metavar="N", type=click.IntRange(min=1), default=5, show_default=True,
              help="How many to find for each.")  # fmt: skip
@DEVICE
@BROKEN
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    index: Path,
    images: tuple[Path, ...],
    k: int,
    device: str,
    broken: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find the images of INDEX that are nearest to each of IMAGES, by the model of RUN.

    A folder stands for all images at any depth below it. A model of vectors takes .npy files, and
    finds what is nearest to each of their rows.
    """
    from metricforge.image_index import ImageIndex
    from metricforge.report.page import printable

    skipped: dict[str, str] | None = {} if broken == "skip" else None
    opened = ImageIndex.open(index)
    if k > (held := len(opened.contents.names)):
        click.echo(f"note: -k {k} is more than the {held} images of the index: all are listed.",
                   err=True)  # fmt: skip
    model = opened.model_of(run, device)
    embedded = embed_files(model, files_of(images, model, skipped), skipped, quiet)
    neighbors = opened.nearest(embedded.rows, k)
    each = list(zip(embedded.names, neighbors, strict=True))
    report_skipped(embedded.skipped)
    if as_json:
        print_json({image: [vars(neighbor) for neighbor in near] for image, near in each})
        return
    for image, near in each:
        click.echo(printable(image))
        for neighbor in near:
            label = f"{printable(neighbor.label)}  " if neighbor.label else ""
            click.echo(f"  {neighbor.distance:.3f}  {label}{printable(neighbor.name)}")
