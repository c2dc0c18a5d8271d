"""Executing an assembled run: train, test, record."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from metricforge.atomic_files import write_file
from metricforge.errors import Interrupted
from metricforge.recipes.custom_object import CustomObject
from metricforge.runs.build import Assembly
from metricforge.runs.collapse_advice import collapse
from metricforge.runs.folder import RunFolder
from metricforge.runs.held_out_phrase import held_out_phrase
from metricforge.runs.metrics_log import best_scores, first_collapse
from metricforge.runs.plots import draw_examples, draw_failures, draw_plots, train_sample
from metricforge.runs.readme.page import save_model
from metricforge.runs.recorder import Recorder, ending
from metricforge.runs.report import write_report
from metricforge.runs.run import Run
from metricforge.runs.signals import Interruption, exit_code
from metricforge.scoring.apply import wants_validation
from metricforge.scoring.baselines import RAW, TRAINED, before_training, raw
from metricforge.scoring.measure import Embedded, Measured, measure
from metricforge.scoring.pair_thresholds import pair_thresholds
from metricforge.training.frozen_features import FrozenFeatures
from metricforge.training.loop import embed_images, fit
from metricforge.training.setup import TrainState


def train_and_test(
    assembly: Assembly, folder: RunFolder, state: TrainState, recorder: Recorder | None
) -> Run:
    """Train from `state` on, test and record; ranks without one write nothing."""
    setup, ranks = assembly.setup, assembly.runtime.ranks
    _embed_once(assembly, recorder)
    with Interruption() as interruption, ending(recorder):
        for record in fit(setup, state, assembly.runtime):
            if recorder is not None:
                recorder.keep(record, state)
            # A signal may have reached one rank only, and all must stop at the same step.
            stop = ranks.highest(interruption.signal or 0)
            if stop and not setup.done(state):
                stopped = Interrupted("interrupted.")
                if recorder is not None:
                    stopped = recorder.stop(state, exit_code(stop))
                ranks.wait()
                raise stopped
    if recorder is not None and setup.tired(state) and state.epoch < setup.epochs:
        recorder.report(
            f"ended after {state.epoch} of {setup.epochs} epochs: none was better in the last "
            f"{setup.patience}."
        )
    _restore_best(assembly, folder)
    measured, embeddings = _test(assembly, recorder)
    _choose_pair_thresholds(assembly)
    shown = train_sample(assembly)
    if recorder is not None:
        # Before anything else can fail, and once more with what is measured by then.
        setup.model.save(folder.model)
        draw_plots(assembly, folder, embeddings, shown)
        draw_failures(measured.failures, assembly.images, folder)
        draw_examples(measured.answers, embeddings, assembly, folder)
        _record(assembly, folder, measured, state)
        save_model(setup.model, folder)
        write_report(folder)
    ranks.wait()
    return Run(folder)


def _embed_once(assembly: Assembly, recorder: Recorder | None) -> None:
    """Compute the features of a frozen backbone that training and validation take."""
    features = assembly.setup.images
    if not isinstance(features, FrozenFeatures):
        return
    split, recipe = assembly.split, assembly.recipe
    # Once: the cache is read as a whole.
    alone = [split.validation]
    alone += [split.test] if recipe.test and features is assembly.inputs else []
    total = len(split.train) * (recipe.views or 1) + sum(map(len, alone))
    done = recorder.counting("features", total) if recorder else None
    features.compute_views(split.train, done)
    for indices in alone:
        features.compute(indices, done)


def _restore_best(assembly: Assembly, folder: RunFolder) -> None:
    """Load the best epoch's weights into the model that is tested and saved."""
    # They exist once the first rank has reached this line.
    assembly.runtime.ranks.wait()
    folder.checkpoints.restore_best(assembly.setup)


def _choose_pair_thresholds(assembly: Assembly) -> None:
    """Record in the model when two images are of one class, by classes that did not train it."""
    split, model = assembly.split, assembly.setup.model
    if split.closed_set or not len(split.validation):
        return
    runtime = replace(assembly.runtime, precision="fp32")
    rows = embed_images(model, assembly.inputs, split.validation, runtime).numpy()
    labels = assembly.dataset.labels[split.validation].numpy()
    model.card = replace(model.card, pair_thresholds=tuple(pair_thresholds(rows, labels)))


def _test(assembly: Assembly, recorder: Recorder | None) -> tuple[Measured, dict[str, Tensor]]:
    """Open the test part, once: the trained network, as it was before training, what it gets."""
    if not assembly.recipe.test:
        return Measured({}), {}
    model = assembly.setup.model
    is_object = isinstance(assembly.recipe.backbone, CustomObject)
    name, bare = before_training(model, assembly.initial, is_object)
    # As it is saved, and will be loaded: in float32.
    runtime = replace(assembly.runtime, precision="fp32")
    # What the network gets has a row in any case.
    models = {TRAINED: model} | ({} if name in RAW else {name: bare})
    split, protocols = assembly.split, assembly.protocols
    validates = len(split.validation) and any(map(wants_validation, protocols.values()))
    images = len(split.test) + (len(split.validation) if validates else 0)
    share = assembly.runtime.ranks.share(images * len(models))
    done = recorder.counting("testing", share.stop - share.start) if recorder else None

    def embedded(indices: Tensor) -> Embedded:
        rows = {
            name: embed_images(model, assembly.inputs, indices, runtime, done)
            for name, model in models.items()
        }
        return Embedded({**rows, **raw(assembly.images, indices)}, indices)

    part = embedded(split.test)
    validation = embedded(split.validation) if validates else None
    if not assembly.runtime.ranks.first:
        return Measured({}), {}
    select = assembly.recipe.select
    return measure(part, protocols, assembly.dataset, validation, select), dict(part.rows)


def _record(assembly: Assembly, folder: RunFolder, measured: Measured, state: TrainState) -> None:
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
        "selected_epoch": state.best_epoch,
        "selected_by": f"{assembly.recipe.select} on validation classes"
        if len(split.validation)
        else "being the last",
        "validation": best_scores(folder),
        "epochs": state.epoch,
        "steps": state.total_steps,
        "images_seen": state.images,
        "seconds": round(state.seconds, 3),
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
    """The notes on the training, including a collapse before the run was resumed."""
    notes = list(assembly.notes)
    if after := folder.extended_after:
        notes.append(
            f"extended after {' and '.join(map(str, after))} epochs; each time the schedule went "
            "on at its fraction of the new length, so config.toml alone does not repeat this run."
        )
    if fallen := first_collapse(folder):
        notes.append(collapse(fallen, assembly))
    return notes
