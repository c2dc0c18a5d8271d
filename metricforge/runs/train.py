"""Training as users know it: a recipe in, the folder of a run out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import Tensor

from metricforge.artefact import write_file
from metricforge.errors import DataError, Interrupted, UsageError
from metricforge.registry import Registry
from metricforge.report.progress import Listener, ProgressLine
from metricforge.runs.assembly import Assembly, assemble
from metricforge.runs.collapse import collapse
from metricforge.runs.defaults import written_out
from metricforge.runs.folder import RunFolder, environment, free_name
from metricforge.runs.history import best_scores, cut_back, first_collapse
from metricforge.runs.hooks import Hooks
from metricforge.runs.interruption import Interruption, exit_code
from metricforge.runs.keeper import Keeper, ending
from metricforge.runs.lock import held
from metricforge.runs.measure import (
    PIXELS,
    TRAINED,
    UNTRAINED,
    Embedded,
    Measured,
    measure,
    pixels,
)
from metricforge.runs.origins import origins, refuse_if_gone
from metricforge.runs.page import write_report
from metricforge.runs.plots import draw_failures, draw_plots, train_sample
from metricforge.runs.recipe import Recipe, described
from metricforge.runs.run import Run
from metricforge.runs.selection import wants_validation
from metricforge.runs.sources import located
from metricforge.runtime import Ranks
from metricforge.training.checkpoint import restore
from metricforge.training.loop import embed_images, fit
from metricforge.training.task import Position


def train(
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    auto_resume: bool = False,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train, test on held-out classes, and record it all in a folder.

    `options` are those of :class:`Recipe`: components as specs or as Python objects, such as
    `train(dataset="mnist", sampler="hard-triplet:per_class=8", loss=MyLoss, dim=32)`. `out` is
    the folder (default: a new one in `runs/`); with `auto_resume` a run that was begun there goes
    on. Raises MetricForgeError, of the kind that says
    what went wrong; UsageError for an option that does not exist.
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
    """Train what `recipe` says and test it on held-out classes, into a new folder `out`.

    `out` defaults to `runs/DATASET-SAMPLER`, with a number if that is taken. With `auto_resume` a
    run that was begun there goes on instead. Raises MetricForgeError, of the kind that says what
    went wrong.
    """
    listener = listener or Listener()
    ranks = Ranks.here()
    recipe = located(recipe, registry or Registry.installed()).specs_only("the recipe")
    path = Path(out) if out else Path("runs") / _name(recipe)
    if auto_resume and ranks.told(str(RunFolder(path).config.is_file())) == "True":
        return resume(path, recipe=recipe, registry=registry, listener=listener)
    if not (out or auto_resume):
        path = Path(ranks.told(str(free_name(path.parent, path.name))))
    if ranks.first:
        RunFolder.refuse_used(path, overwrite)
    registry = registry or Registry.installed()
    assembly = assemble(recipe, registry)
    if not ranks.first:
        return _train(assembly, RunFolder(path), Position(), None)
    with RunFolder.created(path, overwrite) as folder:
        owners = origins(assembly.recipe, registry)
        folder.write("env", environment(assembly.runtime) | {"components": owners})
        split = assembly.split.to_json(assembly.dataset)
        folder.write("split", split | {"dataset_fingerprint": assembly.fingerprint})
        hooks = Hooks.of(recipe.hooks, registry, folder, 0)
        # Last: a folder with a config is a run that can be resumed.
        write_file(folder.config, assembly.recipe.to_toml())
        keeper = Keeper(assembly, folder, listener, hooks)
        return _train(assembly, folder, Position(), keeper)


def resume(
    path: str | Path,
    *,
    recipe: Recipe | None = None,
    registry: Registry | None = None,
    listener: Listener | None = None,
) -> Run:
    """Go on with the run in `path` from its newest intact checkpoint; a finished one is done.

    Raises UsageError when `recipe` is given and differs from the run's, DataError when the
    dataset has changed since, ArtefactError when no checkpoint is intact.
    """
    listener = listener or Listener()
    registry = registry or Registry.installed()
    recipe = recipe and located(recipe, registry)
    folder = RunFolder.open(Path(path))
    recorded = Recipe.from_toml(folder.config)
    finished = Ranks.here().told(str(Run(folder).finished)) == "True"
    if not finished:
        owners = folder.read("env").get("components", {})
        for sentence in refuse_if_gone(recorded, registry, owners):
            listener.say(sentence)
    if recipe is not None:
        _refuse_other_options(recorded, written_out(recipe, registry), folder, known=True)
    if finished:
        listener.say(f"{path} is finished: there is nothing to do.")
        return Run(folder)
    if not Ranks.here().first:
        return _resumed(recipe or recorded, folder, registry, None)
    with held(folder.path):
        return _resumed(recipe or recorded, folder, registry, listener)


def _resumed(
    recipe: Recipe, folder: RunFolder, registry: Registry, listener: Listener | None
) -> Run:
    assembly = assemble(recipe.specs_only(str(folder.config)), registry)
    _refuse_other_options(Recipe.from_toml(folder.config), assembly.recipe, folder)
    if folder.read("split").get("dataset_fingerprint") != assembly.fingerprint:
        raise DataError(
            f"the dataset {described(recipe.dataset)} is not the one that {folder.path} was begun "
            "with: images or labels have changed; start a new run."
        )
    position = _restore(assembly, folder, listener or Listener())
    keeper = None
    if listener is not None:
        cut_back(folder, position)
        folder.log(f"resumed at step {position.total_steps}")
        hooks = Hooks.of(recipe.hooks, registry, folder, position.total_steps)
        keeper = Keeper(assembly, folder, listener, hooks)
    return _train(assembly, folder, position, keeper)


def _refuse_other_options(
    recorded: Recipe, given: Recipe, folder: RunFolder, known: bool = False
) -> None:
    """Refuse options that are not the run's; with `known` those only that need no data to tell."""
    differences = recorded.differences(given)
    if known:
        unset = {key for key, value in vars(given).items() if value is None}
        differences = [one for one in differences if one.partition(":")[0] not in unset]
    if differences:
        raise UsageError(
            f"{folder.path} was begun with other options (run / given): {'; '.join(differences)}."
        )


