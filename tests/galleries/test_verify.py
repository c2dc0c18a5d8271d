"""Whether two images are of one class, by thresholds that are saved with a model."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import metricforge
from metricforge.errors import UsageError
from metricforge.evaluation import Ranked, distances_of, draw_pairs
from metricforge.model_card import PairThreshold
from metricforge.scoring.pair_thresholds import pair_thresholds
from tests.cli.process import metricforge as command


def in_classes(names: range, images: Path) -> list[Path]:
    return [images / f"{name:02}" / f"{number}.png" for name in names for number in range(8)]


def test_a_model_knows_its_thresholds_by_its_validation_classes(run: Path, images: Path) -> None:
    """By hand: the FARs and TARs of all pairs of the twenty validation classes."""
    model = metricforge.load(run, device="cpu")
    rows = model.encode(in_classes(range(8, 28), images)).astype(np.float64)
    labels = np.arange(20).repeat(8)
    same, other = [], []
    for i, j in itertools.combinations(range(160), 2):
        (same if labels[i] == labels[j] else other).append(np.linalg.norm(rows[i] - rows[j]))
    rates = [each.far for each in model.card.pair_thresholds]
    assert rates == [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]
    for each in model.card.pair_thresholds:
        accepted = np.mean(np.array(other) <= each.distance + 1e-6)
        farther = min(d for d in other if d > each.distance + 1e-6)
        assert accepted <= each.far < np.mean(np.array(other) <= farther)
        assert each.tar == pytest.approx(np.mean(np.array(same) <= each.distance + 1e-6))
        assert 0 <= each.low <= each.far
        assert each.low < each.high <= 1


def test_pairs_of_new_classes_are_told_apart(run: Path, images: Path) -> None:
    model = metricforge.load(run, device="cpu")
    pairs = [(f"{n}/0.png", f"{n}/1.png") for n in range(28, 40)]
    same = [metricforge.verify(model, images / a, images / b) for a, b in pairs]
    other = [
        metricforge.verify(model, images / f"{a}/0.png", images / f"{b}/0.png")
        for a, b in itertools.combinations(range(28, 40), 2)
    ]
    assert np.mean([verdict.same for verdict in same]) > 0.8
    assert np.mean([verdict.same for verdict in other]) < 0.1
    assert {verdict.chosen for verdict in same} == {model.card.pair_thresholds[3]}
    looser = metricforge.verify(run, images / "28/0.png", images / "29/0.png", false_alarms=0.1)
    assert looser.threshold == model.card.pair_thresholds[0].distance
    assert looser.same == (looser.distance <= looser.threshold)


def test_a_distance_of_exactly_the_threshold_is_within(run: Path, images: Path) -> None:
    model, two = metricforge.load(run, device="cpu"), [images / "28/0.png", images / "29/0.png"]
    distance = metricforge.verify(model, *two).distance
    at = metricforge.verify(model, *two, threshold=distance)
    assert (at.same, at.chosen) == (True, None)
    assert not metricforge.verify(model, *two, threshold=distance * (1 - 1e-6)).same


def test_what_has_no_threshold_is_refused(run: Path, images: Path, tmp_path: Path) -> None:
    model, image = metricforge.load(run, device="cpu"), images / "28/0.png"
    with pytest.raises(UsageError, match=r"none for 0\.03: choose one of these"):
        metricforge.verify(model, image, image, false_alarms=0.03)
    with pytest.raises(UsageError, match="one of the two"):
        metricforge.verify(model, image, image, false_alarms=0.1, threshold=1.0)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="distance of 0 or more"):
            metricforge.verify(model, image, image, threshold=bad)
    model.card = replace(model.card, pair_thresholds=())
    with pytest.raises(UsageError, match="no thresholds"):
        metricforge.verify(model, image, image)
    assert metricforge.verify(model, image, image, threshold=0.0).same
    model.save(tmp_path / "none")
    assert metricforge.load(tmp_path / "none", device="cpu").card.pair_thresholds == ()
    with pytest.raises(ValueError, match="fraction"):
        PairThreshold(0.1, float("inf"), 0.5, 0.0, 0.2)


def test_few_pairs_choose_no_rare_threshold() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20, 4)).astype(np.float32)
    # 20 images of 5 classes are 160 pairs of two: ten of them are more than 5 %.
    rates = [each.far for each in pair_thresholds(rows, np.arange(20) % 5)]
    assert rates == [0.1]
    assert list(pair_thresholds(rows, np.arange(20))) == []
    assert list(pair_thresholds(rows, np.zeros(20, dtype=np.int64))) == []
    # All at one distance: no pair can be accepted without all.
    assert list(pair_thresholds(np.ones_like(rows), np.arange(20) % 5)) == []


def test_many_pairs_are_drawn_evenly_of_both_kinds() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60).repeat(10)
    rows = (rng.standard_normal((60, 4))[labels] + rng.standard_normal((600, 4))).astype(np.float32)
    every = draw_pairs(labels, 600**2)
    roc = Ranked(distances_of(rows, every), every).roc()
    for each in pair_thresholds(rows, labels):
        assert roc.within(each.distance)[1] == pytest.approx(each.far, rel=0.3)


def test_on_the_command_line(run: Path, images: Path, tmp_path: Path) -> None:
    first, second, third = (images / name for name in ("30/0.png", "30/1.png", "31/0.png"))
    told = command("verify", run, first, second, "--false-alarms", "5%")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"{first} and {second}: one class, distance ")
    assert told.stdout.splitlines()[1].startswith("within it are at most 5% [")
    assert " of validation pairs of two classes,\nand " in told.stdout
    shown = json.loads(command("verify", run, first, third, "--json").stdout)
    assert (shown["same"], shown["chosen"]["far"]) == (False, 0.01)
    own = command("verify", run, first, third, "--threshold", "9")
    assert own.stdout.endswith(" within 9.000\n")
    refused = command("verify", run, first, third, "--false-alarms", "3%")
    assert (refused.returncode, "none for 0.03" in refused.stderr) == (2, True)
    folder = command("verify", run, images / "30", third)
    assert (folder.returncode, "9 images; verify takes two" in folder.stderr) == (3, True)
