"""`metricforge train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from metricforge.cli.options import (
    ALL_METRICS,
    DATA_ROOT,
    JSON,
    PROTOCOL,
    SPLITS,
    component,
    debug,
    print_json,
)
from metricforge.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from metricforge.recipes.recipe import Recipe
    from metricforge.runs.run import Run

# Options of the command that are not options of a recipe.
ABOUT_THE_COMMAND = frozenset(
    {
        "config", "resume_from", "auto_resume", "out", "overwrite", "quiet", "all_metrics",
        "as_json", "threads",
    }
)  # fmt: skip


SECTIONS = {
    "Data": ("dataset", "split", "augment", "orientations", "data_root", "workers"),
    "What is compared": ("sampler", "miner", "loss"),
    "Network": ("backbone", "head", "dim"),
    "Learning": (
        "epochs", "images", "seconds", "optimizer", "schedule", "rates", "freeze", "batch_norm",
        "clip", "ema", "patience", "chunk", "accumulate", "seed",
    ),
    "Judging": ("protocols", "validation", "select", "test"),
    "The run": (
        "out", "overwrite", "config", "resume_from", "auto_resume", "save_steps", "save_minutes",
        "keep", "hooks",
    ),
    "The machine": ("device", "precision", "channels_last", "compile", "threads"),
}  # fmt: skip
"""The options of the command by what they are about; the others come last."""


INSTEAD = {
    "--lr": "--optimizer adamw:lr=0.001",
    "--batch-size": "--sampler hard-triplet:classes=8,per_class=4 for batches of 8 x 4 images",
    "--epoch": "--epochs 10",
    "--margin": "--loss triplet:margin=0.2",
}
"""What to write for options that other programs have."""


class WithChoices(click.Command):
    """Its help has sections, and ends with the components there are, read from metadata."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if instead := INSTEAD.get(error.option_name.replace("_", "-")):
                told = f"No such option '{error.option_name}'. Write {instead}"
                raise click.NoSuchOption(error.option_name, told, ctx=ctx) from error
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = {
            parameter.name: line
            for parameter in self.get_params(ctx)
            if (line := parameter.get_help_record(ctx)) is not None
        }
        named = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in lines if name and name not in named)
        for title, names in {**SECTIONS, "Options": others}.items():
            with formatter.section(title):
                formatter.write_dl([lines[name] for name in names])

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
@component("dataset", "What to train on.  [default: glyphs]")
@click.option("--split", metavar="SPEC", help=SPLITS)
@component("sampler", "Which images meet.  [default: hard-triplet]")
@component("miner", "Which are compared.  [default: the sampler's]")
@component("loss", "How they are scored.  [default: the sampler's]")
@component("backbone", "The network.  [default: conv4]")
@component("head", "Features to embedding.  [default: linear]")
@click.option("--dim", type=int, help="Dimensions of the embedding.  [default: 64]")
@component("augment", "Random changes of the training images, in order; repeatable, or none.  "
           "[default: crop and flip for photographs]",
           kind="augmentation", multiple=True)  # fmt: skip
@component("hook", "Who else is told of each step, such as tensorboard; may be repeated.",
           multiple=True, field="hooks")  # fmt: skip
@click.option("--orientations", type=int, help="1, 4 or 8: classes turned and mirrored count as "
              "further classes.  [default: 8 for few classes of drawings, else 1]")  # fmt: skip
@click.option("--epochs", type=int, help="Passes over the train set.  [default: by its size]")
@click.option("--images", type=int, help="Train until so many were shown, and no longer.")
@click.option("--seconds", type=float, help="Train for so long; the end then depends on the "
              "machine.")  # fmt: skip
@click.option("--optimizer", metavar="SPEC", help="adam, adamw, nadam, radam or sgd, such as "
              "adamw:lr=1e-3,weight_decay=1e-4.")  # fmt: skip
@click.option("--schedule", metavar="SPEC", help="cosine, constant, step or plateau, such as "
              "cosine:warmup=0.05,end=0.1: rise over a twentieth, fall to a tenth.")  # fmt: skip
@click.option("--rates", metavar="PART=FACTOR,...", help="Factors on the learning rate of "
              "backbone, head and loss, such as backbone=0.1,loss=100; 0 freezes.")  # fmt: skip
@click.option("--freeze", metavar="EPOCHS", type=int, help="Train without the backbone for so many "
              "epochs.  [default: 0]")  # fmt: skip
