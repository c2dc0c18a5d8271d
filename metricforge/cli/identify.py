"""`metricforge identify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.image_files import (
    BROKEN,
    QUIET,
    embed_files,
    files_of,
    report_skipped,
    shown,
)
from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json

if TYPE_CHECKING:
    from metricforge.evaluation import IndexKind


@click.command("identify")
@click.argument("gallery", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", metavar="N", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many of the nearest classes to list.")  # fmt: skip
@click.option("--index", metavar="NAME", type=click.Choice(["exact", "ivf", "hnsw"]),
              default="exact", help="exact, or ivf or hnsw: an approximate search, for thousands "
              "of IMAGES and a million enrolled.  [default: exact]")  # fmt: skip
@click.option("--together", is_flag=True,
              help="All IMAGES show one thing: one answer, by their mean embedding.")  # fmt: skip
@DEVICE
@BROKEN
@QUIET
@JSON
@debug
@by_first_rank
def command(
    gallery: Path,
    images: tuple[Path, ...],
    top: int,
    index: IndexKind,
    together: bool,
    device: str,
    broken: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say which class of GALLERY each of IMAGES is of, or that it is unknown.

    A folder stands for all images at any depth below it. In brackets is the probability that the
    nearest class is right, if half of all images are strangers'.
    """
    from metricforge.galleries.gallery import Gallery

    opened = Gallery.open(gallery, device=device, index=index)
    skipped: dict[str, str] | None = {} if broken == "skip" else None
    files = files_of(images, opened.model, skipped, once=together)
    embedded = embed_files(opened.model, files, skipped, quiet)
    names: Sequence[str] = embedded.names
    if together:
        answers = [opened.identify_rows_together(embedded.rows, top=top)]
        names = [f"{len(names):,} images" if len(names) > 1 else names[0]]
    else:
        answers = opened.identify_rows(embedded.rows, top=top)
    report_skipped(embedded.skipped)
    if as_json and together:
        print_json({"images": list(embedded.names), **asdict(answers[0])})
        return
    if as_json:
        told = zip(names, answers, strict=True)
        print_json({image: asdict(answer) for image, answer in told})
        return
    for image, answer in zip(names, answers, strict=True):
        nearest = answer.neighbours[0]
        near = f"{shown(nearest.image)} at {nearest.distance:.3f}"
        click.echo(f"{shown(image)}: {shown(answer)}, nearest {near}")
        for candidate in answer.candidates if top > 1 else ():
            click.echo(f"  {candidate.distance:.3f}  {shown(candidate.name)}")
