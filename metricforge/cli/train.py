"""`metricforge train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from metricforge.cli.options import ALL_METRICS, JSON, debug, print_json
from metricforge.cli.recipe_options import of_section, recipe_options
from metricforge.errors import ArtefactError, UsageError
from metricforge.recipes import recipe as recipes
from metricforge.recipes.option import MACHINE, RUN, SECTIONS
from metricforge.recipes.recipe import Recipe

if TYPE_CHECKING:
    from metricforge.runs.run import Run

OTHER_OPTIONS = "Options"
"""The section of options without one of their own."""

INSTEAD = {
    "--arch": "--backbone resnet18",
    "--batch": "--sampler hard-triplet:classes=8,per_class=4 for batches of 8 x 4 images",
    "--batch-size": "--sampler hard-triplet:classes=8,per_class=4 for batches of 8 x 4 images",
    "--checkpoint": "--resume RUN",
    "--data": "--dataset FOLDER",
    "--data-dir": "--dataset FOLDER",
    "--embedding-size": "--dim 128",
    "--epoch": "--epochs 10",
    "--gpu": "--device cuda",
    "--image-size": "--dataset folder:path=FOLDER,size=128",
    "--img-size": "--dataset folder:path=FOLDER,size=128",
    "--imgsz": "--dataset folder:path=FOLDER,size=128",
    "--learning-rate": "--optimizer adamw:lr=0.001",
    "--lr": "--optimizer adamw:lr=0.001",
    "--margin": "--loss triplet:margin=0.2",
    "--model": "--backbone resnet18",
    "--name": "--out runs/NAME",
    "--num-classes": "--sampler hard-triplet:classes=8 for the classes in a batch",
    "--num-epochs": "--epochs 10",
    "--num-workers": "--workers 4",
    "--opt": "--optimizer adamw",
    "--output": "--out runs/NAME",
    "--output-dir": "--out runs/NAME",
    "--pretrained": "--backbone efficientnet-lite0",
    "--project": "--out runs/NAME",
    "--sched": "--schedule cosine",
    "--weight-decay": "--optimizer adamw:weight_decay=0.01",
    "--weights": "--backbone resnet18:weights=FILE",
}
"""What to write in place of other programs' options."""


class WithChoices(click.Command):
    """Its help has sections, and ends with the components there are, read from metadata."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if instead := INSTEAD.get(error.option_name.replace("_", "-")):
                message = f"No such option '{error.option_name}'. Write {instead}"
                raise click.NoSuchOption(error.option_name, message, ctx=ctx) from error
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines: dict[str, list[tuple[str, str]]] = {
            section: [] for section in (*SECTIONS, OTHER_OPTIONS)
        }
        for parameter in self.get_params(ctx):
            if (line := parameter.get_help_record(ctx)) is not None:
                lines[getattr(parameter, "section", OTHER_OPTIONS)].append(line)
        for section, records in lines.items():
            with formatter.section(section):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from metricforge.contracts import KINDS
        from metricforge.registry import Registry

        registry = Registry.installed()
        with formatter.section("Components (metricforge plugins tells more)"):
            formatter.write_dl([
                (kind.plural, ", ".join(entry.shown for entry in registry.entries(name)))
                for name, kind in KINDS.items()
            ])  # fmt: skip


@click.command("train", cls=WithChoices)
@recipe_options
@of_section(RUN, "--config", metavar="FILE", type=click.Path(path_type=Path),
            help="A run's config.toml, to repeat it; other options change it.")  # fmt: skip
@of_section(RUN, "--resume", "resume_from", metavar="RUN", type=click.Path(path_type=Path),
            help="Resume a run that was stopped; with more --epochs, train a finished one "
                 "longer.")  # fmt: skip
@of_section(RUN, "--auto-resume", is_flag=True, help="Resume the run in the folder, if one was "
            "begun there.")  # fmt: skip
@of_section(RUN, "--out", metavar="DIR", type=click.Path(path_type=Path),
            help="The run's folder.  [default: runs/DATASET-SAMPLER, or the same with a number if "
                 "it is taken]")  # fmt: skip
@of_section(RUN, "--overwrite", is_flag=True, help="Replace the run that is in --out.")
@of_section(MACHINE, "--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]")
@click.option("--quiet", is_flag=True, help="No progress.")
@ALL_METRICS
@JSON
@debug
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train an embedding, and test it on classes it never saw.

    A SPEC is a name with options: hard-triplet:classes=16,per_class=4. A value with a comma goes in
    double quotes, 'folder:path="photos, 1998"'; a dataset may be given by its path alone.
    """
    from metricforge.cli.run_table import print_run
    from metricforge.report.progress import Listener, ProgressLine
    from metricforge.runtime import Ranks

    _set_threads(options["threads"])
    overrides = _typed_options(ctx, options)
    with Ranks.joined() as ranks:
        if options["quiet"] or not ranks.first:
            run = _train(options, overrides, Listener())
        else:
            with ProgressLine() as line:
                run = _train(options, overrides, line)
    if not ranks.first:
        return
    if options["as_json"]:
        print_json({"run": str(run.path), **run.summary})
    else:
        print_run(run, options["all_metrics"])


def _train(options: dict[str, Any], overrides: dict[str, Any], listener: Any) -> Run:
    from metricforge.runs.train import run_recipe

    if options["resume_from"]:
        return _resume(options, overrides, listener)
    recipe = _recipe(options["config"], overrides)
    folder_options = {name: options[name] for name in ("out", "overwrite", "auto_resume")}
    if options["overwrite"] and options["auto_resume"]:
        raise UsageError("--auto-resume resumes a run and --overwrite replaces it: take one.")
    return run_recipe(recipe, listener=listener, **folder_options)


def _resume(options: dict[str, Any], overrides: dict[str, Any], listener: Any) -> Run:
    from metricforge.runs.folder import RunFolder
    from metricforge.runs.resume import resume

    incompatible = ("config", "out", "overwrite", "auto_resume")
    if any(options[name] for name in incompatible):
        raise UsageError("--resume takes the run's own config and folder; leave out the others.")
    if not options["resume_from"].exists():
        raise ArtefactError(
            f"{options['resume_from']} does not exist; --resume takes a run's folder."
        )
    folder = RunFolder.open(options["resume_from"])
    recipe = Recipe.from_toml(folder.config).but(**overrides) if overrides else None
    return resume(options["resume_from"], recipe=recipe, listener=listener)


def _recipe(config: Path | None, overrides: dict[str, Any]) -> Recipe:
    base = Recipe.from_toml(config) if config else Recipe()
    return base.but(**overrides)


def _typed_options(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The recipe's options that the user typed or set in the environment."""
    typed = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        name: options[name] for name in recipes.options() if ctx.get_parameter_source(name) in typed
    }


def _set_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)
