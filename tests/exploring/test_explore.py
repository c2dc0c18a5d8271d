"""What is written of a run, and what is refused."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

import metricforge
from metricforge.errors import DataError
from metricforge.exploring import explore as exploring
from metricforge.exploring.explore import Explored
from tests.cli.process import metricforge as command
from tests.exploring.conftest import CLASSES, EACH, HOSTILE, SIDE, TRAIN, VALIDATION
from tests.small_runs import folder_run


def data_of(page: Path) -> dict[str, object]:
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    return json.loads(text)


def array(text: object, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(str(text)), kind)


def test_the_command_writes_a_page_of_the_held_out_classes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = command("explore", run, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    images, classes = (CLASSES - VALIDATION) * EACH, CLASSES - VALIDATION
    assert f"{images} images of {classes} classes of all (test), " in done.stdout
    data = data_of(out)
    labels = array(data["labels"], "<i4")
    names = data["names"]
    assert isinstance(names, list)
    classes_of = data["classes"]
    assert isinstance(classes_of, list)
    assert [f"{classes_of[label]}/" in name for label, name in zip(labels, names, strict=True)]
    assert not any(name.startswith("/") for name in names), "no path of this machine"
    spaces = data["spaces"]
    assert isinstance(spaces, list)
    assert [space["name"] for space in spaces] == ["trained", "untrained"]
    again = command("explore", run, "--out", tmp_path / "again.html", "--quiet", "--json")
    assert json.loads(again.stdout)["bytes"] == out.stat().st_size
    assert (tmp_path / "again.html").read_bytes() == out.read_bytes()


def test_neighbours_are_those_of_the_models_embeddings(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    made = metricforge.explore(run, tmp_path / "page.html", device="cpu")
    data = data_of(made.path)
    names = data["names"]
    assert isinstance(names, list)
    rows = metricforge.load(run, device="cpu").encode([photos / name for name in names])
    apart = np.linalg.norm(rows[:, None].astype(np.float64) - rows[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    spaces = data["spaces"]
    assert isinstance(spaces, list)
    nearest = array(spaces[0]["nearest"], "<i4").reshape(len(rows), -1)
    assert (nearest[:, 0] == apart.argmin(axis=1)).mean() > 0.98, "but for exact ties"
    found = array(spaces[0]["distances"], "<f4").reshape(nearest.shape)
    np.testing.assert_allclose(found[:, 0], apart.min(axis=1), atol=1e-5)


def test_parts_are_those_of_the_run(run: Path, tmp_path: Path) -> None:
    made = metricforge.explore(run, tmp_path / "page.html", part="all", device="cpu")
    data = data_of(made.path)
    counts = np.bincount(array(data["parts"], "<i4"))
    parts = [TRAIN, VALIDATION - TRAIN, CLASSES - VALIDATION]
    assert counts.tolist() == [EACH * part for part in parts]
    assert data["partNames"] == ["train", "validation", "test"]


def test_names_are_no_markup_and_nothing_is_loaded(made: Explored) -> None:
    text = made.path.read_text()
    assert "<img" not in text
    assert HOSTILE in data_of(made.path)["classes"]  # type: ignore[operator]
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", text)


def test_too_few_and_too_many_images_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "MOST", 10)
    with pytest.raises(DataError, match="shows 10 images at most"):
        metricforge.explore(run, tmp_path / "page.html", device="cpu")
    assert not (tmp_path / "page.html").exists()


def test_vectors_have_a_map_without_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((12, 8))
    labels = np.repeat(np.arange(12), 8)
    rows = centres[labels] + 0.3 * rng.standard_normal((96, 8))
    np.savez(tmp_path / "v.npz", features=rows.astype(np.float32), labels=labels)
    run = metricforge.train(
        dataset=str(tmp_path / "v.npz"), sampler="balanced:classes=4,per_class=4", epochs=1,
        protocols=["retrieval"], device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    made = metricforge.explore(run.path, tmp_path / "page.html", device="cpu")
    assert data_of(made.path)["thumbnails"] is None


def test_a_network_that_can_not_be_built_anew_is_left_out_and_told(
    photos: Path, tmp_path: Path
) -> None:
    options = {
        "size": SIDE,
        "epochs": 1,
        "backbone": "conv4:channels=4",
        "head": "linear:start=pca",
    }
    run = folder_run(photos, tmp_path / "run", CLASSES, TRAIN, VALIDATION, **options)
    made = metricforge.explore(run, tmp_path / "page.html", device="cpu")
    spaces = data_of(made.path)["spaces"]
    assert isinstance(spaces, list)
    assert [space["name"] for space in spaces] == ["trained"]
    assert made.notes == (
        f"the network before training is not shown: the head of {run} began at the features of its "
        "training images, and can't be built anew without them.",
    )
