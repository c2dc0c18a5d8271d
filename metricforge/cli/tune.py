"""`metricforge tune`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.options import JSON, component, debug, print_json

if TYPE_CHECKING:
    from metricforge.tuning.search_folder import Trial

CAVEAT = (
    "The numbers are of the validation classes, and the best is the best of many: expect less on "
    "the test classes."
)


@click.command("tune")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--option", "options", multiple=True, metavar="KEY=VALUES", required=True,
              help="What to search: sampler.per_class=2,4,8 (choices), loss.margin=0.05..0.5 (a "
              "range), head.normalize (both), dim=32,64, sampler=NAME,NAME; may be "
              "repeated.")  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True,
              help="How many trainings, with those that are there already.")  # fmt: skip
@component("search", "What chooses the options, e.g. random.  [default: as the search began; for a "
           "new one the only installed plugin's, else random]")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the choices; a training's is the recipe's.")  # fmt: skip
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
              help="The search's folder; one that is there is resumed.  "
              "[default: runs/NAME-tune]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), help="Of each trial.  "
              "[default: the recipe's]")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS",
              help="Begin no trial after so many.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
@debug
def command(
    recipe: Path,
    options: tuple[str, ...],
    trials: int,
    search: str | None,
    seed: int,
    out: Path | None,
    epochs: int | None,
    timeout: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search the best options of a recipe, on its validation classes.

    RECIPE is a TOML file, e.g. a run's config.toml. Trials never open the test classes; the
    best recipe is written, and `metricforge train --config` tests it once.
    """
    from metricforge.recipes.recipe import Recipe
    from metricforge.registry import Registry
    from metricforge.tuning.options import read_options
    from metricforge.tuning.search_folder import Plan, SearchFolder, ranked

    def say(sentence: str) -> None:
        if not quiet:
            click.echo(sentence, err=True)

    recipe = recipe / "config.toml" if recipe.is_dir() else recipe
    whole = Recipe.from_toml(recipe).specs_only(str(recipe))
    base = whole if epochs is None else whole.but(epochs=epochs)
    space = read_options(options, base, Registry.installed())
    folder = SearchFolder(
        out or Path("runs") / f"{_name(recipe)}-tune", say, sys.stderr.isatty() and not quiet
    )
    done = folder.run(Plan(base, space, seed, search or ""), trials, timeout)
    best = ranked(done, base.select)
    if as_json:
        print_json({
            "search": str(folder.path),
            "select": base.select,
            "best": asdict(best[0]),
            "best_config": str(folder.best),
            "trials": [asdict(trial) for trial in done],
        })  # fmt: skip
        return
    _print(base.select, best, [trial for trial in done if trial.failure], folder.best)
    if epochs is not None:
        click.echo(f"        (its epochs are the trials' {epochs}; --epochs N trains longer)")


def _print(select: str, best: Sequence[Trial], failed: Sequence[Trial], config: Path) -> None:
    """Print the trials, best first, then the failed ones, and the command that tests the best."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from metricforge.tuning.search_folder import written

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in (select, *best[0].options, "trial"):
        table.add_column(escape(name), justify="right", no_wrap=True)
    for trial in best:
        cells = (f"{trial.score:.4f}", *trial.options.values(), str(trial.number))
        table.add_row(*map(escape, cells))
    console.print(table)
    for trial in failed:
        console.print(escape(f"trial {trial.number} failed: {trial.failure}"), soft_wrap=True)
    console.print(CAVEAT, style="dim", soft_wrap=True)
    console.print(escape(f"\nbest    {written(best[0].options)}"), soft_wrap=True)
    console.print(escape(f"next    metricforge train --config {config}"), soft_wrap=True)


def _name(recipe: Path) -> str:
    """The name of a search: the run of a config.toml, or the file."""
    return recipe.resolve().parent.name if recipe.stem == "config" else recipe.stem
