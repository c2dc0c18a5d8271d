"""`metricforge baseline`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, SPLITS, component, debug, print_json

if TYPE_CHECKING:
    from metricforge.judging.baseline import Baseline
    from metricforge.judging.frozen_ways import Row

METRICS = ("map@r", "recall@1")


@click.command("baseline")
@click.argument("data", metavar="DATA")
@component(
    "backbone", "Pretrained backbone; may be repeated.  [default: efficientnet-lite0]",
    multiple=True, field="backbones",
)  # fmt: skip
@component(
    "sampler", "Sampler that trains a linear head on the features; may be repeated.  [default: "
    "hard-triplet and multi-similarity]", multiple=True, field="samplers",
)  # fmt: skip
@click.option("--split", metavar="SPEC", help=f"{SPLITS}  [default: official, else random]")
@click.option(
    "--test/--no-test", default=True, help="Test the ways at the end, or leave the test classes "
    "closed.",
)  # fmt: skip
@click.option(
    "--feature-cache", envvar="METRICFORGE_CACHE", metavar="DIR",
    help="Folder that keeps the features, or none.  [default: ~/.cache/metricforge]",
)  # fmt: skip
@DEVICE
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the heads.")
@DATA_ROOT
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
@debug
def command(
    data: str,
    backbones: tuple[str, ...],
    samplers: tuple[str, ...],
    split: str | None,
    test: bool,
    feature_cache: str | None,
    device: str,
    seed: int,
    data_root: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Rank what can be had of DATA without fine-tuning, on held-out classes.

    The ways are pixels and, of each pretrained backbone, its features, whitened features, and
    linear heads trained on them; of vectors, these in place of features. Each image is embedded
    once; a second run takes the features of the first. The validation classes rank the ways, then
    the test classes test them, once.
    """
    from metricforge.judging.baseline import baseline
    from metricforge.report.progress import Listener, ProgressLine

    def run(listener: Listener) -> Baseline:
        return baseline(
            data,
            backbones=backbones or None,
            samplers=samplers or None,
            split=split,
            test=test,
            data_root=data_root,
            device=device,
            feature_cache=feature_cache,
            seed=seed,
            listener=listener,
        )

    if quiet:
        ranked = run(Listener())
    else:
        with ProgressLine() as line:
            ranked = run(line)
    if as_json:
        print_json(ranked.to_json())
    else:
        _print(ranked)


def _print(ranked: Baseline) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from metricforge.cli.run_table import difference, interval
    from metricforge.report.page import printable

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)
    parts = {"validation": ranked.validation_classes}
    if ranked.choice.test:
        parts["test"] = ranked.test_classes
    for part, (classes, images) in parts.items():
        kind = "closed set" if ranked.closed_set else "held-out classes"
        title = f"{ranked.dataset}, {part}: {classes} {kind} ({images:,} images)"
        console.print(escape(printable(title)), style="bold", soft_wrap=True)
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("", overflow="fold")
        for metric in METRICS:
            table.add_column(metric, no_wrap=True)
        table.add_column("map@r minus features" if part == "test" else "dim", no_wrap=True)
        if part == "validation":
            table.add_column("ms/image", justify="right")
        for row in ranked.rows:
            numbers = row.test if part == "test" else row.validation
            cells = [interval(numbers.get(metric)) for metric in METRICS]
            if part == "test":
                cells.append(difference(row.differences.get(METRICS[0])))
            else:
                cells += [f"{row.dim:,}", _milliseconds(row)]
            table.add_row(escape(printable(row.name)), *cells)
        console.print(table)
    for line in (
        f"Ranked by {METRICS[0]} on the validation classes. 95 % intervals in brackets; sure: the "
        "interval of the paired difference excludes zero.",
        "An image takes 4 bytes for each dimension in an index.",
        *(f"note: {note}" for note in ranked.notes),
    ):
        console.print(escape(printable(line)), style="dim", soft_wrap=not console.is_terminal)
    click.echo(f"\nchoice  {printable(ranked.choice.name)}")
    click.echo(f"next    {shlex.join(ranked.command)}")


def _milliseconds(row: Row) -> str:
    return "-" if row.seconds is None else f"{1000 * row.seconds:.1f}"
