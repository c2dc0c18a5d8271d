"""`metricforge enrol`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.galleries import promise_lines, share
from metricforge.cli.image_files import QUIET, refuse_among_any, shown
from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json

if TYPE_CHECKING:
    from metricforge.galleries.gallery import Gallery


@click.command("enrol")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", metavar="DATASET")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True,
              help="The folder to write, a new one or a gallery to replace.")  # fmt: skip
@click.option("--part", metavar="NAME", help="train, validation or test: enrol that part of "
              "DATASET.  [default: all]")  # fmt: skip
@click.option("--false-alarms", metavar="SHARE", type=share,
              help="At most so many of strangers' images are identified as somebody, e.g. 1% or "
              "0.01.  [default: the lowest of 1, 2, 5, 10 and 20% that can be promised]",
              )  # fmt: skip
@click.option("--normalise/--no-normalise", default=True,
              help="Compare distances with those to training images, if more are recognised then; "
              "not with --validation.",
              )  # fmt: skip
@click.option("--validation", metavar="DATASET",
              help="Other classes to choose the threshold on.  [default: those that validated the "
              "run]")  # fmt: skip
@click.option("--data-root", metavar="DIR", envvar="METRICFORGE_DATA",
              help="Where the run's dataset lies.  [default: as in its config]")  # fmt: skip
@DEVICE
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    images: str,
    out: Path,
    part: str | None,
    normalise: bool,
    false_alarms: float | None,
    validation: str | None,
    data_root: str | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Enrol the classes of DATASET, to identify other images with the model of RUN.

    DATASET is a folder with a folder of images for each class, an archive, a CSV, or a spec such as
    folder:path=people,broken=skip. A threshold is chosen on the validation classes of RUN, so that
    images of strangers, which are of none of the enrolled classes, are identified as one of them
    with at most the promised probability.

    The gallery holds the model and the embeddings, and no image.
    """
    from metricforge.atomic_files import check_writable
    from metricforge.galleries.enrol import enrol, notes_on
    from metricforge.galleries.files import refuse_used

    refuse_used(out)
    refuse_among_any(out, [Path(images)])
    check_writable(out.resolve().with_name(f"{out.resolve().name}.partial"))
    gallery = enrol(
        run, images, part=part, normalise=normalise, false_alarms=false_alarms,
        validation=validation, data_root=data_root, device=device, progress=not quiet,
    )  # fmt: skip
    gallery.save(out)
    report(gallery, out, list(notes_on(gallery)), as_json)


def report(gallery: Gallery, out: Path, notes: list[str], as_json: bool) -> None:
    """Print what a gallery holds and promises."""
    chosen = gallery.calibration
    if as_json:
        print_json(
            {
                "gallery": str(out),
                "classes": list(gallery.classes),
                "images": len(gallery),
                "false_alarms": chosen.share,
                "recognised": chosen.recognised,
                "by": chosen.by,
                "normalised": chosen.normalised,
                "threshold": chosen.threshold,
                "up_to_classes": chosen.classes,
                "notes": notes,
            }
        )
        return
    for note in notes:
        click.echo(f"note: {shown(note)}", err=True)
    click.echo(f"{out}: {len(gallery):,} images of {len(gallery.classes):,} classes")
    for line in promise_lines(chosen):
        click.echo(line)
    click.echo(f"next    metricforge identify {out} IMAGE")
