"""What `metricforge encode`, `index` and `search` refuse, skip and leave as it was."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.process import metricforge, wrapped
from tests.cli.small_model import make_model
from tests.cli.small_run import make_files

INFINITE, NONE = float("inf"), float("nan")


@pytest.mark.fault(62)
@pytest.mark.parametrize("wrong", [{"weight": NONE}, {"weight": INFINITE}, {"std": NONE}])
def test_an_embedding_that_is_no_number_is_exit_code_7_with_its_image(
    tmp_path: Path, wrong: dict[str, float]
) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run", **wrong)
    for command, out in (("encode", "e.npy"), ("index", "new")):
        done = metricforge(command, "run", "files/3", "--out", out, cwd=tmp_path)
        assert done.returncode == 7, done.stdout
        assert "error: the embedding of 'files/3/18.png' is NaN or infinite" in done.stderr
        assert done.stderr.count("\n") == 1
        assert {path.name for path in tmp_path.iterdir()} == {"files", "run"}


@pytest.mark.fault(62)
def test_an_image_that_is_looked_for_is_named_too(tmp_path: Path) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run", mean=0.0, std=1e-45)  # only what is black does not overflow
    Image.new("L", (16, 16)).save(tmp_path / "black.png")
    done = metricforge("index", "run", "black.png", "--out", "index", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = metricforge("search", "run", "index", "black.png", "files/3", cwd=tmp_path)
    assert done.returncode == 7, done.stdout
    assert "the embedding of 'files/3/18.png' is NaN or infinite" in done.stderr
    assert done.stdout == ""


@pytest.mark.fault(64)
def test_on_a_full_disk_rows_and_names_stay_those_of_before(tmp_path: Path) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run")
    out = tmp_path / "e.npy"
    given = ("encode", tmp_path / "run", "--out", out)
    assert metricforge(*given, tmp_path / "files" / "3").returncode == 0
    before = [path.read_bytes() for path in (out, tmp_path / "e.json")]
    done = wrapped("full=2", *given, tmp_path / "files")
    assert done.returncode == 6, done.stdout
    assert "e.json: No space left on device." in done.stderr
    assert [path.read_bytes() for path in (out, tmp_path / "e.json")] == before
    assert {path.name for path in tmp_path.iterdir()} == {"files", "run", "e.npy", "e.json"}


@pytest.mark.fault(65)
def test_a_name_that_is_too_long_is_exit_code_6(tmp_path: Path) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run")
    name, path = "x" * 300, "/".join(["y" * 200] * 25)
    for command in (
        ("encode", "run", "files/3", "--out", f"{name}.npy"),
        ("encode", "run", "files/3", "--out", path),
        ("index", "run", "files/3", "--out", name),
        ("train", "--dataset", "digits", "--epochs", 1, "--out", name),
        ("train", "--dataset", "digits", "--epochs", 1, "--out", path),
    ):
        done = metricforge(*command, cwd=tmp_path)
        assert done.returncode == 6, done.stderr
        assert f"{command[-1]}: File name too long.\n" in done.stderr
        assert done.stderr.count("\n") == 1
        assert {path.name for path in tmp_path.iterdir()} == {"files", "run"}


@pytest.mark.fault(102)
def test_files_that_are_no_images_are_skipped_if_asked(tmp_path: Path) -> None:
    files = make_files(tmp_path / "files")
    make_model(tmp_path / "run")
    (files / "3" / "model.exe").write_bytes(b"?")
    (files / "3" / "@eaDir").mkdir()
    (files / "3" / "@eaDir" / "thumbnail.png").write_bytes((files / "3" / "18.png").read_bytes())
    (files / "3" / "19.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    skipped = {"files/3/model.exe", "files/3/19.png"}
    for command, images in (("encode", 5), ("index", 5)):
        given = (command, "run", "files/3", "--out", "e.npy" if command == "encode" else "index")
        refused = metricforge(*given, cwd=tmp_path)
        assert refused.returncode == 3, refused.stdout
        assert "files/3/model.exe" in refused.stderr
        done = metricforge(*given, "--broken", "skip", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{images} " in done.stdout
        assert ", 2 skipped" in done.stdout
        assert sum(line.startswith("skipped: ") for line in done.stderr.splitlines()) == 2
        told = json.loads(metricforge(*given, "--broken=skip", "--json", cwd=tmp_path).stdout)
        assert set(told["skipped"]) == skipped
    assert len(np.load(tmp_path / "e.npy")) == len(json.loads((tmp_path / "e.json").read_text()))
    search = ("search", "run", "index", "files/3", "--json")
    assert metricforge(*search, cwd=tmp_path).returncode == 3
    done = metricforge(*search, "--broken", "skip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 5


def test_search_reports_what_it_has_skipped_with_json_too(tmp_path: Path) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run")
    assert metricforge("index", "run", "files", "--out", "index", cwd=tmp_path).returncode == 0
    (tmp_path / "files" / "bad.png").write_bytes(b"nothing")
    (tmp_path / "files" / "raw.cr3").write_bytes(b"nothing")
    words = ("search", "run", "index", "files", "--broken", "skip", "--json")
    done = metricforge(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "files/bad.png" not in json.loads(done.stdout)
    assert "skipped: 'files/bad.png' is no image that can be read" in done.stderr
    assert "note: files: images of kinds that are not read: 1 (.cr3 1)" in done.stderr


def test_a_dataset_is_encoded_with_its_labels(tmp_path: Path) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run")
    shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "files")
    for number, given in enumerate((["photos.zip"], ["--dataset", "files"])):
        out = f"e{number}.npy"
        done = metricforge("encode", "run", *given, "--out", out, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["shape"][0], told["labels"]) == (60, f"e{number}.labels.csv")
        names = json.loads((tmp_path / f"e{number}.json").read_text())
        with (tmp_path / told["labels"]).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["image"] for row in rows] == names
        assert [row["label"] for row in rows] == [str(n) for n in range(10) for _ in range(6)]
        assert all(f"/{row['label']}/" in f"/{row['image']}" for row in rows)
    # As its files are, though a dataset of another size has 64 x 64 pixels by default.
    assert metricforge("encode", "run", "files", "--out", "f.npy", cwd=tmp_path).returncode == 0
    for number in (0, 1):
        np.testing.assert_allclose(
            np.load(tmp_path / f"e{number}.npy"), np.load(tmp_path / "f.npy"), atol=1e-6
        )
    measured = metricforge(
        "evaluate", "--embeddings", "e0.npy", "--labels", "e0.labels.csv", "--json", cwd=tmp_path
    )
    assert measured.returncode == 0, measured.stderr
    # Rows of files have no labels, and those of the dataset before are gone.
    assert metricforge("encode", "run", "files", "--out", "e0.npy", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "e0.labels.csv").exists()
    # What lies there under these names is not of an earlier encode.
    (tmp_path / "mine.labels.csv").write_text("precious")
    refused = metricforge("encode", "run", "photos.zip", "--out", "mine.npy", cwd=tmp_path)
    assert (refused.returncode, "would replace it" in refused.stderr) == (2, True)
    assert (tmp_path / "mine.labels.csv").read_text() == "precious"
