"""What a run does once it is put together: train, test, record."""

from __future__ import annotations

from torch import Tensor

from metricforge.artefact import write_file
from metricforge.errors import Interrupted
from metricforge.runs.assembly import Assembly
from metricforge.runs.baselines import PIXELS, TRAINED, before_training, pixels
from metricforge.runs.collapse import collapse
from metricforge.runs.folder import RunFolder
from metricforge.runs.history import best_scores, first_collapse
from metricforge.runs.interruption import Interruption, exit_code
from metricforge.runs.keeper import Keeper, ending
from metricforge.runs.measure import Embedded, Measured, measure
from metricforge.runs.page import write_report
from metricforge.runs.plots import draw_failures, draw_plots, train_sample
from metricforge.runs.recipe import described, is_recorded_object
from metricforge.runs.run import Run
from metricforge.runs.selection import wants_validation
from metricforge.runs.wording import held_out_phrase
from metricforge.training.loop import embed_images, fit
from metricforge.training.task import Position


def carry_out(
    assembly: Assembly, folder: RunFolder, position: Position, keeper: Keeper | None
) -> Run:
    """Train from `position` on, test and record; ranks without a keeper write nothing."""
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
    if keeper is not None and task.tired(position) and position.epoch < task.epochs:
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


def _restore_best(assembly: Assembly, folder: RunFolder) -> None:
    """The best epoch's weights, put into the model that is tested and saved."""
    # It is there when the first rank has come here.
    assembly.runtime.ranks.wait()
    folder.checkpoints.restore_best(assembly.task)


def _test(assembly: Assembly) -> tuple[Measured, dict[str, Tensor]]:
    """Open the test part, once: the trained network, as it was before training, raw pixels."""
    if not assembly.recipe.test:
        return Measured({}), {}
    model = assembly.task.model
    given = is_recorded_object(described(assembly.recipe.backbone))
    name, bare = before_training(model, assembly.initial, given)
    models = {TRAINED: model, name: bare}

    def embedded(indices: Tensor) -> Embedded:
        rows = {
            name: embed_images(model, assembly.images, indices, assembly.runtime)
            for name, model in models.items()
        }
        return Embedded({**rows, PIXELS: pixels(assembly.images, indices)}, indices)

    part, protocols = embedded(assembly.split.test), assembly.protocols
    asked = any(wants_validation(protocol) for protocol in protocols.values())
    others = assembly.split.validation
    validation = embedded(others) if asked and len(others) else None
    if not assembly.runtime.ranks.first:
        return Measured({}), {}
    select = assembly.recipe.select
    return measure(part, protocols, assembly.dataset, validation, select), dict(part.rows)


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
        "tested_on": held_out_phrase(split, assembly.dataset),
        "split_hash": split.hash,
        "selected_epoch": position.best_epoch,
        "selected_by": f"{assembly.recipe.select} on validation classes"
        if len(split.validation)
        else "being the last",
        "validation": best_scores(folder),
        "epochs": position.epoch,
        "steps": position.total_steps,
        "images_seen": position.images,
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
