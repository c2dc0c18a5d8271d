"""`metricforge index`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.encode import existing
from metricforge.cli.options import JSON, debug, print_json


@click.command("index")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True,
              help="The folder to write the index into.")  # fmt: skip
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or mps.")
@JSON
@debug
def command(run: Path, images: tuple[Path, ...], out: Path, device: str, as_json: bool) -> None:
    """Embed IMAGES with the model of RUN, to be searched with `metricforge search`."""
    from metricforge.runs.image_index import ImageIndex

    index, _ = ImageIndex.of(run, existing(images), device)
    index.save(out)
    if as_json:
        print_json({"out": str(out), "images": len(images), "dim": index.contents.dim})
    else:
        click.echo(f"{out}: {len(images)} images; next: metricforge search {run} {out} IMAGE")
