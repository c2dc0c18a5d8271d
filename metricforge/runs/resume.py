"""Resuming a run that was stopped or killed."""

from __future__ import annotations

from pathlib import Path

from metricforge.atomic_files import write_file
from metricforge.errors import ArtefactError, DataError, ResourceError, UsageError
from metricforge.recipes.dataset_spec import located
from metricforge.recipes.defaults import completed
from metricforge.recipes.pretrained import IDENTITY, with_network_defaults, with_vector_defaults
from metricforge.recipes.provenance import refuse_if_gone
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.report.progress import Listener
from metricforge.runs.build import Assembly, assemble
from metricforge.runs.environment import Environment
from metricforge.runs.execution import train_and_test
from metricforge.runs.folder import RunFolder
from metricforge.runs.hooks import Hooks
from metricforge.runs.lock import held
from metricforge.runs.metrics_log import better_epoch, cut_back
from metricforge.runs.recorder import Recorder
from metricforge.runs.run import Run
from metricforge.runtime import Ranks, Runtime
from metricforge.spec import Spec
from metricforge.training.checkpoint import restore
from metricforge.training.setup import TrainState


def resume(
    path: str | Path,
    *,
    recipe: Recipe | None = None,
    registry: Registry | None = None,
    listener: Listener | None = None,
) -> Run:
    """Resume the run in `path` from its newest intact checkpoint; a finished one stays as it is.

    With more `epochs` in `recipe` a finished run is trained longer, from its last checkpoint. Its
    schedule goes on where so many epochs are of the new number.

    Raises UsageError when `recipe` is given and differs from the run's, DataError when the
    dataset has changed since, ArtefactError when no checkpoint is intact.
    """
    listener = listener or Listener()
    registry = registry or Registry.installed()
    recipe = recipe and located(recipe, registry)
    folder = RunFolder.open(Path(path))
    recorded = Recipe.from_toml(folder.config)
    finished = Ranks.current().agreed(Run(folder).finished)
    if not finished:
        owners = folder.read("env", Environment).get("components", {})
        for sentence in refuse_if_gone(recorded, registry, owners):
            listener.say(sentence)
    longer = finished and recipe is not None and _is_longer(recorded, recipe, folder)
    if recipe is not None:
        recorded = recorded.but(epochs=recipe.epochs) if longer else recorded
        known = completed(_with_known_defaults(recipe, recorded, registry), registry)
        _refuse_other_options(recorded, known, folder, known=True)
    if finished and not longer:
        listener.say(f"{path} is finished: there is nothing to do.")
        return Run(folder)
    if not Ranks.current().first:
        return _resumed(recipe or recorded, recorded, folder, registry, None, longer)
    with held(folder.path):
        return _resumed(recipe or recorded, recorded, folder, registry, listener, longer)


def _with_known_defaults(recipe: Recipe, recorded: Recipe, registry: Registry) -> Recipe:
    """A recipe with the defaults that need no data, of vectors if the recorded run has them."""
    if isinstance(recorded.backbone, Spec) and recorded.backbone.name == IDENTITY.name:
        return with_vector_defaults(recipe)
    return with_network_defaults(recipe, registry)[0]


def _is_longer(recorded: Recipe, recipe: Recipe, folder: RunFolder) -> bool:
    """Whether a recipe asks to train a finished run for more epochs; UsageError if it can't be."""
    if recipe.epochs is None or recorded.epochs is None or recipe.epochs <= recorded.epochs:
        return False
    if recorded.images is not None or recorded.seconds is not None:
        raise UsageError(
            f"{folder.path} was trained by a budget of images or seconds; more epochs don't make "
            "it longer."
        )
    summary, patience = folder.summary, recorded.patience
    waited = patience is not None and summary.epochs - better_epoch(folder, recorded) >= patience
    if waited or summary.epochs < recorded.epochs:
        raise UsageError(
            f"{folder.path} stopped early: patience={patience}, and its best epoch is "
            f"{summary.selected_epoch} of {summary.epochs}; start a new run with a larger patience."
        )
    if not folder.checkpoints.all():
        raise UsageError(f"{folder.path} has no checkpoint any more to train on from.")
    return True


