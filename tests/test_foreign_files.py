"""Files whose values have other types than metricforge writes: refused by file and field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image

import metricforge as mf
from metricforge.atomic_files import MANIFEST, read_folder, write_folder
from metricforge.bench import Suite, read_records, read_suite, tabulate
from metricforge.bench.suite import Approach
from metricforge.cli.run_table import print_run
from metricforge.contracts import Trials
from metricforge.data import open_images, split_dataset
from metricforge.data.folder_walk import walk
from metricforge.errors import ArtefactError, DataError, PluginError, UsageError
from metricforge.image_index import ImageIndex
from metricforge.judging.own_dataset import own_split
from metricforge.loading import load
from metricforge.report.plots import health_curves, loss_curve
from metricforge.runs.environment import Environment
from metricforge.runs.metrics_log import (
    best_scores,
    cut_back,
    entries,
    first_collapse,
    first_failure,
)
from metricforge.runs.report import write_report
from metricforge.runtime import Runtime
from metricforge.scoring.episode_files import read_episodes, write_episodes
from metricforge.spec import Spec
from metricforge.training.checkpoint import Checkpoints, restore
from metricforge.training.loop import TrainState, fit
from metricforge.tuning.trials import append
from tests.bench.test_table import record
from tests.cli.process import metricforge
from tests.cli.small_model import make_model
from tests.cli.small_run import PARTS, make_files, make_images
from tests.mutations import survive

IMAGES = np.zeros((1, 16, 16, 3), np.uint8)
SUITE: dict[str, Any] = {
    "title": "A title", "about": "what", "baseline": "a", "seeds": 2, "folds": 3,
    "numbers": ["map@r"], "base": {"dataset": "digits", "augment": ["flip"]},
    "budget": {"images": 9}, "axes": {"dim": [2, 4], "sampler": {"b": "balanced"}},
    "tune": {"trials": 2, "options": ["optimizer.lr=0.1,0.2"], "search": "random"},
    "approach": [{"name": "a", "loss": "triplet", "tune": ["loss.margin=0.1,0.2"]}],
    "also": [{"name": "x", "dataset": "mnist", "protocols": ["knn"]}],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> mf.Run:
    """A run of two epochs, whose summary has one metric and one pair of confused classes."""
    place = tmp_path_factory.mktemp("trained")
    run = mf.train(
        dataset=f"npz:path={make_images(place)}", split=PARTS, backbone="conv4:channels=4", dim=4,
        sampler="hard-triplet:classes=3,per_class=4", orientations=1, epochs=2, device="cpu",
        protocols=("retrieval",), out=place / "run", progress=False,
    )  # fmt: skip
    summary = json.loads((run.path / "summary.json").read_text())
    summary["results"] = {"trained": {"map@r": summary["results"]["trained"]["map@r"]}}
    summary["definitions"] = {"map@r": "what it is"}
    del summary["failures"]["worst"], summary["failures"]["confused"][1:]
    (run.path / "summary.json").write_text(json.dumps(summary))
    return run


@pytest.fixture
def run(trained: mf.Run, tmp_path: Path) -> mf.Run:
    """A copy of it, without plots."""

    def plots(folder: str, names: list[str]) -> list[str]:
        return names if Path(folder).name == "plots" else []

    shutil.copytree(trained.path, tmp_path / "run", ignore=plots)
    return mf.Run.open(tmp_path / "run")


def reading(path: Path, read: Callable[[], object]) -> Callable[[str], object]:
    """What writes a text into a file and then reads it."""

    def written(text: str) -> object:
        path.write_text(text)
        return read()

    return written


def within(folder: Path, name: str, read: Callable[[], object]) -> Callable[[str], object]:
    """The same for a file of a folder with a manifest."""

    def written(text: str) -> object:
        write_folder(folder, read_folder(folder) | {name: text.encode()})
        return read()

    return written


def in_files(place: Path) -> mf.Dataset:
    """Six classes of six images each."""
    place.mkdir()
    paths = [place / f"{number}.png" for number in range(36)]
    for number, path in enumerate(paths):
        Image.new("L", (4, 4), 7 * number).save(path)
    labels = torch.arange(36) // 6
    return mf.Dataset("set", paths, labels, tuple("abcdef"), (1, 4, 4), cache=place / "cache")


def test_a_model_card(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "run") / "model"
    card = json.loads(read_folder(folder)["model.json"]) | {"seen_classes": ["a"]}
    read = within(folder, "model.json", lambda: mf.load(folder, device="cpu").encode(IMAGES))
    # The name of a component that nobody has is one of a plugin that is not installed; what an
    # embedding is divided by may be zero.
    survive(card, read, "", (ArtefactError, UsageError, PluginError, mf.errors.DivergedError))


def test_a_manifest(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", {"b": b"c"})
    path = tmp_path / "a" / MANIFEST
    survive(json.loads(path.read_text()), reading(path, lambda: read_folder(path.parent)), "a/")


def test_a_split(tmp_path: Path) -> None:
    dataset, path = in_files(tmp_path / "set"), tmp_path / "split.json"
    for rule in ("random", "images"):
        split = split_dataset(dataset, Spec.parse(rule)).to_json(dataset)
        saved = Spec("saved", {"path": str(path)})
        read = reading(path, lambda saved=saved: split_dataset(dataset, saved))
        survive(split, read, "", (ArtefactError, DataError))


def test_an_index_of_a_tree(tmp_path: Path) -> None:
    make_files(tmp_path / "files")
    path = tmp_path / "index"
    list(walk(tmp_path / "files", path))
    lines = path.read_text().splitlines()
    for number in (0, 2):
        document = json.loads(lines[number])

        def written(changed: Any, number: int = number) -> str:
            return "\n".join([*lines[:number], json.dumps(changed), *lines[number + 1 :]])

        read = reading(path, lambda: list(walk(tmp_path / "files", path)))
        survive(document, read, "index is no index of a folder", written=written)


def test_the_record_of_a_cache(tmp_path: Path) -> None:
    dataset = in_files(tmp_path / "set")
    open_images(dataset)
    (path,) = (tmp_path / "set" / "cache").glob("*.json")
    survive(json.loads(path.read_text()), reading(path, lambda: open_images(dataset)), path.stem)


def test_the_contents_of_an_index(tmp_path: Path) -> None:
    run = make_model(tmp_path / "run")
    images = sorted(make_files(tmp_path / "files").rglob("*.png"))[:2]
    model = load(run, device="cpu")
    ImageIndex.of(run, model, images, model.encode(images)).save(tmp_path / "index")
    contents = json.loads(read_folder(tmp_path / "index")["contents.json"])
    read = within(
        tmp_path / "index",
        "contents.json",
        lambda: ImageIndex.open(tmp_path / "index").model_of(run, device="cpu"),
    )
    survive(contents, read, "index")


def test_episodes(tmp_path: Path) -> None:
    dataset, path = in_files(tmp_path / "set"), tmp_path / "episodes.json"
    trials = Trials(torch.tensor([[[0], [6]]]), torch.tensor([[1, 7]]))
    write_episodes(path, {"2way1shot": trials}, dataset)
    read = reading(path, lambda: read_episodes(path, dataset))
    survive(json.loads(path.read_text()), read, "episodes", (ArtefactError, DataError))


def test_the_summary_of_a_run(run: mf.Run, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.path / "summary.json"

    def read() -> None:
        print_run(run, all_metrics=True)
        write_report(run.folder)

    survive(json.loads(path.read_text()), reading(path, read), "summary.json can't be read")


def test_the_split_of_a_run(run: mf.Run) -> None:
    path, dataset = run.path / "split.json", mf.Registry.installed()
    dataset = dataset.build("dataset", Spec.parse(str(run.recipe.dataset)), {})

    def read() -> None:
        write_report(run.folder)
        own_split(run, dataset)

    survive(json.loads(path.read_text()), reading(path, read), "", (ArtefactError, DataError))


def test_the_environment_of_a_run(run: mf.Run) -> None:
    path = run.path / "env.json"

    def read() -> None:
        owners = run.folder.read("env", Environment).get("components", {})
        assert all(isinstance(owner, str) for owner in owners.values())
        write_report(run.folder)

    survive(json.loads(path.read_text()), reading(path, read), "env.json can't be read")


def test_the_metrics_of_a_run(run: mf.Run) -> None:
    path = run.folder.metrics
    lines = path.read_text().splitlines()
    ends = [number for number, line in enumerate(lines) if '"best": true' in line]
    for number in (0, ends[-1]):

        def written(changed: Any, number: int = number) -> str:
            return "\n".join([*lines[:number], json.dumps(changed), *lines[number + 1 :]]) + "\n"

        def read() -> None:
            best_scores(run.folder)
            first_failure(run.folder)
            found = first_collapse(run.folder)
            assert found is None or found.spread is not None
            cut_back(run.folder, TrainState(epoch=1, total_steps=3))

        survive(json.loads(lines[number]), reading(path, read), "metrics.jsonl", written=written)


@pytest.mark.parametrize("value", [1e999, -1, None])
def test_the_plots_of_odd_metrics(value: float | None, run: mf.Run, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run.folder.metrics.read_text().splitlines()]
    for line in lines:
        line |= {key: value for key in ("active_share", "spread", "effective_rank") if key in line}
        if value is not None:
            line |= {"loss": value, "validation": {"x": value}, "validation_loss": value}
    run.folder.rewrite(run.folder.metrics, lines)
    loss_curve(entries(run.folder), tmp_path / "loss.png")
    health_curves(entries(run.folder), tmp_path / "health.png")


def test_the_state_of_a_checkpoint(make_setup: Any, tmp_path: Path) -> None:
    for optimizer in ("adamw:lr=0.01", "sgd"):
        setup, state = make_setup(optimizer=optimizer), TrainState()
        for _ in zip(range(2), fit(setup, state, Runtime(torch.device("cpu"))), strict=False):
            folder = Checkpoints(tmp_path / optimizer).save(setup, state)
        fields = json.loads(read_folder(folder)["state.json"])
        again = make_setup(optimizer=optimizer)

        def read(folder: Path = folder, again: Any = again) -> None:
            restore(folder, again)

        survive(fields, within(folder, "state.json", read), "step-")


def test_the_records_of_a_suite(tmp_path: Path) -> None:
    suite = Suite("s", "A title", {}, (Approach("a"), Approach("b")), "a", seeds=2)
    path = tmp_path / "results.jsonl"
    append(path, record("a", 0, 0.5))
    changed = json.loads(path.read_text())
    append(path, record("b", 0, 0.25))
    (_, other) = path.read_text().splitlines()
    read = reading(path, lambda: tabulate(suite, read_records(path)))
    survive(changed, read, "results.jsonl is not a file of a suite's records")
    # Beside others it is one that a crash cut short.
    survive(changed, read, "", (), lambda changed: f"{json.dumps(changed)}\n{other}\n")


def as_toml(changed: Any) -> str:
    """A document as TOML, which has no null; not TOML for what is no table."""

    def without_null(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_null(each) for key, each in value.items() if each is not None}
        if isinstance(value, list):
            return [without_null(each) for each in value if each is not None]
        return value

    return tomli_w.dumps(without_null(changed)) if isinstance(changed, dict) else "["


@pytest.mark.fault(72)
def test_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    read = reading(path, lambda: read_suite(path))
    survive(SUITE, read, "", UsageError, as_toml)
    path.write_text("x = " + "[" * 20_000)
    with pytest.raises(UsageError, match=r"small\.toml: it is nested too deep"):
        read_suite(path)


@pytest.mark.fault(72)
@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("model/model.json", {"shape": [1, 16]}, "model.json can't be read (shape is neither"),
        pytest.param("model/model.json", {"std": None}, "(Expected `array`, got `null` - at "
                     "`$.std`)", marks=pytest.mark.exhaustive),
        pytest.param("model/model.json", {"reading": 3}, "(Expected `object`, got `int` - at "
                     "`$.reading`)", marks=pytest.mark.exhaustive),
        ("split.json", {"parts": {"train": []}}, "split.json can't be read: Expected `object`, got "
         "`array` - at `$.parts.train`."),
        pytest.param("split.json", {"hash": True}, "Expected `str`, got `bool` - at `$.hash`.",
                     marks=pytest.mark.exhaustive),
    ],
)  # fmt: skip
def test_evaluate_names_the_file_and_the_field(
    name: str, change: dict[str, Any], told: str, run: mf.Run
) -> None:
    path = run.path / name
    content = json.dumps(json.loads(path.read_text()) | change)
    if path.parent == run.path:
        path.write_text(content)
    else:
        write_folder(path.parent, read_folder(path.parent) | {path.name: content.encode()})
    done = metricforge("evaluate", run.path)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
