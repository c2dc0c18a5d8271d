"""What `metricforge plugins new` writes is checked, installed and used, as its author would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from metricforge.contracts import KINDS
from metricforge.scaffold import write_plugin
from metricforge.scaffold.contents import GUIDANCE
from tests.cli.process import first_on_path, metricforge

ROOT = Path(__file__).parents[2]
# The shortest and the longest name, between which lines are as short and as long as they get.
EXTREMES = ("q{}", "a-name-as-long-as-they-may-be{}")


def run(*words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """The output of a tool of this environment, which must succeed."""
    tool = Path(sys.executable).with_name(str(words[0]))
    command = [str(tool), *map(str, words[1:])]
    env = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin of every kind, named my-KIND."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind in GUIDANCE:
        write_plugin(kind, f"my-{kind}", folder / f"my-{kind}")
    return folder


@pytest.fixture(scope="module")
def installed(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment in which all of them are installed, by pip."""
    target = tmp_path_factory.mktemp("installed")
    # Without the build tool here, pip has to fetch it.
    here = ("--no-build-isolation", "--no-index") if find_spec("hatchling") else ()
    words = ("install", "--quiet", "--no-deps", *here, "--target", target)
    run("pip", *words, *sorted(plugins.iterdir()))
    return first_on_path(target)


def test_every_kind_can_be_begun(plugins: Path):
    assert set(GUIDANCE) == {*KINDS, "command", "search"}
    for kind in GUIDANCE:
        files = {path.name for path in (plugins / f"my-{kind}").iterdir()}
        assert files == {"README.md", "pyproject.toml", f"my_{kind}.py", f"test_my_{kind}.py"}


def test_each_is_linted_and_formatted(plugins: Path):
    run("ruff", "check", "--no-cache", plugins)
    run("ruff", "format", "--check", "--no-cache", plugins)


def test_short_and_long_names_are_formatted_too(tmp_path: Path):
    for place, kind in enumerate(GUIDANCE):
        for form in EXTREMES:
            name = form.format("eghjoquyzwkxvb"[place])
            write_plugin(kind, name, tmp_path / name)
    run("ruff", "check", "--no-cache", tmp_path)
    run("ruff", "format", "--check", "--no-cache", tmp_path)


@pytest.mark.exhaustive
def test_each_is_typed(plugins: Path):
    config = next(plugins.iterdir()) / "pyproject.toml"
    # This repository's cache: torch is read once.
    cache = ROOT / ".mypy_cache"
    run("mypy", "--config-file", config, "--cache-dir", cache, *plugins.glob("*/*.py"), cwd=plugins)


def test_the_tests_of_each_pass(plugins: Path):
    config = plugins / "my-sampler" / "pyproject.toml"
    run("pytest", "-p", "no:cacheprovider", "-c", config, *plugins.glob("*/test_*.py"), cwd=plugins)


def test_each_is_listed_with_its_line(installed: Mapping[str, str]):
    listed = json.loads(metricforge("plugins", "list", "--json", env=installed).stdout)
    mine = {record["kind"]: record for record in listed if record["name"].startswith("my-")}
    assert set(mine) == set(GUIDANCE)
    for kind, record in mine.items():
        assert record["distribution"] == f"my-{kind}"
        assert record["summary"].endswith("."), record


@pytest.mark.exhaustive  # all of them train together, below
def test_the_sampler_trains(installed: Mapping[str, str], tmp_path: Path):
    words = ("train", "--sampler", "my-sampler", "--dataset", "digits", "--epochs", "1")
    done = metricforge(*words, "--out", tmp_path / "run", env=installed)
    assert done.returncode == 0, done.stderr
    record = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert record["sampler"] == "my-sampler:classes=8,per_class=4"


def test_all_of_them_train_together(installed: Mapping[str, str], tmp_path: Path):
    flags = {kind: f"--{kind}" for kind in KINDS} | {"augmentation": "--augment"}
    components = [word for kind in KINDS for word in (flags[kind], f"my-{kind}")]
    done = metricforge(
        "train", *components, "--epochs", "1", "--out", tmp_path / "r", env=installed
    )
    assert done.returncode == 0, done.stderr
    shown = metricforge("my-command", tmp_path / "r", "--number", "precision@5", env=installed)
    assert shown.returncode == 0, shown.stderr
    assert str(tmp_path / "r") in shown.stdout


def test_the_commands_of_each_readme_are_those_of_this_metricforge(installed: Mapping[str, str]):
    for guidance in GUIDANCE.values():
        for line in guidance.command.splitlines():
            program, command, *words = line.replace("my-idea", "my-command").split()
            assert program == "metricforge"
            told = metricforge(command, "--help", env=installed).stdout
            assert [word for word in words if word.startswith("--") and word not in told] == []
