"""Training as users know it: a recipe in, the folder of a run out."""

from __future__ import annotations

import copy
import time
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
from metricforge.runs.history import best_scores, cut_back, first_collapse, line
from metricforge.runs.interruption import Interruption
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
from metricforge.runs.plots import draw_failures, draw_first_batch, draw_plots
from metricforge.runs.recipe import Recipe, described
from metricforge.runs.run import Run
from metricforge.runs.selection import wants_validation
from metricforge.training.loop import embed_images, fit
from metricforge.training.records import EpochRecord, StepRecord
from metricforge.training.task import Position


def train(
    *, out: str | Path | None = None, overwrite: bool = False, progress: bool = True, **options: Any
) -> Run:
    """Train, test on held-out classes, and record it all in a folder.

    `options` are those of :class:`Recipe`: components as specs or as Python objects, such as
    `train(dataset="mnist", sampler="hard-triplet:per_class=8", loss=MyLoss, dim=32)`. `out` is
    the folder (default: a new one in `runs/`). Raises MetricForgeError, of the kind that says
    what went wrong; UsageError for an option that does not exist.
    """
    recipe = Recipe.from_values(options, "train()")
    if not progress:
        return run_recipe(recipe, out=out, overwrite=overwrite)
    with ProgressLine() as line:
        return run_recipe(recipe, out=out, overwrite=overwrite, listener=line)


def run_recipe(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    registry: Registry | None = None,
    listener: Listener | None = None,
) -> Run:
    """Train what `recipe` says and test it on held-out classes, into a new folder `out`.

    `out` defaults to `runs/DATASET-SAMPLER`, with a number if that is taken. Raises
    MetricForgeError, of the kind that says what went wrong.
    """
    listener = listener or Listener()
    recipe.specs_only("the recipe")
    path = Path(out) if out else free_name(Path("runs"), _name(recipe))
    RunFolder.refuse_used(path, overwrite)
    registry = registry or Registry.installed()
    assembly = assemble(recipe, registry)
    folder = RunFolder.create(path, overwrite)
    owners = origins(assembly.recipe, registry)
    folder.write("env", environment(assembly.runtime.device) | {"components": owners})
    split = assembly.split.to_json(assembly.dataset)
    folder.write("split", split | {"dataset_fingerprint": assembly.fingerprint})
    # Last: a folder with a config is a run that can be resumed.
    write_file(folder.config, assembly.recipe.to_toml())
    return _train(assembly, folder, Position(), listener)


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
    folder = RunFolder.open(Path(path))
    recorded = Recipe.from_toml(folder.config)
    finished = Run(folder).finished
    if not finished:
        owners = folder.read("env").get("components", {})
        for sentence in refuse_if_gone(recorded, registry, owners):
            listener.say(sentence)
    if recipe is not None:
        _refuse_other_options(recorded, written_out(recipe, registry), folder)
    if finished:
        listener.say(f"{path} is finished: there is nothing to do.")
        return Run(folder)
    moved = recorded if recipe is None else recorded.but(data_root=recipe.data_root)
    assembly = assemble(moved.specs_only(str(folder.config)), registry)
    if folder.read("split").get("dataset_fingerprint") != assembly.fingerprint:
        raise DataError(
            f"the dataset {described(recorded.dataset)} is not the one that {path} was begun "
            "with: images or labels have changed; start a new run."
        )
    return _train(assembly, folder, None, listener)


def _refuse_other_options(recorded: Recipe, given: Recipe, folder: RunFolder) -> None:
    if differences := recorded.differences(given):
        raise UsageError(
            f"{folder.path} was begun with other options (run / given): {'; '.join(differences)}."
        )


def _train(
    assembly: Assembly, folder: RunFolder, position: Position | None, listener: Listener
) -> Run:
    task = assembly.task
    untrained = copy.deepcopy(task.model.state_dict())
    earlier: list[StepRecord] = []
    if position is None:
        position = _restore(assembly, folder, listener)
        earlier = cut_back(folder, position)
    collapse_told = first_collapse(folder) is not None
    for note in assembly.notes:
        _tell(note, folder, listener)
    began = time.perf_counter()
    with Interruption() as interruption:
        for record in fit(task, position, assembly.runtime, earlier):
            folder.append(folder.metrics, line(record))
            listener.record(record, task.epochs)
            if record.step == 1 and isinstance(record, StepRecord):
                draw_first_batch(task, position, assembly.runtime, folder)
            if isinstance(record, EpochRecord):
                folder.checkpoints.save(task, position)
                if record.empty_batches:
                    listener.say(f"epoch {record.epoch}: {record.empty_batches} empty batches.")
                if record.collapsed and not collapse_told:
                    collapse_told = True
                    _tell(collapse(record, assembly), folder, listener)
            if interruption.signal and position.epoch < task.epochs:
                _stop(assembly, folder, position, interruption)
    seconds = time.perf_counter() - began
    folder.checkpoints.restore_best(task)
    task.model.save(folder.model)
    tested = assembly.recipe.test
    measured, embeddings = _test(assembly, untrained) if tested else (Measured({}), {})
    draw_plots(assembly, folder, embeddings)
    draw_failures(measured.failures, assembly.images, folder)
    _record(assembly, folder, measured, position, seconds)
    write_report(folder)
    return Run(folder)


def _restore(assembly: Assembly, folder: RunFolder, listener: Listener) -> Position:
    """The newest checkpoint put into the task."""
    if not folder.checkpoints.all():
        listener.say("there is no checkpoint yet: beginning anew.")
        position = Position()
    else:
        position, damaged = folder.checkpoints.restore_newest(assembly.task)
        for sentence in damaged:
            listener.say(f"passed over a checkpoint: {sentence}")
    folder.log(f"resumed at step {position.total_steps}")
    return position


def _stop(
    assembly: Assembly, folder: RunFolder, position: Position, interruption: Interruption
) -> None:
    if position.step:
        folder.checkpoints.save(assembly.task, position)
    folder.log(f"interrupted and saved at step {position.total_steps}")
    stopped = Interrupted(
        f"interrupted and saved at step {position.total_steps}; go on with: "
        f"metricforge train --resume {folder.path}"
    )
    stopped.exit_code = interruption.exit_code
    raise stopped


def _test(assembly: Assembly, untrained: dict[str, Tensor]) -> tuple[Measured, dict[str, Tensor]]:
    """Open the test part, once: trained network, untrained network and raw pixels."""
    bare = copy.deepcopy(assembly.task.model)
    bare.load_state_dict(untrained)
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
    return measure(part, protocols, assembly.dataset, validation), dict(part.rows)


def _record(
    assembly: Assembly, folder: RunFolder, measured: Measured, position: Position, seconds: float
) -> None:
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
        "seconds": round(seconds, 3),
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


def _tell(sentence: str, folder: RunFolder, listener: Listener) -> None:
    listener.say(sentence)
    folder.log(sentence)


def _name(recipe: Recipe) -> str:
    def short(component: Any) -> str:
        name = described(component).rpartition(":")[2]
        return described(component).partition(":")[0] if isinstance(component, str) else name

    return f"{short(recipe.dataset)}-{short(recipe.sampler)}"
