"""The table of held-out scores in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metricforge.contracts import Estimate
from metricforge.judging.evaluate import Evaluation
from metricforge.report.page import printable
from metricforge.runs.run import Run
from metricforge.runs.summary import Summary
from metricforge.scoring import legend
from metricforge.scoring.baselines import TRAINED
from metricforge.scoring.measure import Measured

MOST_CLASSES = 8


def print_run(run: Run, all_metrics: bool = False) -> None:
    """A run's held-out metrics, its folder, and the next command to try."""
    summary = run.folder.summary
    if not summary.results:
        _print_untested(run)
        return
    measured = Measured(summary.results, summary.headline, summary.notes, summary.definitions)
    tested = summary.tested_on or shortened(summary.test_classes)
    title = f"{summary.dataset}: {tested} ({summary.test_images:,} images)"
    print_measured(measured, title, all_metrics, _chosen(summary), "--all, or the report")
    click.echo(f"\nrun     {run.path}")
    click.echo(f"report  {run.folder.report}")
    way = min(5, len(summary.test_classes))
    words = ("metricforge", "evaluate", str(run.path), "--protocol", f"oneshot:way={way},shot=5")
    click.echo(f"next    {shlex.join(words)}")


def _chosen(summary: Summary) -> str:
    """Which epoch is tested, and the score on validation classes that chose it."""
    epoch, scores = f"Epoch {summary.selected_epoch} of {summary.epochs}", summary.validation
    name = summary.selected_by.partition(" ")[0]
    if name not in scores:
        return f"{epoch}: no class validates."
    return f"{epoch}, by {name} {scores[name]:.3f} on validation classes."


def _print_untested(run: Run) -> None:
    judged = "validation classes, which chose the epoch" if run.validation else "nothing is judged"
    click.secho(f"{judged}; the test classes stay closed", bold=True)
    for name, value in run.validation.items():
        click.echo(f"{name:12} {value:.3f}")
    click.echo(f"\nrun     {run.path}")
    click.echo(f"next    {shlex.join(('metricforge', 'evaluate', str(run.path)))}")


def print_measured(
    measured: Measured,
    title: str,
    all_metrics: bool = False,
    remark: str = "",
    hint: str = "--all",
) -> None:
    """Estimates by approach, a row a metric, and the notes below.

    Without `all_metrics` only those of the headline are shown; `hint` says how to see all.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 100)
    every = legend.metrics(measured.results)
    shown = [name for name in every if all_metrics or name in measured.headline] or every
    console.print(escape(printable(title)), style="bold", soft_wrap=not console.is_terminal)
    console.print(_table(measured.results, shown))
    hidden = len(every) - len(shown)
    lines = [remark, legend.baselines(measured.results), interval_basis(measured.results, shown)]
    lines += [f"{hidden} more metrics: {hint}."] if hidden else []
    lines += [f"note: {escape(printable(note))}" for note in measured.notes]
    for line in filter(None, lines):
        console.print(line, style="dim", soft_wrap=not console.is_terminal)


def _table(results: Mapping[str, Mapping[str, Estimate]], names: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for approach in results:
        style = "bold" if approach == TRAINED else ""
        table.add_column(approach, justify="right", style=style, no_wrap=True)
    for name in names:
        table.add_row(name, *(interval(estimates.get(name)) for estimates in results.values()))
    return table


def interval_basis(
    results: Mapping[str, Mapping[str, Estimate]], names: Sequence[str] | None = None
) -> str:
    """What the intervals in brackets are over, as a console prints it."""
    return escape(printable(legend.interval_basis(results, names)))


def kind_of_classes(evaluation: Evaluation) -> str:
    """Whether a model was tested on classes it was not trained on."""
    if evaluation.closed_set:
        return "closed set"
    if not evaluation.seen:
        return "held-out classes"
    count = f"{len(evaluation.seen)} of {len(evaluation.classes)}"
    return f"classes, {count} of which it was trained or selected on,"


def interval(estimate: Estimate | None) -> str:
    """An estimate as 0.912 [.900, .924], 18 characters unless negative: three fit 80 columns."""
    if estimate is None:
        return "-"
    low, high = (_end(end) for end in (estimate.low, estimate.high))
    return f"{estimate.value:.3f} [dim]\\[{low}, {high}][/dim]"


def _end(value: float) -> str:
    """.900, -.038 or 1.00."""
    text = f"{value:.3f}".replace("-0.000", "0.000").replace("0.", ".", 1)
    return text[:-1] if "." in text[1:] and abs(value) >= 0.9995 else text


def difference(estimate: Estimate | None, sure: bool = True) -> str:
    """A difference as +0.012 [+.003, +.021], and whether it is sure: zero lies outside of it."""
    if estimate is None:
        return "-"
    low, high = (f"{end:+.3f}".replace("0.", ".", 1) for end in (estimate.low, estimate.high))
    mark = "  sure" if sure and not estimate.low <= 0 <= estimate.high else ""
    return f"{estimate.value:+.3f} [dim]\\[{low}, {high}][/dim]{mark}"


def shortened(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:MOST_CLASSES])
    more = len(names) - MOST_CLASSES
    return f"{shown} and {more} more" if more > 0 else shown
