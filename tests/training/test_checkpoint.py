"""A training that stops and goes on ends in the same bytes; what is damaged is passed over."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from metricforge_standard.schedules.plateau import Plateau
from torch import nn

from metricforge.atomic_files import read_folder, write_folder
from metricforge.contracts import Dataset, Triplets
from metricforge.errors import ArtefactError
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from metricforge.runtime import Runtime
from metricforge.training.checkpoint import Checkpoints, restore
from metricforge.training.ema import averaged
from metricforge.training.loop import EpochRecord, TrainState, fit
from metricforge.training.setup import Validated

CPU = Runtime(torch.device("cpu"))


def weights(setup):
    """The bytes of all that a training changes in model and loss, by name."""
    modules = {"model": setup.model, "loss": setup.loss, "average": setup.average}
    return {
        f"{part}.{name}": value.contiguous().numpy().tobytes()
        for part, module in modules.items()
        if isinstance(module, nn.Module)
        for name, value in module.state_dict().items()
    }


def run(setup, state=None, runtime=CPU, at_each=lambda record, state: None):
    state = state or TrainState()
    for record in fit(setup, state, runtime):
        at_each(record, state)
    return state


def same_from_everywhere(make, tmp_path, runtime=CPU):
    """Train once, saving after every record; go on from each of them in a fresh setup."""
    setup, saved = make(), []

    def save(record, state):
        folder = tmp_path / f"{len(saved)}"
        Checkpoints(folder).save(setup, state)
        saved.append(folder)

    end = run(setup, runtime=runtime, at_each=save)
    expected = weights(setup)
    middles = epochs = 0
    for folder in saved[:-1]:
        again = make()
        state, damaged = Checkpoints(folder).restore_newest(again)
        assert damaged == []
        middles += state.step > 0
        epochs += state.step == 0
        assert run(again, state, runtime) == end
        assert weights(again) == expected, f"differs when resumed from {state}"
    return middles, epochs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "sgd"},
        pytest.param({"optimizer": "nadam:lr=0.01"}, marks=pytest.mark.exhaustive),
        pytest.param({"optimizer": "radam:lr=0.01"}, marks=pytest.mark.exhaustive),
        {"optimizer": "adam:lr=0.01", "sampler": "random-pairs:pairs=12", "loss": "contrastive"},
        {"sampler": "balanced:classes=3,per_class=3", "loss": "pml.ProxyAnchorLoss"},
        {"miner": "pml.DistanceWeightedMiner"},
        {"sampler": "random-triplets:triplets=12", "seed": 5},
    ],
    ids=str,
)
def test_resuming_anywhere_ends_in_the_same_bytes(make_setup, tmp_path, options):
    middles, epochs = same_from_everywhere(lambda: make_setup(**options), tmp_path)
    assert middles >= 6
    assert epochs == 2


@pytest.mark.parametrize(
    "options",
    [{"frozen_norms": True, "clip": 0.5}, {"average": 0.9, "frozen": 2, "accumulate": 2},
     *(pytest.param(each, marks=pytest.mark.exhaustive) for each in (
         {"clip": 0.5}, {"accumulate": 2}, {"accumulate": 3, "clip": 0.1}, {"frozen": 1},
         {"frozen_norms": True}, {"average": 0.9}))],
    ids=str,
)  # fmt: skip
def test_resuming_with_the_options_of_a_loop_ends_in_the_same_bytes(make_setup, tmp_path, options):
    def make():
        setup = make_setup()
        average = averaged(setup.model, options["average"]) if "average" in options else None
        return replace(setup, **{**options, "average": average})

    middles, epochs = same_from_everywhere(make, tmp_path)
    assert middles >= 3
    assert epochs == 2


def test_resuming_on_a_plateau_ends_in_the_same_bytes(make_setup, tmp_path):
    def make():
        schedule = Plateau(patience=1, factor=0.5)
        return replace(make_setup(epochs=4, optimizer="sgd:lr=0.5"), schedule=schedule)

    assert run(make()).rate < 1, "the rate never fell"
    middles, epochs = same_from_everywhere(make, tmp_path)
    assert middles >= 6
    assert epochs == 3


@pytest.mark.parametrize("budget", [48, 70])
def test_resuming_with_a_budget_of_images_ends_in_the_same_bytes(make_setup, tmp_path, budget):
    same_from_everywhere(lambda: replace(make_setup(), images_budget=budget), tmp_path)


@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=pytest.mark.exhaustive), "fp16"])
def test_resuming_in_half_precision_ends_in_the_same_bytes(make_setup, tmp_path, precision):
    runtime = Runtime.resolve("cpu", precision)
    make = lambda: replace(make_setup(), scaler=runtime.scaler())  # noqa: E731
    middles, _ = same_from_everywhere(make, tmp_path, runtime)
    assert middles >= 6


def test_resuming_in_chunks_ends_in_the_same_bytes(make_setup, tmp_path):
    middles, _ = same_from_everywhere(make_setup, tmp_path, replace(CPU, chunk=2))
    assert middles >= 6


def test_how_a_loss_is_scaled_is_gone_on_with(make_setup, tmp_path):
    def make():
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=4)
        return replace(make_setup(epochs=1), scaler=scaler)

    setup = make()
    Checkpoints(tmp_path).save(setup, run(setup))
    again = make()
    Checkpoints(tmp_path).restore_newest(again)
    assert again.scaler.state_dict() == setup.scaler.state_dict()
    assert again.scaler.get_scale() > 8
    assert again.scaler.state_dict()["_growth_tracker"] > 0


def assembled():
    """The setup of a recipe, with its memory layout and its selection."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 12
    images = torch.randint(0, 256, (96, 3, 8, 8), generator=rng).to(torch.uint8)
    dataset = Dataset("noise", images, labels, tuple("abcdefghijkl"), (3, 8, 8))
    recipe = Recipe(
        dataset=dataset,
        split="classes:train=a-f,validation=g-i,test=j-l",
        sampler="hard-triplet:classes=4,per_class=4",
        backbone="conv4:channels=8",
        dim=8,
        epochs=2,
        device="cpu",
        protocols=("retrieval",),
    )
    return assemble(recipe, Registry.installed()).setup


