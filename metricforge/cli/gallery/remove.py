"""`metricforge gallery remove`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.image_files import shown
from metricforge.cli.options import JSON, by_first_rank, debug, print_json


@click.command("remove")
@click.argument("gallery", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, required=True)
@JSON
@debug
@by_first_rank
def command(gallery: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Forget the classes NAMES of GALLERY."""
    from metricforge.galleries.gallery import Gallery
    from metricforge.runs.lock import changing

    with changing(gallery):
        opened = Gallery.open(gallery, device="cpu")
        removed = {name: opened.remove(name) for name in names}
        opened.save(gallery)
    if as_json:
        print_json({"removed": removed, "images": len(opened), "classes": len(opened.classes)})
        return
    for name, count in removed.items():
        click.echo(f"{shown(name)}: {count:,} images removed")
