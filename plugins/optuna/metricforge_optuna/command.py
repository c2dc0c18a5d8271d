"""`metricforge tune`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command("tune")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--option", "options", multiple=True, metavar="KEY=VALUES", required=True,
              help="What to search: sampler.per_class=2,4,8 (choices), loss.margin=0.05..0.5 (a "
              "range), head.normalize (both), dim=32,64, sampler=NAME,NAME; may be "
              "repeated.")  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True,
              help="How many trainings, with those that are there already.")  # fmt: skip
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
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback with an error.")
def command(
    recipe: Path,
    options: tuple[str, ...],
    trials: int,
    seed: int,
    out: Path | None,
    epochs: int | None,
    timeout: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search the best options of a recipe, on its validation classes.

    RECIPE is a TOML file, such as a run's config.toml. Trials never open the test classes; the
    best recipe is written, and `metricforge train --config` tests it once.
    """
    # Here, since they load torch and optuna: `metricforge --help` must not wait for them.
    from metricforge import Recipe, Registry
    from metricforge.runs import held
    from metricforge.tuning import read_options
    from metricforge_optuna import table
    from metricforge_optuna.record import Plan, SearchFolder
    from metricforge_optuna.search import Search

    recipe = recipe / "config.toml" if recipe.is_dir() else recipe
    whole = Recipe.from_toml(recipe).specs_only(str(recipe))
    base = whole if epochs is None else whole.but(epochs=epochs)
    space = read_options(options, base, Registry.installed())
    folder = SearchFolder(out or Path("runs") / f"{_name(recipe)}-tune")

    def tell(sentence: str) -> None:
        if not quiet:
            click.echo(sentence, err=True)

    live = sys.stderr.isatty() and not quiet
    plan = Plan(base, space, seed)
    folder.begin(plan)
    with held(folder.path):
        records = Search(plan, folder, tell, live).run(trials, timeout)
    if as_json:
        click.echo(json.dumps(table.as_json(folder, records, base.select), indent=1))
    else:
        table.print_search(folder, records, base.select)
        if epochs is not None:
            click.echo(f"        (its epochs are the trials' {epochs}; --epochs N trains longer)")


def _name(recipe: Path) -> str:
    """What a search is called: the run of a config.toml, or the file."""
    return recipe.resolve().parent.name if recipe.stem == "config" else recipe.stem
