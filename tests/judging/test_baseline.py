"""`metricforge baseline`: what frozen features are worth, measured as everything else is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import metricforge
from metricforge.errors import DataError, Interrupted, UsageError
from metricforge.judging.baseline import Baseline
from metricforge.judging.frozen_ways import TIMED
from metricforge.report.progress import Listener
from metricforge.scoring.whitening import Whitening
from metricforge.training.frozen_features import FrozenFeatures

pytest.importorskip("timm", reason="requires metricforge[photos]")
SMALL = "efficientnet-lite0:size=32"
SAMPLER = "hard-triplet:classes=4,per_class=4"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of twelve classes with stripes of their own direction and colour, under noise."""
    root = tmp_path_factory.mktemp("stripes") / "photos"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for number in range(12):
        (root / f"class{number:02}").mkdir(parents=True)
        colour, angle = rng.integers(60, 256, 3), np.pi * number / 12
        for index in range(8):
            wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) / 2 + rng.uniform(0, 6))
            pixels = (wave[..., None] + 1) / 2 * colour + rng.normal(0, 30, (32, 32, 3))
            path = root / f"class{number:02}" / f"{index}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def ranked(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    folder = tmp_path_factory.mktemp("cache")
    return metricforge.baseline(
        str(photos), backbones=(SMALL,), samplers=(SAMPLER,), feature_cache=str(folder)
    )


def test_every_way_is_ranked_on_validation_classes_and_tested(ranked: Baseline) -> None:
    names = {row.name for row in ranked.rows}
    assert names == {
        "pixels", f"{SMALL}, features", f"{SMALL}, whitened", f"{SMALL}, head by hard-triplet",
    }  # fmt: skip
    scores = [row.validation["map@r"].value for row in ranked.rows]
    assert scores == sorted(scores, reverse=True)
    assert all({"map@r", "recall@1"} <= row.test.keys() for row in ranked.rows)
    assert (ranked.validation_classes[0], ranked.test_classes[0]) == (2, 4)


