"""`metricforge search`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.encode import files_of
from metricforge.cli.options import JSON, by_first_rank, debug, print_json


@click.command("search")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", metavar="N", type=click.IntRange(min=1), default=5, show_default=True,
              help="How many to find for each.")  # fmt: skip
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or mps.")
@JSON
@debug
@by_first_rank
def command(
    run: Path, index: Path, images: tuple[Path, ...], k: int, device: str, as_json: bool
) -> None:
    """Find the images of INDEX that are nearest to each of IMAGES, by the model of RUN."""
    from metricforge.image_index import ImageIndex
    from metricforge.report.page import printable

    files = files_of(images)
    opened = ImageIndex.open(index)
    if k > (held := len(opened.contents.names)):
        click.echo(f"note: -k {k} is more than the {held} images of the index: all are told.",
                   err=True)  # fmt: skip
    neighbors = opened.search(run, files, k, device)
    if as_json:
        each = zip(files, neighbors, strict=True)
        print_json({str(image): [vars(neighbor) for neighbor in near] for image, near in each})
        return
    for image, near in zip(files, neighbors, strict=True):
        click.echo(printable(str(image)))
        for neighbor in near:
            click.echo(f"  {neighbor.distance:.3f}  {printable(neighbor.name)}")
