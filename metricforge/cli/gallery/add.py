"""`metricforge gallery add`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.galleries import promise_lines
from metricforge.cli.image_files import BROKEN, QUIET, files_of, report_skipped, shown
from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json


@click.command("add")
@click.argument("gallery", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="The class of all IMAGES.  [default: a folder's "
              "name]")  # fmt: skip
@DEVICE
@BROKEN
@QUIET
@JSON
@debug
@by_first_rank
def command(
    gallery: Path,
    images: tuple[Path, ...],
    name: str | None,
    device: str,
    broken: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Enrol IMAGES in GALLERY: files and folders, all of one class.

    Images that the class already has are not enrolled again.
    """
    from metricforge.errors import UsageError
    from metricforge.galleries.embedded import embed_images
    from metricforge.galleries.enrol import notes_on
    from metricforge.galleries.gallery import Gallery
    from metricforge.report.progress import count_line
    from metricforge.runs.lock import changing

    if name is None:
        if len(images) != 1 or not images[0].is_dir():
            raise UsageError("say which class the images are of: --as NAME.")
        name = images[0].resolve().name
    with changing(gallery):
        opened = Gallery.open(gallery, device=device)
        before = opened.calibration
        skipped: dict[str, str] | None = {} if broken == "skip" else None
        files = files_of(images, opened.model, skipped, once=True)
        unreadable: dict[int, str] | None = None if skipped is None else {}
        with count_line("images", len(files), not quiet) as done:
            embedded = embed_images(opened.model, files, name, unreadable, done)
        added = opened.add_rows(embedded)
        opened.save(gallery)
    told = {**(skipped or {}), **{str(files[i]): why for i, why in (unreadable or {}).items()}}
    notes = list(notes_on(opened))
    if as_json:
        print_json({
            "class": name,
            "added": added,
            "already": len(files) - len(unreadable or {}) - added,
            "images": len(opened),
            "classes": len(opened.classes),
            "threshold": opened.calibration.threshold,
            "skipped": told,
            "notes": notes,
        })  # fmt: skip
        return
    report_skipped(told)
    for note in notes:
        click.echo(f"note: {shown(note)}", err=True)
    held = sum(each.name == name for each in opened.enrolled)
    click.echo(f"{shown(name)}: {added:,} images added, {held:,} enrolled")
    if opened.calibration != before:
        click.echo("the threshold was chosen anew, for more classes or images:")
        for line in promise_lines(opened.calibration):
            click.echo(line)