def test_each_image_is_embedded_once_in_all_runs(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of training, validation and test; only the images that are timed are embedded again."""
    embedded: list[int] = []
    original = FrozenFeatures._embedded

    def noted(self: FrozenFeatures, view: int, done: Any, indices: torch.Tensor) -> torch.Tensor:
        embedded.append(len(indices))
        return original(self, view, done, indices)

    monkeypatch.setattr(FrozenFeatures, "_embedded", noted)
    options = {"backbones": (SMALL,), "samplers": (SAMPLER,), "feature_cache": str(tmp_path)}
    first = metricforge.baseline(str(photos), **options)
    count = sum(1 for _ in photos.rglob("*.png"))
    timed = min(TIMED, count - 8 * (2 + 4))  # of the training images
    assert sum(embedded) == count + timed
    embedded.clear()
    again = metricforge.baseline(str(photos), **options)
    assert embedded == [timed]
    assert [row.test for row in again.rows] == [row.test for row in first.rows]


def test_features_are_measured_by_their_cosine(ranked: Baseline, photos: Path) -> None:
    """Against retrieval on features that are computed here."""
    run = metricforge.train(
        dataset=str(photos), backbone=SMALL, sampler=SAMPLER, epochs=1, out=photos.parent / "run",
        progress=False, rates="backbone=0", protocols=("retrieval",),
    )  # fmt: skip
    row = next(row for row in ranked.rows if row.name.endswith("features"))
    assert row.test["map@r"].value == pytest.approx(run.results["pretrained"]["map@r"].value)
    assert row.test["recall@1"].value == pytest.approx(run.results["pretrained"]["recall@1"].value)
    pixels = next(row for row in ranked.rows if row.name == "pixels")
    assert pixels.test["map@r"].value == pytest.approx(run.results["pixels"]["map@r"].value)


def test_differences_are_paired_with_the_features_of_the_same_backbone(ranked: Baseline) -> None:
    base = next(row for row in ranked.rows if row.name.endswith("features"))
    assert not base.differences
    for row in ranked.rows:
        if row.backbone and row is not base:
            gain = row.test["map@r"].value - base.test["map@r"].value
            assert row.differences["map@r"].value == pytest.approx(gain)


def test_the_command_that_it_prints_trains(ranked: Baseline, photos: Path, tmp_path: Path) -> None:
    assert ranked.command[:4] == ("metricforge", "train", "--dataset", str(photos))
    assert ranked.command[4:] == ("--backbone", SMALL, "--sampler", SAMPLER)
    words = [*ranked.command[1:], "--epochs", "1", "--out", str(tmp_path / "run"), "--quiet"]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert "pretrained" in done.stdout


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metricforge", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_or_json(photos: Path) -> None:
    options = ("--backbone", SMALL, "--sampler", SAMPLER, "--no-test", "--quiet")
    table = run("baseline", str(photos), *options)
    assert table.returncode == 0, table.stderr
    assert "choice  " in table.stdout
    assert "next    metricforge train --dataset" in table.stdout
    assert "test:" not in table.stdout  # the test classes stay closed
    done = run("baseline", str(photos), *options, "--json")
    record: dict[str, Any] = json.loads(done.stdout)
    assert record["choice"] == record["rows"][0]["name"]
    assert all(row["test"] == {} for row in record["rows"])


def test_one_that_is_stopped_names_no_run_that_is_gone(photos: Path) -> None:
    class Stopping(Listener):
        def record(self, record: Any, epochs: int) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"before anything was ranked; run .* again") as stopped:
        metricforge.baseline(
            str(photos), backbones=(SMALL,), samplers=(SAMPLER,), feature_cache="none",
            listener=Stopping(),
        )  # fmt: skip
    assert stopped.value.exit_code == 143


def test_it_is_refused_where_nothing_can_be_ranked(photos: Path) -> None:
    with pytest.raises(DataError, match="nothing can be ranked: 1 classes of 'photos' validate"):
        metricforge.baseline(
            str(photos),
            backbones=(SMALL,),
            split="classes:train=class00+class01+class02+class03,validation=class04,test=class05",
        )
    with pytest.raises(UsageError, match="unknown backbone"):
        metricforge.baseline(str(photos), backbones=("efficientnet-lite9",))


def test_few_classes_of_drawings_are_not_turned_into_more() -> None:
    """A turned image is embedded anew in each epoch, and no features of it are kept."""
    found = metricforge.baseline("digits", backbones=("conv4",), samplers=(SAMPLER,), test=False)
    assert {row.name for row in found.rows} == {
        "pixels", "conv4, features", "conv4, whitened", "conv4, head by hard-triplet",
    }  # fmt: skip


@pytest.mark.parametrize("dim", [3, 40])
def test_whitened_features_have_no_correlation_and_deviation_one(dim: int) -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(100, 8, generator=rng) @ torch.randn(8, 8, generator=rng) + 3
    rows = Whitening.of(features, dim)(features).double().numpy()
    assert rows.shape == (100, min(dim, 8))
    np.testing.assert_allclose(np.cov(rows.T), np.eye(rows.shape[1]), atol=1e-4)


def test_few_features_are_whitened_in_few_dimensions() -> None:
    features = torch.randn(10, 30, generator=torch.Generator().manual_seed(0))
    assert Whitening.of(features, 30)(features).shape == (10, 5)


@pytest.mark.parametrize("name", ["backbones", "samplers"])
@pytest.mark.parametrize("value", ["conv4", [], [torch.nn.Identity()]])
def test_what_is_no_list_of_specs_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is a list of specs"):
        metricforge.baseline("digits", **{name: value})


def test_random_weights_are_told_and_few_classes_suffice(photos: Path) -> None:
    found = metricforge.baseline(photos, backbones=("conv4", SMALL), test=False)
    assert "conv4 begins with random weights, not with pretrained ones." in found.notes
    assert sum("become RGB" in note for note in found.notes) == 2  # 64 and 32 pixels
    assert any("multi-similarity" in row.name for row in found.rows)  # of the six classes there are
    assert found.command[:4] == ("metricforge", "train", "--dataset", str(photos))
