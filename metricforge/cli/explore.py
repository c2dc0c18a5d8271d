"""`metricforge explore`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.image_files import QUIET, shown
from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, by_first_rank, debug, print_json


@click.command("explore")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              default="explore.html", show_default=True, help="The page.")  # fmt: skip
@click.option("--images", metavar="DATASET",
              help="What to show.  [default: the dataset of RUN]")  # fmt: skip
@click.option("--part", metavar="NAME",
              help="train, validation, test or all.  [default: test]")  # fmt: skip
@DATA_ROOT
@DEVICE
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    out: Path,
    images: str | None,
    part: str | None,
    data_root: str | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a page to look around in: a map of the images of RUN, each with its neighbours.

    The page is one HTML file that a browser opens from disk; it loads nothing. It shows which
    classes fail, which are taken for which, and what training changed.
    """
    from metricforge.exploring.explore import explore

    made = explore(
        run, out, images=images, part=part, data_root=data_root, device=device,
        progress=not quiet,
    )  # fmt: skip
    for note in made.notes:
        click.echo(f"note: {shown(note)}", err=True)
    if as_json:
        told = {"out": str(made.path), "dataset": made.dataset, "part": made.part,
                "images": made.images, "classes": made.classes, "bytes": made.bytes}  # fmt: skip
        print_json(told)
        return
    click.echo(
        f"{shown(made.path)}: {made.images:,} images of {made.classes:,} classes of "
        f"{shown(made.dataset)} ({made.part}), {made.bytes / 1e6:.1f} MB; open it in a browser"
    )
