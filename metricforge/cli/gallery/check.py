"""`metricforge gallery check`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.image_files import shown
from metricforge.cli.options import JSON, by_first_rank, debug, print_json


@click.command("check")
@click.argument("gallery", type=click.Path(path_type=Path))
@JSON
@debug
@by_first_rank
def command(gallery: Path, as_json: bool) -> None:
    """Check that GALLERY is whole, and tell what its images tell.

    Each enrolled image is compared with the others: which classes hold the same image, and which
    images are nearer to another class than to their own.
    """
    from metricforge.galleries.enrol import notes_on
    from metricforge.galleries.gallery import Gallery

    opened = Gallery.open(gallery, device="cpu")
    notes, strays = list(notes_on(opened)), opened.strays()
    if as_json:
        told = [{"image": each.image, "class": each.name, "nearest": near} for each, near in strays]
        print_json({"images": len(opened), "notes": notes, "strays": told})
        return
    for note in notes:
        click.echo(f"note: {shown(note)}", err=True)
    click.echo(f"{gallery}: whole; {len(opened):,} images of {len(opened.classes):,} classes")
    for each, near in strays:
        click.echo(
            f"{shown(each.image)} of {shown(each.name)} is nearer to images of {shown(near)}"
        )
