"""`metricforge index`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.encode import files_of, refuse_among_any
from metricforge.cli.options import JSON, by_first_rank, debug, print_json


@click.command("index")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True,
              help="The folder to write, a new one or an index to replace.")  # fmt: skip
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or mps.")
@JSON
@debug
@by_first_rank
def command(run: Path, images: tuple[Path, ...], out: Path, device: str, as_json: bool) -> None:
    """Embed IMAGES with the model of RUN, to be searched with `metricforge search`.

    A folder stands for all images at any depth below it.
    """
    from metricforge.image_index import ImageIndex

    refuse_among_any(out, images)
    ImageIndex.refuse_used(out)
    files = files_of(images)
    index, _ = ImageIndex.of(run, files, device)
    index.save(out)
    if as_json:
        print_json({"out": str(out), "images": len(files), "dim": index.contents.dim})
    else:
        click.echo(f"{out}: {len(files)} images; next: metricforge search {run} {out} IMAGE")
