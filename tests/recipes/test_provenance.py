"""Whose components a run is made of, what is said when they are gone, and trials without a test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from metricforge_standard.datasets.digits import digits

import metricforge
from metricforge.data.images import MemoryImages
from metricforge.entry_points import installed_points
from metricforge.errors import PluginError, UsageError
from metricforge.recipes.provenance import origins, refuse_if_gone
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.resume import resume
from tests.cli.process import metricforge as command

QUICK = ("--dataset", "digits", "--epochs", 1, "--orientations", 1, "--quiet")
XBM = 'xbm:sampler="hard-triplet:classes=3,per_class=4",size=64'
VERSION = metricforge.__version__


def without(distribution: str) -> Registry:
    """What is installed, less one distribution."""
    return Registry(p for p in installed_points() if p.dist and p.dist.name != distribution)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a plugin's sampler that left the test classes closed."""
    path = tmp_path_factory.mktemp("origins") / "trial"
    done = command("train", *QUICK, "--sampler", XBM, "--no-test", "--out", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def stopped(trial: Path, tmp_path: Path) -> Path:
    """The same run, as if it had been stopped before its end."""
    path = tmp_path / "stopped"
    shutil.copytree(trial, path)
    (path / "report.html").unlink()
    return path


def test_a_run_records_whose_components_it_is_made_of(trial: Path) -> None:
    recorded = json.loads((trial / "env.json").read_text())["components"]
    core = f"metricforge {VERSION}"
    assert recorded.pop("sampler").startswith("metricforge-xbm ")
    assert recorded == {
        "dataset": core, "loss": core, "backbone": core, "head": core, "validation": core,
        "optimizer": core, "schedule": core,
        "protocol retrieval": core, "protocol oneshot": core,
    }  # fmt: skip


def test_objects_and_what_is_not_named_have_no_origin() -> None:
    recipe = Recipe(sampler="object my:Sampler", backbone=torch.nn.Identity(), loss="triplet")
    assert set(origins(recipe, Registry.installed())) == {
        "dataset", "loss", "head", "optimizer", "schedule", "validation", "protocol retrieval",
        "protocol oneshot",
    }  # fmt: skip


@pytest.mark.parametrize("given", [{}, {"recipe": Recipe(sampler=XBM, dim=7)}], ids=str)
def test_going_on_without_a_plugin_says_what_to_install(
    stopped: Path, given: dict[str, Any]
) -> None:
    with pytest.raises(PluginError) as caught:
        resume(stopped, registry=without("metricforge-xbm"), **given)
    recorded = json.loads((stopped / "env.json").read_text())["components"]["sampler"]
    version = recorded.removeprefix("metricforge-xbm ")
    assert str(caught.value) == (
        f"the run uses the sampler 'xbm' of metricforge-xbm {version}, which is not installed any "
        f"more: pip install metricforge-xbm=={version}."
    )


@pytest.mark.fault(14)
def test_the_command_says_so_with_exit_code_4_and_goes_on_with_it(stopped: Path) -> None:
    words = ("train", "--resume", stopped, "--quiet")
    gone = command(*words, env={"METRICFORGE_PLUGINS": ""})
    assert gone.returncode == 4
    assert "pip install metricforge-xbm==" in gone.stderr
    assert len(gone.stderr.splitlines()) == 1
    there = command(*words)
    assert there.returncode == 0, there.stderr
    assert (stopped / "report.html").is_file()


def test_a_finished_run_needs_no_plugin_to_say_so(trial: Path) -> None:
    assert resume(trial, registry=without("metricforge-xbm")).finished


def test_a_run_that_recorded_no_origins_gets_the_plain_error(stopped: Path) -> None:
    env = json.loads((stopped / "env.json").read_text())
    del env["components"]
    (stopped / "env.json").write_text(json.dumps(env))
    with pytest.raises(UsageError, match="unknown sampler 'xbm'"):
        resume(stopped, registry=without("metricforge-xbm"))


def test_a_protocol_that_is_gone_is_named_too() -> None:
    recipe = Recipe(protocols=("strange:way=3",))
    with pytest.raises(PluginError, match=r"protocol 'strange' of odd-one 2.*pip install odd-one"):
        refuse_if_gone(recipe, Registry.installed(), {"protocol strange": "odd-one 2.1"})


def test_a_trial_leaves_the_test_classes_closed(trial: Path) -> None:
    run = metricforge.Run.open(trial)
    assert run.results == {}
    assert not (trial / "evaluations.jsonl").exists()
    assert not (trial / "plots" / "test.png").exists()
    assert (trial / "plots" / "train.png").is_file()
    assert run.summary["part"] is None
    assert run.recipe.test is False
    last = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()][-1]
    assert run.validation == last["validation"]
    assert 0 < run.validation["map@r"] <= 1
    assert "<html" in (trial / "report.html").read_text()


def test_the_pixels_of_test_classes_are_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    take = MemoryImages.take

    def watched(self: MemoryImages, indices: torch.Tensor) -> torch.Tensor:
        seen.update(indices.tolist())
        return take(self, indices)

    monkeypatch.setattr(MemoryImages, "take", watched)
    options = {
        "dataset": "digits", "epochs": 1, "orientations": 1, "progress": False,
        "backbone": "conv4:channels=8",
    }  # fmt: skip
    closed = metricforge.train(test=False, out=tmp_path / "closed", **options)
    split = json.loads((closed.path / "split.json").read_text())
    test = images_of(split["parts"]["test"]["classes"])
    assert test
    assert seen
    assert not seen & test
    seen.clear()
    metricforge.train(out=tmp_path / "open", **options)
    assert seen >= test


def images_of(names: list[str]) -> set[int]:
    """The places of the digits of these classes."""
    dataset = digits()
    chosen = [index for index, name in enumerate(dataset.classes) if name in names]
    return {place for place, label in enumerate(dataset.labels.tolist()) if label in chosen}


def test_the_config_of_a_trial_with_test_opens_them(trial: Path, tmp_path: Path) -> None:
    config, path = trial / "config.toml", tmp_path / "tested"
    assert "test = false" in config.read_text()
    done = command("train", "--config", config, "--test", "--out", path, "--quiet")
    assert done.returncode == 0, done.stderr
    assert set(metricforge.Run.open(path).results) == {"trained", "untrained", "pixels"}
    assert len((path / "evaluations.jsonl").read_text().splitlines()) == 1
    weights = [(p / "model" / "weights.safetensors").read_bytes() for p in (trial, path)]
    assert weights[0] == weights[1]


def test_a_trial_can_be_evaluated_later(trial: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    shutil.copytree(trial, later)
    done = command("evaluate", later, "--protocol", "retrieval")
    assert done.returncode == 0, done.stderr
    assert len((later / "evaluations.jsonl").read_text().splitlines()) == 1