def test_resuming_an_assembled_run_ends_in_the_same_bytes(tmp_path):
    middles, epochs = same_from_everywhere(assembled, tmp_path, Runtime.resolve("cpu"))
    assert middles >= 3
    assert epochs == 1


def test_restored_moments_lie_in_memory_like_their_weights(tmp_path):
    """Else they are summed in another order: slower, and the last bits may differ."""
    setup = assembled()
    Checkpoints(tmp_path).save(setup, run(setup))
    again = assembled()
    Checkpoints(tmp_path).restore_newest(again)
    laid_out = [p for p in again.model.parameters() if p.ndim == 4 and not p.is_contiguous()]
    assert laid_out, "no weight here is laid out with its channels last"
    for parameter in laid_out:
        state = again.optimizer.state[parameter]
        assert state["exp_avg"].stride() == parameter.stride()
        assert state["exp_avg_sq"].stride() == parameter.stride()


class Refreshed:
    """Batches by what the sampler saw of the embeddings: the images sorted along one axis."""

    def __init__(self, labels):
        self.miner = AllFirst()
        self.order = torch.arange(len(labels))

    def refresh(self, embeddings):
        self.order = embeddings[:, 0].argsort(stable=True)

    def epoch(self, rng):
        return iter(self.order.split(12))


class AllFirst:
    """Triplets of the first image of a batch with all that fit."""

    kind = Triplets

    def __call__(self, embeddings, labels):
        same = (labels == labels[0]).nonzero().flatten()[1:2]
        other = (labels != labels[0]).nonzero().flatten()[: len(same)]
        return Triplets(torch.zeros_like(same), same, other[: len(same)])


def test_resuming_with_a_sampler_that_is_refreshed_ends_in_the_same_bytes(make_setup, tmp_path):
    def make():
        return make_setup(sampler=Refreshed(torch.arange(48)), loss="triplet:margin=1")

    same_from_everywhere(make, tmp_path)


