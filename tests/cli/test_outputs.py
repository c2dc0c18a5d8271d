"""Outputs that would lie among the images, and those that do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from metricforge_standard.datasets.folder import folder

from metricforge.cli import cli
from metricforge.errors import ResourceError, UsageError
from metricforge.model import EmbeddingModel
from metricforge.recipes.recipe import Recipe
from metricforge.runs.train import run_name
from metricforge.spec import Spec
from tests.cli.process import metricforge
from tests.cli.small_model import make_model
from tests.cli.small_run import make_files, words


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_files(tmp_path / "photos")


def folders(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


@pytest.mark.fault(60)
def test_a_run_among_its_images_is_refused_before_training(photos: Path) -> None:
    before = folders(photos)
    for given, beside in (
        (["--dataset", "."], "../runs/photos-hard-triplet"),
        (["--dataset", "folder:path=.", "--out", "mine"], "../mine"),
        (["--dataset", str(photos), "--out", "0/mine"], str(photos.parent / "0" / "mine")),
    ):
        done = metricforge("train", *given, cwd=photos)
        assert done.returncode == 2, done.stdout
        assert done.stderr.count("\n") == 1
        assert f"write it elsewhere, e.g. --out {beside}.\n" in done.stderr
        assert folders(photos) == before


@pytest.mark.fault(60)
def test_what_is_embedded_is_not_written_among_its_images(photos: Path) -> None:
    make_model(photos.parent / "run")
    before = folders(photos)
    for command, out in (("encode", "e.npy"), ("index", "ix"), ("index", "0/ix")):
        done = metricforge(command, "../run", ".", "--out", out, cwd=photos)
        assert done.returncode == 2, done.stdout
        assert f"write it elsewhere, e.g. --out ../{out}.\n" in done.stderr
        assert folders(photos) == before
    done = metricforge("data", "show", ".", cwd=photos)
    assert done.returncode == 2
    assert "e.g. --out ../mosaic.png." in done.stderr
    for name in ("there", "x.npy", "y.json"):
        (photos.parent / name).mkdir()
    for out in ("..", "../there", "../x", "../y.npy"):
        done = metricforge("encode", "../run", ".", "--out", out, cwd=photos)
        assert (done.returncode, "is a folder; name another" in done.stderr) == (2, True)
    # One class may be embedded, and written to a place beside it.
    done = metricforge("encode", "../run", "0", "--out", ".e.npy", cwd=photos)
    assert done.returncode == 0, done.stderr


def test_rows_have_a_suffix_so_that_their_names_are_their_own(photos: Path) -> None:
    make_model(photos.parent / "run")
    for out in ("../e.npy", "../e"):
        done = metricforge("encode", "../run", "0", "--out", out, "--json", cwd=photos)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["out"] == "../e.npy"
    assert {"e.npy", "e.json"} <= folders(photos.parent)
    assert "e" not in folders(photos.parent)


def test_a_run_is_named_by_where_its_images_lie(tmp_path: Path) -> None:
    (tmp_path / "my photos.1998").mkdir()
    for dataset, name in (
        (f'folder:path="{tmp_path}/my photos.1998"', "my photos.1998"),
        (f"folder:path={tmp_path}/birds.tar.gz", "birds"),
        (f"csv:path={tmp_path}/list.csv", "list"),
        ("digits", "digits"),
    ):
        assert run_name(Recipe(dataset=Spec.parse(dataset))) == f"{name}-hard-triplet"


def test_a_class_with_files_of_common_names_is_no_output(photos: Path) -> None:
    for name in ("model.json", "manifest.json"):
        (photos / "0" / name).write_text("{}")
    assert "0" in folder(path=photos).classes


@pytest.mark.fault(60)
def test_outputs_that_lie_among_images_are_skipped_and_counted(photos: Path) -> None:
    make_model(photos.parent / "run")
    done = metricforge("train", *words(photos), "--out", photos.parent / "trained")
    assert done.returncode == 0, done.stderr
    done = metricforge("index", "run", "photos/0", "--out", "index", cwd=photos.parent)
    assert done.returncode == 0, done.stderr
    (photos / "runs").mkdir()
    (photos.parent / "trained").rename(photos / "runs" / "trained")
    (photos.parent / "index").rename(photos / "index")
    note = (
        "folders that metricforge wrote (runs, models, indexes), skipped: 2 (index, runs/trained)."
    )
    for spec in (str(photos), f"folder:path={photos},index={photos.parent / 'list'}"):
        for _ in range(2):
            done = metricforge("data", "check", spec, "--json")
            found = json.loads(done.stdout)
            assert done.returncode == 0, done.stderr
            assert (found["images"], found["classes"]) == (60, 10)
            assert [each for each in found["notes"] if "images are" not in each][:1] == [note]
            assert not [each for each in found["notes"] if "no images" in each]
    done = metricforge("encode", "run", "photos", "--out", "e.npy", cwd=photos.parent)
    assert done.returncode == 0, done.stderr
    assert "e.npy: 60 embeddings" in done.stdout
    assert "note: skipped photos/runs/trained, written by metricforge.\n" in done.stderr
    # A model is one of metricforge's wherever it lies; its own folder may still be looked at.
    done = metricforge("data", "check", photos / "runs" / "trained")
    assert done.returncode == 3


@pytest.mark.fault(107)
def test_an_output_that_can_not_be_written_is_refused_before_the_work(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(photos.parent / "model")
    monkeypatch.setattr(EmbeddingModel, "embed", lambda *_: pytest.fail("it has begun to embed"))
    (photos.parent / "taken").write_text("")
    below = photos.parent / "taken" / "x"
    commands = [
        ("encode", photos.parent / "model", photos, "--out", below / "e.npy"),
        ("index", photos.parent / "model", photos, "--out", below),
        ("evaluate", photos.parent / "model", "--dataset", photos, "--by-class", below / "c.csv"),
        ("evaluate", photos.parent / "model", "--dataset", photos, "--episodes-out", below / "e"),
        ("data", "split", photos, "--out", below / "s.json"),
        ("data", "show", photos, "--out", below / "s.png"),
    ]
    for command in commands:
        done = CliRunner().invoke(cli, [*map(str, command)], standalone_mode=False)
        assert isinstance(done.exception, ResourceError), command
        assert f"can't write {below}" in str(done.exception)


@pytest.mark.fault(107)
def test_names_do_not_replace_a_file_that_is_not_of_earlier_rows(photos: Path) -> None:
    make_model(photos.parent / "model")
    (photos.parent / "photos.json").write_text("mine")
    begin = ["encode", photos.parent / "model", photos, "--quiet", "--out"]
    for out in ("photos.npy", "rows.csv", "."):
        done = CliRunner().invoke(
            cli, [*map(str, begin), str(photos.parent / out)], standalone_mode=False
        )
        assert isinstance(done.exception, UsageError), out
    assert (photos.parent / "photos.json").read_text() == "mine"
    for _ in range(2):  # an earlier pair is replaced
        done = CliRunner().invoke(
            cli, [*map(str, begin), str(photos.parent / "new" / "rows")], standalone_mode=False
        )
        assert done.exception is None
    assert len(np.load(photos.parent / "new" / "rows.npy")) == len(
        json.loads((photos.parent / "new" / "rows.json").read_text())
    )


@pytest.mark.fault(107)
def test_metrics_are_printed_where_none_are_by_class(photos: Path) -> None:
    make_model(photos.parent / "model")
    command = ["evaluate", photos.parent / "model", "--dataset", photos, "--by-class", "x.csv",
               "--protocol", "knn", "--no-baselines"]  # fmt: skip
    done = CliRunner().invoke(cli, [*map(str, command)], standalone_mode=False)
    assert isinstance(done.exception, UsageError), done.exception
    assert "x.csv is not written; add --protocol retrieval" in str(done.exception)
    assert "held-out classes 0, 1, 2" in done.stdout


@pytest.mark.fault(107)
def test_an_output_replaces_no_file_of_another_kind(photos: Path, tmp_path: Path) -> None:
    """As the labels, the archive or a photograph that the command has just read."""
    make_model(tmp_path / "model")
    mine = tmp_path / "mine"
    commands = [
        ("data", "split", photos, "--out", mine),
        ("data", "show", photos, "--out", mine),
        ("data", "split", photos, "--out", next(photos.rglob("*.png"))),
        ("evaluate", tmp_path / "model", "--dataset", photos, "--by-class", mine),
    ]
    for command in commands:
        mine.write_bytes(b"PK of mine")
        done = CliRunner().invoke(cli, [*map(str, command)], standalone_mode=False)
        assert isinstance(done.exception, UsageError), command
        assert mine.read_bytes() == b"PK of mine"
    for command in (*commands[:2], commands[3]):
        mine.unlink(missing_ok=True)
        for _ in range(2):  # its own earlier output is replaced
            done = CliRunner().invoke(cli, [*map(str, command)], standalone_mode=False)
            assert done.exception is None, command
