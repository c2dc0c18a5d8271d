"""`metricforge bench run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.bench.suite_paths import OUT, current, find, results_of, show
from metricforge.cli.options import DATA_ROOT, JSON, debug, print_json
from metricforge.errors import MetricForgeError, UsageError

if TYPE_CHECKING:
    from metricforge.bench import Record


@click.command("run")
@click.argument("suite")
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds of each.  [default: the suite's]")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
              help="Processes side by side; they share the cores.")  # fmt: skip
@click.option("--only", metavar="TEXT", multiple=True,
              help="Only the approach of this name, or those with it in theirs.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Resume what is in the folder.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, mps.  [default: the suite's]")
@DATA_ROOT
@OUT
@JSON
@debug
def command(
    suite: str,
    seeds: int | None,
    jobs: int,
    only: tuple[str, ...],
    resume: bool,
    device: str | None,
    data_root: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Execute the runs of SUITE, and print its table.

    Each finished run is a line in results.jsonl, and has a folder. --resume resumes a suite that
    was stopped or killed, and its unfinished runs. It runs failed runs again; if one fails again,
    the exit code is 1.
    """
    from metricforge.bench import carry_out, tabulate
    from metricforge.bench.runner import RECORDS
    from metricforge.bench.table_notes import unmeasured
    from metricforge.report.progress import RunsLine
    from metricforge.scoring.baselines import TRAINED
    from metricforge.tuning.trials import DONE, FAILED

    definition = find(suite)
    folder = results_of(definition, out)
    if (folder / RECORDS).exists() and not resume:
        raise UsageError(
            f"{folder} has results; resume with --resume, or give another --out. To see them: "
            f"metricforge bench table {suite}"
        )
    options = {"data_root": data_root, "device": device}
    overrides = {key: value for key, value in options.items() if value is not None}
    looked_at = False
    with RunsLine() as line:
        for number, count, record in carry_out(
            definition, folder, seeds=seeds, jobs=jobs, only=only, options=overrides
        ):
            line.say(f"{number}/{count} {_line(record, definition.numbers)}")
            line.done(number, count)
            if record.outcome == DONE and record.trial is None and not looked_at:
                looked_at = True
                for note in unmeasured(definition.numbers, list(record.results[TRAINED])):
                    line.say(f"note: {note}")
    records = current(definition, folder / RECORDS)
    tables = tabulate(definition, records)
    if as_json:
        print_json([table.to_json() for table in tables])
    else:
        show(tables)
    if not any(record.outcome == DONE for record in records):
        raise UsageError(f"nothing of {definition.name} could be trained; the table says why.")
    runs = [record for record in records if record.trial is None]
    if failed := sum(record.outcome == FAILED for record in runs):
        raise MetricForgeError(
            f"{failed} of {len(runs)} runs failed, and the table says why; --resume tries again."
        )


def _line(record: Record, names: Sequence[str]) -> str:
    """The outcome of a run, in a line."""
    fold = "" if record.fold is None else f", fold {record.fold}"
    tried = " ".join(f"{key}={value}" for key, value in record.tuned.items())
    which = f"seed {record.seed}" if record.trial is None else f"trial {record.trial} {tried}"
    title = f"{record.approach}, {which}{fold}"
    if record.error:
        return f"{title}: {record.outcome}: {record.error}"
    trained = {
        name: estimate["value"] for name, estimate in record.results.get("trained", {}).items()
    }
    numbers = {name: trained[name] for name in names if name in trained}
    numbers = numbers or trained or dict(record.validation)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in list(numbers.items())[:2])
    return f"{title}: {shown} ({record.wall_seconds:,.0f} s)"