def test_different_seeds_end_in_different_bytes(make_setup):
    # Otherwise the tests above could compare nothing with nothing.
    first, second = make_setup(seed=0), make_setup(seed=0)
    before = weights(first)
    run(first)
    run(second)
    assert weights(first) == weights(second) != before
    other = make_setup(seed=1)
    run(other)
    assert weights(other) != weights(first)


def test_the_last_two_checkpoints_and_the_best_are_kept(make_setup, tmp_path):
    setup, checkpoints = make_setup(epochs=5), Checkpoints(tmp_path)
    steps, best = [], {}

    def save(record, state):
        if isinstance(record, EpochRecord):
            checkpoints.save(setup, state)
            steps.append(state.total_steps)
            if record.best:
                best.update(weights(setup))

    state = run(setup, at_each=save)
    assert [int(folder.name.split("-")[1]) for folder in checkpoints.all()] == steps[-2:]
    assert {p.name for p in tmp_path.iterdir()} == {*(f.name for f in checkpoints.all()), "best"}
    fresh = make_setup(seed=9)
    checkpoints.restore_best(fresh)
    assert {k: v for k, v in weights(fresh).items() if k.startswith("model.")} == best
    assert 1 <= state.best_epoch <= 5


@pytest.fixture
def three(make_setup, tmp_path):
    """A setup at its end, its checkpoints after each epoch, and the epoch of the newest two."""
    setup, checkpoints = make_setup(), Checkpoints(tmp_path / "checkpoints")

    def save(record, state):
        if isinstance(record, EpochRecord):
            checkpoints.save(setup, state)

    run(setup, at_each=save)
    return setup, checkpoints


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_newest_checkpoint_is_passed_over(make_setup, three, damage, name):
    setup, checkpoints = three
    newest = checkpoints.all()[-1]
    damage(newest / name)
    again = make_setup()
    state, damaged = checkpoints.restore_newest(again)
    assert state.epoch == 2
    assert len(damaged) == 1
    assert newest.name in damaged[0]
    run(again, state)
    assert weights(again) == weights(setup)


def test_a_damaged_checkpoint_is_none_of_those_that_are_kept(make_setup, three):
    _, checkpoints = three
    newest, at = checkpoints.all()[-1], checkpoints.all()[-1].name
    flip(newest / "model.safetensors")
    again = make_setup()
    state, _ = checkpoints.restore_newest(again)
    assert (checkpoints.folder / f"{at}.damaged").is_dir()
    saved = checkpoints.save(again, state, keep=1)
    assert checkpoints.all() == [saved]
    assert checkpoints.restore_newest(make_setup())[0].epoch == 2


def test_what_a_kill_has_begun_is_finished_first(three):
    _, checkpoints = three
    older, newest = checkpoints.all()
    newest.rename(newest.with_name(f".{newest.name}.old"))
    (newest.with_name(f".{newest.name}.partial")).mkdir()
    (older.with_name(f".{older.name}.old")).mkdir()
    checkpoints.settle()
    assert {path.name for path in checkpoints.folder.iterdir()} == {older.name, newest.name, "best"}
    Checkpoints(checkpoints.folder / "nowhere").settle()


def test_without_an_intact_checkpoint_all_are_named(make_setup, three):
    _, checkpoints = three
    for folder in checkpoints.all():
        flip(folder / "model.safetensors")
    setup = make_setup()
    before = weights(setup)
    with pytest.raises(ArtefactError, match="no intact checkpoint") as caught:
        checkpoints.restore_newest(setup)
    assert all(folder.name in str(caught.value) for folder in checkpoints.all())
    assert weights(setup) == before
    with pytest.raises(ArtefactError, match="there is none"):
        Checkpoints(checkpoints.folder / "nowhere").restore_newest(setup)


