"""`metricforge gallery list`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from metricforge.cli.galleries import promise_lines
from metricforge.cli.image_files import shown
from metricforge.cli.options import JSON, by_first_rank, debug, print_json


@click.command("list")
@click.argument("gallery", type=click.Path(path_type=Path))
@JSON
@debug
@by_first_rank
def command(gallery: Path, as_json: bool) -> None:
    """List the classes of GALLERY with their numbers of images, and its promise."""
    from dataclasses import asdict

    from metricforge.galleries.gallery import Gallery

    opened = Gallery.open(gallery, device="cpu")
    counts = Counter(each.name for each in opened.enrolled)
    if as_json:
        print_json({"classes": dict(sorted(counts.items())), **asdict(opened.calibration)})
        return
    for name in opened.classes:
        click.echo(f"{counts[name]:6,}  {shown(name)}")
    for line in promise_lines(opened.calibration):
        click.echo(line)
