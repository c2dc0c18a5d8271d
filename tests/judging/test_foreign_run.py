"""A run that a stranger wrote is evaluated: nothing else is written, and nothing is fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import metricforge as mf
from metricforge.errors import ArtefactError
from tests.cli.small_run import PARTS, make_files


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> mf.Run:
    """A run of an epoch on small files."""
    place = tmp_path_factory.mktemp("foreign")
    return mf.train(
        dataset=f"folder:path={make_files(place / 'files')},size=16", split=PARTS,
        backbone="conv4:channels=4", dim=4, sampler="hard-triplet:classes=3,per_class=4",
        orientations=1, epochs=1, device="cpu", protocols=("retrieval",), out=place / "run",
        progress=False,
    )  # fmt: skip


@pytest.fixture
def foreign(trained: mf.Run, tmp_path: Path) -> Callable[..., mf.Run]:
    """Copies the run; in its config one text stands in place of another."""

    def copied(old: str, new: str, name: str = "run") -> mf.Run:
        shutil.copytree(trained.path, tmp_path / name)
        config = tmp_path / name / "config.toml"
        text = config.read_text()
        assert text.count(old) == 1
        config.write_text(text.replace(old, new))
        return mf.Run.open(tmp_path / name)

    return copied


@pytest.mark.fault(74)
def test_a_cache_and_an_index_of_its_config_are_not_written(
    foreign: Callable[..., mf.Run], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("all of it")
    ends = f"cache={tmp_path / 'cache'},index={victim}"
    runs = [foreign("cache=none,index=none", ends, name) for name in ("a", "b")]
    evaluation = mf.evaluate(runs[0], protocols=["retrieval"], device="cpu")
    assert evaluation.results["trained"] == runs[0].results["trained"]
    mf.compare(runs, protocols=["retrieval"], device="cpu")
    assert victim.read_text() == "all of it"
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "a", "b"}


@pytest.mark.fault(74)
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "omniglot"])
def test_a_dataset_that_would_be_downloaded_is_refused(
    name: str, foreign: Callable[..., mf.Run], trained: mf.Run, tmp_path: Path
) -> None:
    config = (trained.path / "config.toml").read_text()
    (line,) = (line for line in config.splitlines() if line.startswith("dataset = "))
    runs = [foreign(line, f'dataset = "{name}"', copy) for copy in ("a", "b")]
    told = rf"evaluating .*a fetches nothing, and would have to fetch dataset '{name}'; put it into"
    root = str(tmp_path / "data")
    with pytest.raises(ArtefactError, match=told):
        mf.evaluate(runs[0], protocols=["retrieval"], device="cpu", data_root=root)
    with pytest.raises(ArtefactError, match=told):
        mf.compare(runs, protocols=["retrieval"], device="cpu", data_root=root)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.fault(74)
@pytest.mark.parametrize(
    "name",
    ["evaluations.jsonl", "summary.json", ".lock", "plots/loss.png", "model/README.md", "new"],
)
def test_a_link_or_a_pipe_in_it_is_refused(
    name: str, foreign: Callable[..., mf.Run], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("all of it")
    run = foreign("size=16", "size=16")
    for make in (lambda path: path.symlink_to(victim), os.mkfifo):
        (run.path / name).unlink(missing_ok=True)
        make(run.path / name)
        for read in (mf.Run.open, mf.evaluate):
            with pytest.raises(ArtefactError, match=f"{name} is (a link|no regular file), which"):
                read(run.path)
        with pytest.raises(ArtefactError, match="which no run has; replace it by a copy"):
            mf.compare([run.path, tmp_path / "other"])
    assert victim.read_text() == "all of it"


@pytest.mark.fault(74)
def test_a_folder_in_it_may_be_no_link(foreign: Callable[..., mf.Run], tmp_path: Path) -> None:
    run = foreign("size=16", "size=16")
    outside = tmp_path / "outside"
    (run.path / "plots").rename(outside)
    (run.path / "plots").symlink_to(outside)
    with pytest.raises(ArtefactError, match="plots is a link"):
        mf.evaluate(run.path)