def _resumed(
    recipe: Recipe,
    recorded: Recipe,
    folder: RunFolder,
    registry: Registry,
    listener: Listener | None,
    longer: bool,
) -> Run:
    assembly = assemble(recipe.specs_only(str(folder.config)), registry)
    _refuse_other_options(recorded, assembly.recipe, folder)
    if folder.split.dataset_fingerprint != assembly.fingerprint:
        raise DataError(
            f"the dataset {recipe.dataset} is not the one that {folder.path} was begun "
            "with: images or labels have changed; start a new run."
        )
    hashes = folder.read("env", Environment).get("weights", {})
    if changed := [part for part in hashes if hashes[part] != assembly.weights.get(part)]:
        raise ArtefactError(
            f"the weights that the {changed[0]} of {folder.path} starts from have changed since it "
            "was begun; the row of the network before training would be of others. Put the file "
            "back, or start a new run."
        )
    state = _restore(assembly, folder, listener or Listener())
    recorder = None
    if listener is not None:
        if longer:
            # A run without a report is not finished: killed from here on, it is resumed.
            folder.report.unlink()
            _record_longer(folder, recorded, folder.summary.epochs)
        cut_back(folder, state)
        folder.log(f"resumed at step {state.total_steps}")
        hooks = Hooks.of(recipe.hooks, registry, folder, state.total_steps)
        recorder = Recorder(assembly, folder, listener, hooks)
        if longer:
            recorder.report(_how_it_goes_on(assembly, state))
    return train_and_test(assembly, folder, state, recorder)


def _record_longer(folder: RunFolder, recipe: Recipe, epoch: int) -> None:
    """Record that a run was finished after so many epochs, and goes on by a recipe with more."""
    # A run that was killed in here does this again.
    after = list(dict.fromkeys([*folder.extended_after, epoch]))
    folder.write("env", folder.read("env", Environment) | {"extended_after": after})
    comment = (
        f"# Extended after {' and '.join(map(str, after))} epochs, to {recipe.epochs}. Training "
        f"from this file follows one\n# schedule of {recipe.epochs} epochs, with another result.\n"
    )
    write_file(folder.config, comment + recipe.to_toml())


def _how_it_goes_on(assembly: Assembly, state: TrainState) -> str:
    """Where the schedule of a run that is trained longer continues."""
    setup = assembly.setup
    spent = setup.spent(state, 1)
    return (
        f"trained longer, from epoch {state.epoch} to {setup.epochs}: the schedule "
        f"{assembly.recipe.schedule} goes on at {spent:.0%} of its course, with "
        f"{setup.rate(state, spent):.2f} of the learning rate. The test classes will be opened "
        "again."
    )


def _refuse_other_options(
    recorded: Recipe, requested: Recipe, folder: RunFolder, known: bool = False
) -> None:
    """Refuse options that differ from the run's; with `known` only those that need no data."""
    differences = _with_resolved_device(recorded).differences(_with_resolved_device(requested))
    if known:
        unset = {key for key, value in vars(requested).items() if value is None}
        differences = [
            difference for difference in differences if difference.partition(":")[0] not in unset
        ]
    if differences:
        raise UsageError(
            f"{folder.path} was begun with other options (run / given): {'; '.join(differences)}."
        )


def _with_resolved_device(recipe: Recipe) -> Recipe:
    """The recipe with the resolved device, so that "auto" equals the device it chooses."""
    try:
        return recipe.but(device=Runtime.resolve(recipe.device).device.type)
    except ResourceError:
        return recipe  # this machine does not have the device


def _restore(assembly: Assembly, folder: RunFolder, listener: Listener) -> TrainState:
    """Restore the newest checkpoint that is intact on the first rank, on all ranks."""
    ranks, checkpoints = assembly.runtime.ranks, folder.checkpoints
    state = TrainState()
    if ranks.first:
        checkpoints.settle()
        if checkpoints.all():
            state, damaged = checkpoints.restore_newest(assembly.setup)
            for sentence in damaged:
                listener.say(f"skipped a checkpoint: {sentence}")
                folder.log(f"skipped a checkpoint: {sentence}")
        else:
            listener.say("there is no checkpoint yet: beginning anew.")
    step = int(ranks.broadcast(str(state.total_steps)))
    if step and not ranks.first:
        state = restore(checkpoints.at(step), assembly.setup)
    return state