def rewritten(folder: Path, **changes) -> None:
    """Change files of a checkpoint, with a manifest that fits: None takes one away."""
    files = read_folder(folder)
    for name, content in changes.items():
        name = name.replace("__", ".")
        files.pop(name, None)
        if content is not None:
            files[name] = content
    write_folder(folder, files)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer__safetensors": None},
        {"optimizer__safetensors": b"no safetensors"},
        {"model__safetensors": None},
        {"model__safetensors": b"no safetensors"},
        {"state__json": None},
        {"state__json": b"{"},
        {"state__json": b"[]"},
        {"state__json": b'{"format": 2}'},
        {"state__json": b'{"format": 2, "position": {"epok": 1}, "optimizer": {}}'},
    ],
    ids=str,
)
def test_a_checkpoint_of_other_things_is_refused(make_setup, three, changes):
    """Whole by its manifest, yet not what this version writes."""
    _, checkpoints = three
    rewritten(checkpoints.all()[-1], **changes)
    setup = make_setup()
    with pytest.raises(ArtefactError, match="step-"):
        restore(checkpoints.all()[-1], setup)
    assert checkpoints.restore_newest(setup)[0].epoch == 2


def test_a_newer_format_says_which_version_it_needs(make_setup, three):
    newest = three[1].all()[-1]
    state = json.loads(read_folder(newest)["state.json"]) | {"format": 7}
    rewritten(newest, state__json=json.dumps(state).encode())
    with pytest.raises(ArtefactError, match=r"format 7 .* reads up to 2: upgrade metricforge"):
        restore(newest, make_setup())


def test_an_older_format_says_what_to_do(make_setup, three):
    newest = three[1].all()[-1]
    state = json.loads(read_folder(newest)["state.json"]) | {"format": 1}
    rewritten(newest, state__json=json.dumps(state).encode())
    with pytest.raises(ArtefactError, match=r"format 1, of an earlier metricforge"):
        restore(newest, make_setup())


def test_a_checkpoint_of_another_network_is_refused(make_setup, three):
    setup = make_setup()
    setup.model.head = nn.Linear(8, 9)
    with pytest.raises(ArtefactError, match="another network"):
        restore(three[1].all()[-1], setup)


class Killed(BaseException):
    """What a process that is killed would raise, if it could."""


@pytest.mark.parametrize("survived", range(5))
def test_a_kill_while_saving_costs_neither_checkpoint_nor_best(
    make_setup, tmp_path, monkeypatch, survived
):
    """Killed before one of the renames of the second save: resumed, it ends the same."""
    scores = {1: 1.0, 2: 2.0, 3: 0.0}

    def task_of():
        epochs = iter(range(1, 4))
        validate = lambda _: Validated({"score": scores[next(epochs)]})  # noqa: E731
        return replace(make_setup(), validate=validate)

    def train(setup, checkpoints, state, at_save=lambda state: None):
        def save(record, state):
            if isinstance(record, EpochRecord):
                at_save(state)
                checkpoints.save(setup, state)

        run(setup, state, at_each=save)

    unbroken, checkpoints = task_of(), Checkpoints(tmp_path / "unbroken")
    train(unbroken, checkpoints, TrainState())
    expected = weights(unbroken)
    checkpoints.restore_best(unbroken)
    expected_best = weights(unbroken)
    assert expected_best != expected

    renames, rename = [], Path.rename

    def kill_after_some(state):
        if state.epoch == 2:
            monkeypatch.setattr(Path, "rename", counted)

    def counted(self, target):
        if len(renames) == survived:
            raise Killed
        renames.append(target)
        return rename(self, target)

    checkpoints = Checkpoints(tmp_path / "killed")
    with contextlib.suppress(Killed):
        train(task_of(), checkpoints, TrainState(), kill_after_some)
    monkeypatch.undo()

    again = task_of()
    state, _ = checkpoints.restore_newest(again)
    scores = {1: scores[state.epoch + 1], 2: 0.0} if state.epoch < 3 else {}
    train(again, checkpoints, state)
    assert weights(again) == expected
    checkpoints.restore_best(again)
    assert weights(again) == expected_best
