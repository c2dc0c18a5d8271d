"""`metricforge train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from metricforge.cli.options import DATA_ROOT, JSON, PROTOCOL, SPLITS, component, debug, print_json
from metricforge.errors import UsageError

if TYPE_CHECKING:
    from metricforge.runs.recipe import Recipe
    from metricforge.runs.run import Run

# Options of the command that are not options of a recipe.
ABOUT_THE_COMMAND = frozenset(
    {"config", "resume_from", "out", "overwrite", "quiet", "as_json", "threads"}
)


class WithChoices(click.Command):
    """Ends its help with the components there are, read from metadata."""

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
@component("dataset", "What to train on.  [default: digits]")
@click.option("--split", metavar="SPEC", help=SPLITS)
@component("sampler", "Which images meet.  [default: hard-triplet]")
@component("miner", "Which are compared.  [default: the sampler's]")
@component("loss", "How they are scored.  [default: the sampler's]")
@component("backbone", "The network.  [default: conv4]")
@component("head", "Features to embedding.  [default: linear]")
@click.option("--dim", type=int, help="Dimensions of the embedding.  [default: 64]")
@component("augment", "Changes of the train images, in order; may be repeated.",
           kind="augmentation", multiple=True)  # fmt: skip
@click.option("--orientations", type=int, help="1, 4 or 8: classes turned and mirrored count as "
              "further classes.  [default: 8 for few classes of drawings, else 1]")  # fmt: skip
@click.option("--epochs", type=int, help="Passes over the train set.  [default: by its size]")
@click.option("--optimizer", metavar="SPEC", help="adam, adamw, nadam, radam or sgd, such as "
              "adamw:lr=1e-3,weight_decay=1e-4.")  # fmt: skip
@click.option("--schedule", metavar="SPEC", help="cosine or constant, such as cosine:warmup=0.05.")
@PROTOCOL
@component("validation", "Protocol on validation classes after each epoch.  "
           "[default: retrieval]", kind="protocol")  # fmt: skip
@click.option("--select", metavar="NAME", help="Its number to choose the best epoch by.  "
              "[default: map@r]")  # fmt: skip
@click.option("--seed", type=int, help="Of the weights, the batches, all.  [default: 0]")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, mps.  [default: auto]")
@click.option("--precision", metavar="NAME", help="fp32 or bf16.  [default: fp32]")
@click.option("--channels-last/--channels-first", default=None, help="Layout of images in memory.")
@DATA_ROOT
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path),
              help="A run's config.toml, to repeat it; other options change it.")  # fmt: skip
@click.option("--resume", "resume_from", metavar="RUN", type=click.Path(path_type=Path),
              help="Go on with a run that was stopped.")  # fmt: skip
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
              help="The run's folder.  [default: runs/DATASET-SAMPLER]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the run that is in --out.")
@click.option("--test/--no-test", default=None, help="Open the test classes at the end, or leave "
              "them for later.  [default: test]")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]")
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
@debug
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train an embedding, and test it on classes it never saw.

    A SPEC is a name with options: hard-triplet:classes=16,per_class=4.
    """
    from metricforge.cli.results import print_run
    from metricforge.report.progress import Listener, ProgressLine

    _set_threads(options["threads"])
    given = _given(ctx, options)
    if options["quiet"]:
        run = _carry_out(options, given, Listener())
    else:
        with ProgressLine() as line:
            run = _carry_out(options, given, line)
    if options["as_json"]:
        print_json({"run": str(run.path), **run.summary})
    else:
        print_run(run)


def _carry_out(options: dict[str, Any], given: dict[str, Any], listener: Any) -> Run:
    from metricforge.runs.train import run_recipe

    if options["resume_from"]:
        return _resume(options, given, listener)
    recipe = _recipe(options["config"], given)
    return run_recipe(recipe, out=options["out"], overwrite=options["overwrite"], listener=listener)


def _resume(options: dict[str, Any], given: dict[str, Any], listener: Any) -> Run:
    from metricforge.runs.folder import RunFolder
    from metricforge.runs.recipe import Recipe
    from metricforge.runs.train import resume

    if options["config"] or options["out"] or options["overwrite"]:
        raise UsageError("--resume takes the run's own config and folder; leave out the others.")
    folder = RunFolder.open(options["resume_from"])
    asked = Recipe.from_toml(folder.config).but(**given) if given else None
    return resume(options["resume_from"], recipe=asked, listener=listener)


def _recipe(config: Path | None, given: dict[str, Any]) -> Recipe:
    from metricforge.runs.recipe import Recipe

    base = Recipe.from_toml(config) if config else Recipe()
    return base.but(**given)


def _given(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the recipe that the user wrote, and those only."""
    typed = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        name: value
        for name, value in options.items()
        if name not in ABOUT_THE_COMMAND and ctx.get_parameter_source(name) in typed
    }


def _set_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)