def _train(assembly: Assembly, folder: RunFolder, position: Position, keeper: Keeper | None) -> Run:
    """Train, test and record; the ranks without a keeper do their share and write nothing."""
    task, ranks = assembly.task, assembly.runtime.ranks
    with Interruption() as interruption, ending(keeper):
        for record in fit(task, position, assembly.runtime):
            if keeper is not None:
                keeper.keep(record, position)
            # A signal may have reached one rank only, and all must stop at the same step.
            stop = ranks.highest(interruption.signal or 0)
            if stop and not task.done(position):
                stopped = Interrupted("interrupted.")
                if keeper is not None:
                    stopped = keeper.stop(position, exit_code(stop))
                ranks.wait()
                raise stopped
    if keeper is not None and position.epoch < task.epochs:
        keeper.tell(
            f"ended after {position.epoch} of {task.epochs} epochs: none was better in the last "
            f"{task.patience}."
        )
    _restore_best(assembly, folder)
    measured, embeddings = _test(assembly)
    shown = train_sample(assembly)
    if keeper is not None:
        task.model.save(folder.model)
        draw_plots(assembly, folder, embeddings, shown)
        draw_failures(measured.failures, assembly.images, folder)
        _record(assembly, folder, measured, position)
        write_report(folder)
    ranks.wait()
    return Run(folder)


def _restore(assembly: Assembly, folder: RunFolder, listener: Listener) -> Position:
    """The newest checkpoint put into the task: on all ranks the one that the first finds intact."""
    ranks, checkpoints = assembly.runtime.ranks, folder.checkpoints
    position = Position()
    if ranks.first and checkpoints.all():
        position, damaged = checkpoints.restore_newest(assembly.task)
        for sentence in damaged:
            listener.say(f"passed over a checkpoint: {sentence}")
    elif ranks.first:
        listener.say("there is no checkpoint yet: beginning anew.")
    step = int(ranks.told(str(position.total_steps)))
    if step and not ranks.first:
        position = restore(checkpoints.at(step), assembly.task)
    return position


def _restore_best(assembly: Assembly, folder: RunFolder) -> None:
    """The best epoch's weights, put into the model that is tested and saved."""
    # It is there when the first rank has come here.
    assembly.runtime.ranks.wait()
    folder.checkpoints.restore_best(assembly.task)


def _test(assembly: Assembly) -> tuple[Measured, dict[str, Tensor]]:
    """Open the test part, once: trained network, untrained network and raw pixels."""
    if not assembly.recipe.test:
        return Measured({}), {}
    bare = copy.deepcopy(assembly.task.model)
    bare.load_state_dict(assembly.initial)
    models = {TRAINED: assembly.task.model, UNTRAINED: bare}

    def embedded(indices: Tensor) -> Embedded:
        rows = {
            name: embed_images(model, assembly.images, indices, assembly.runtime)
            for name, model in models.items()
        }
        return Embedded({**rows, PIXELS: pixels(assembly.images, indices)}, indices)

    part, protocols = embedded(assembly.split.test), assembly.protocols
    asked = any(wants_validation(protocol) for protocol in protocols.values())
    validation = embedded(assembly.split.validation) if asked else None
    if not assembly.runtime.ranks.first:
        return Measured({}), {}
    return measure(part, protocols, assembly.dataset, validation), dict(part.rows)


def _record(assembly: Assembly, folder: RunFolder, measured: Measured, position: Position) -> None:
    split = assembly.split
    summary = {
        "format": 1,
        **measured.to_json(),
        "dataset": assembly.dataset.name,
        "part": "test" if assembly.recipe.test else None,
        "closed_set": split.closed_set,
        "test_classes": list(split.classes("test", assembly.dataset)),
        "test_images": len(split.test),
        "split_hash": split.hash,
        "selected_epoch": position.best_epoch,
        "selected_by": f"{assembly.recipe.select} on validation classes",
        "validation": best_scores(folder),
        "epochs": position.epoch,
        "steps": position.total_steps,
        "seconds": round(position.seconds, 3),
        "training_notes": _notes(assembly, folder),
    }
    if assembly.recipe.test:
        opened = {"part": "test", "split_hash": split.hash, "by": "train"}
        folder.append(folder.evaluations, opened)
    if measured.by_class:
        write_file(folder.by_class, measured.by_class)
    folder.write("summary", summary)
    folder.log("finished")


def _notes(assembly: Assembly, folder: RunFolder) -> list[str]:
    """What was said of the training, a collapse before the run was resumed included."""
    fallen = first_collapse(folder)
    return [*assembly.notes, *([collapse(fallen, assembly)] if fallen else [])]


def _name(recipe: Recipe) -> str:
    def short(component: Any) -> str:
        name = described(component).rpartition(":")[2]
        return described(component).partition(":")[0] if isinstance(component, str) else name

    return f"{short(recipe.dataset)}-{short(recipe.sampler)}"
