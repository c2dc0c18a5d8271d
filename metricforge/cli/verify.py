"""`metricforge verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from metricforge.cli.galleries import percent, share
from metricforge.cli.image_files import embed_files, files_of, shown
from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json


@click.command("verify")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--false-alarms", metavar="SHARE", type=share,
              help="At most so many pairs of two validation classes are taken for one class, e.g. "
              "1% or 0.01.  [default: 1%, or the lowest that the model knows]")  # fmt: skip
@click.option("--threshold", metavar="DISTANCE", type=float,
              help="A distance of your own up to which two images are taken for one class.",
              )  # fmt: skip
@DEVICE
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    first: Path,
    second: Path,
    false_alarms: float | None,
    threshold: float | None,
    device: str,
    as_json: bool,
) -> None:
    """Say whether the images FIRST and SECOND are of one class, by the model of RUN.

    The class may be a new one. The validation classes of the run have chosen thresholds for some
    fractions of false alarms, which are saved with the model.
    """
    from metricforge.errors import DataError
    from metricforge.judging.subject import load_model
    from metricforge.judging.verify import choose, verdict
    from metricforge.registry import Registry

    model = load_model(run, device, Registry.installed())
    choose(model.card, false_alarms, threshold)
    two = embed_files(model, files_of([first, second], model), None, quiet=True, advise=False)
    if len(two.rows) != 2:
        raise DataError(f"these are {len(two.rows)} images; verify takes two.")
    told = verdict(model.card, two.rows, false_alarms, threshold)
    if as_json:
        print_json(asdict(told))
        return
    classes = "one class" if told.same else "two classes"
    click.echo(
        f"{shown(first)} and {shown(second)}: {classes}, distance {told.distance:.3f} "
        f"{'within' if told.same else 'beyond'} {told.threshold:.3f}"
    )
    if chosen := told.chosen:
        ends = f"[{chosen.low:.2%}, {chosen.high:.2%}]"
        click.echo(
            f"within it are at most {percent(chosen.far)} {ends} of validation pairs of two "
            f"classes,\nand {chosen.tar:.0%} of those of one"
        )