@click.option("--batch-norm", metavar="NAME", help="batch, or frozen: by its running statistics.  "
              "[default: batch]")  # fmt: skip
@click.option("--clip", metavar="NORM", type=float, help="Scale longer gradients to this length.")
@click.option("--ema", metavar="DECAY", type=float, help="Judge and keep a moving average of the "
              "weights, such as 0.999; at step n at most (1 + n) / (10 + n).")  # fmt: skip
@click.option("--patience", metavar="EPOCHS", type=int, help="Stop after so many without a better "
              "score.")  # fmt: skip
@click.option("--chunk", metavar="IMAGES", type=int, help="Show the network so many at a time; the "
              "loss still compares the whole batch.")  # fmt: skip
@click.option("--accumulate", metavar="BATCHES", type=int, help="Batches of a step, each compared "
              "by itself.  [default: 1]")  # fmt: skip
@PROTOCOL
@component("validation", "Protocol on validation classes after each epoch.  "
           "[default: retrieval]", kind="protocol")  # fmt: skip
@click.option("--select", metavar="NAME", help="Its number to choose the best epoch by.  "
              "[default: map@r]")  # fmt: skip
@click.option("--seed", type=int, help="Of the weights, the batches, all.  [default: 0]")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, mps.  [default: auto]")
@click.option("--precision", metavar="NAME", help="fp32, bf16 or fp16.  [default: fp32]")
@click.option("--channels-last/--channels-first", default=None, help="Layout of images in memory.")
@click.option("--compile/--no-compile", default=None, help="Compile the network: slow to begin, "
              "then faster.")  # fmt: skip
@click.option("--save-steps", metavar="N", type=int, help="Save every N steps, too.")
@click.option("--save-minutes", metavar="N", type=float, help="Save every N minutes, too.  "
              "[default: 10]")  # fmt: skip
@click.option("--keep", metavar="N", type=int, help="Newest checkpoints to keep.  [default: 2]")
@DATA_ROOT
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path),
              help="A run's config.toml, to repeat it; other options change it.")  # fmt: skip
@click.option("--resume", "resume_from", metavar="RUN", type=click.Path(path_type=Path),
              help="Go on with a run that was stopped.")  # fmt: skip
@click.option("--auto-resume", is_flag=True, help="Go on with the run in the folder, if one was "
              "begun there.")  # fmt: skip
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
              help="The run's folder.  [default: runs/DATASET-SAMPLER]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the run that is in --out.")
@click.option("--test/--no-test", default=None, help="Open the test classes at the end, or leave "
              "them for later.  [default: test]")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]")
@click.option("--workers", metavar="N", type=int, help="Threads that decode image files.  "
              "[default: one a core]")  # fmt: skip
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
    given = _given(ctx, options)
    with Ranks.joined() as ranks:
        if options["quiet"] or not ranks.first:
            run = _carry_out(options, given, Listener())
        else:
            with ProgressLine() as line:
                run = _carry_out(options, given, line)
    if not ranks.first:
        return
    if options["as_json"]:
        print_json({"run": str(run.path), **run.summary})
    else:
        print_run(run, options["all_metrics"])


def _carry_out(options: dict[str, Any], given: dict[str, Any], listener: Any) -> Run:
    from metricforge.runs.train import run_recipe

    if options["resume_from"]:
        return _resume(options, given, listener)
    recipe = _recipe(options["config"], given)
    asked = {name: options[name] for name in ("out", "overwrite", "auto_resume")}
    if options["overwrite"] and options["auto_resume"]:
        raise UsageError("--auto-resume goes on with a run and --overwrite begins anew: take one.")
    return run_recipe(recipe, listener=listener, **asked)


def _resume(options: dict[str, Any], given: dict[str, Any], listener: Any) -> Run:
    from metricforge.recipes.recipe import Recipe
    from metricforge.runs.folder import RunFolder
    from metricforge.runs.resume import resume

    others = ("config", "out", "overwrite", "auto_resume")
    if any(options[name] for name in others):
        raise UsageError("--resume takes the run's own config and folder; leave out the others.")
    if not options["resume_from"].exists():
        raise ArtefactError(
            f"{options['resume_from']} does not exist; --resume takes a run's folder."
        )
    folder = RunFolder.open(options["resume_from"])
    asked = Recipe.from_toml(folder.config).but(**given) if given else None
    return resume(options["resume_from"], recipe=asked, listener=listener)


def _recipe(config: Path | None, given: dict[str, Any]) -> Recipe:
    from metricforge.recipes.recipe import Recipe

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
