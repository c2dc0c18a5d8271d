"""`metricforge gallery show`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.image_files import shown
from metricforge.cli.options import JSON, by_first_rank, debug, print_json


@click.command("show")
@click.argument("gallery", type=click.Path(path_type=Path))
@click.argument("name")
@JSON
@debug
@by_first_rank
def command(gallery: Path, name: str, as_json: bool) -> None:
    """List the images of the class NAME of GALLERY."""
    from metricforge.errors import unknown
    from metricforge.galleries.gallery import Gallery

    opened = Gallery.open(gallery, device="cpu")
    if name not in opened.classes:
        raise unknown("class of the gallery:", name, opened.classes)
    images = [each for each in opened.enrolled if each.name == name]
    if as_json:
        print_json([{"image": each.image, "sha256": each.sha256} for each in images])
        return
    for each in images:
        click.echo(f"{each.sha256[:12]}  {shown(each.image)}")
