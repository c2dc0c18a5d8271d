"""Training for users: a recipe in, the folder of a run out."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from metricforge.atomic_files import write_file
from metricforge.data.archive import is_archive, without_suffix
from metricforge.recipes.custom_object import Component, CustomObject
from metricforge.recipes.dataset_spec import located, refuse_inside
from metricforge.recipes.keywords import TrainOptions
from metricforge.recipes.provenance import origins
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.report.progress import Listener, ProgressLine
from metricforge.runs.build import assemble
from metricforge.runs.environment import environment
from metricforge.runs.execution import train_and_test
from metricforge.runs.folder import RunFolder, free_name
from metricforge.runs.hooks import Hooks
from metricforge.runs.recorder import Recorder
from metricforge.runs.resume import resume
from metricforge.runs.run import Run
from metricforge.runtime import Ranks
from metricforge.spec import Spec
from metricforge.training.setup import TrainState


def train(
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    auto_resume: bool = False,
    progress: bool = True,
    **options: Unpack[TrainOptions],
) -> Run:
    """Train, test on held-out classes, and record all of it in a folder.

    >>> train(dataset="mnist", sampler="hard-triplet:per_class=8", loss=MyLoss, dim=32)

    Args:
        out: The run's folder. Default: a new one in `runs/`.
        overwrite: Whether to replace an earlier run in `out`.
        auto_resume: Whether to resume a run that was started in `out`.
        progress: Whether to print progress.
        options: Those of :class:`Recipe`, with components as specs or as Python objects.

    Returns:
        The finished run.

    Raises:
        UsageError: An option does not exist or is wrong.
        MetricForgeError: Its subclass says what went wrong.
    """
    recipe = Recipe.from_values(options, "train()")
    if not progress:
        return run_recipe(recipe, out=out, overwrite=overwrite, auto_resume=auto_resume)
    with ProgressLine() as line:
        return run_recipe(
            recipe, out=out, overwrite=overwrite, auto_resume=auto_resume, listener=line
        )


def run_recipe(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    auto_resume: bool = False,
    registry: Registry | None = None,
    listener: Listener | None = None,
) -> Run:
    """Train a recipe and test it on held-out classes, into a new folder `out`.

    `out` defaults to `runs/DATASET-SAMPLER`, for your own images with the name of their folder or
    file, and with a number if that is taken. With `auto_resume` a run that was started there is
    resumed instead. Raises MetricForgeError; its subclass says what went wrong.
    """
    listener = listener or Listener()
    ranks = Ranks.current()
    recipe = located(recipe, registry or Registry.installed()).specs_only("the recipe")
    path = Path(out) if out else Path("runs") / run_name(recipe)
    if auto_resume and ranks.agreed(RunFolder(path).config.is_file()):
        return resume(path, recipe=recipe, registry=registry, listener=listener)
    if not (out or auto_resume):
        path = Path(ranks.broadcast(str(free_name(path.parent, path.name))))
    refuse_inside(path, recipe.dataset)
    if ranks.first:
        RunFolder.refuse_used(path, overwrite)
    registry = registry or Registry.installed()
    assembly = assemble(recipe, registry)
    if not ranks.first:
        return train_and_test(assembly, RunFolder(path), TrainState(), None)
    with RunFolder.created(path, overwrite) as folder:
        owners = origins(assembly.recipe, registry)
        folder.write("env", environment(assembly.runtime, owners, assembly.weights))
        split = assembly.split.to_json(assembly.dataset)
        folder.write("split", split | {"dataset_fingerprint": assembly.fingerprint})
        hooks = Hooks.of(recipe.hooks, registry, folder, 0)
        # Last: a folder with a config is a run that can be resumed.
        write_file(folder.config, assembly.recipe.to_toml())
        recorder = Recorder(assembly, folder, listener, hooks)
        return train_and_test(assembly, folder, TrainState(), recorder)


def run_name(recipe: Recipe) -> str:
    """The default name of a run's folder."""

    def short(component: Component | str) -> str:
        if isinstance(component, CustomObject):
            return component.name.rpartition(":")[2]
        return str(component).partition(":")[0]

    return f"{_source_name(recipe.dataset) or short(recipe.dataset)}-{short(recipe.sampler)}"


def _source_name(dataset: Component | str) -> str:
    """The name of the folder or file that a dataset is read from, if its spec names one."""
    path = dataset.options.get("path") if isinstance(dataset, Spec) else None
    if path is None:
        return ""
    source = Path(str(path)).expanduser().resolve()
    if source.is_dir():
        return source.name
    return without_suffix(source.name) if is_archive(source) else source.stem
