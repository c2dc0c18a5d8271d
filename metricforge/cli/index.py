"""`metricforge index`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.image_files import (
    BROKEN,
    QUIET,
    embed_files,
    files_of,
    refuse_among_any,
    report_skipped,
)
from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json


@click.command("index")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True,
              help="The folder to write, a new one or an index to replace.")  # fmt: skip
@DEVICE
@BROKEN
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    images: tuple[Path, ...],
    out: Path,
    device: str,
    broken: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Embed IMAGES with the model of RUN, to be searched with `metricforge search`.

    A folder stands for all images at any depth below it. An image that is named twice is embedded
    once. A model of vectors embeds the rows of .npy files, and a folder stands for those.
    """
    from metricforge.atomic_files import check_writable
    from metricforge.image_index import ImageIndex
    from metricforge.loading import load

    refuse_among_any(out, images)
    ImageIndex.refuse_used(out)
    check_writable(out.resolve().with_name(f"{out.resolve().name}.partial"))
    skipped: dict[str, str] | None = {} if broken == "skip" else None
    model = load(run, device=device)
    files = files_of(images, model, skipped, once=True)
    embedded = embed_files(model, files, skipped, quiet)
    index = ImageIndex.of(run, model, embedded.names, embedded.rows)
    index.save(out)
    if as_json:
        told = {"out": str(out), "images": len(embedded.names), "dim": index.contents.dim}
        print_json({**told, "skipped": embedded.skipped})
        return
    report_skipped(embedded.skipped)
    count = f", {len(embedded.skipped):,} skipped" if embedded.skipped else ""
    images_held = f"{len(embedded.names)} images{count}"
    click.echo(f"{out}: {images_held}; next: metricforge search {run} {out} IMAGE")
