"""Listed pairs of images: which are read, and what verification makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from metricforge_standard.protocols.verification import Verification

import metricforge
from metricforge.contracts import Dataset
from metricforge.errors import DataError
from metricforge.evaluation import ImagePairs, Ranked, distances_of
from metricforge.scoring.apply import labelled_part
from metricforge.scoring.pair_files import read_pairs
from tests.cli.process import metricforge as command


def listed(*names: str) -> Dataset:
    """A dataset of files, each of the class that its folder names."""
    folders = [Path(name).parent.name for name in names]
    classes = tuple(sorted(set(folders)))
    labels = torch.tensor([classes.index(folder) for folder in folders])
    return Dataset("faces", [Path(name) for name in names], labels, classes, (3, 8, 8))


FACES = listed("/f/anna/1.jpg", "/f/anna/2.jpg", "/f/bob/1.jpg", "/f/bob/2.jpg", "/f/cy/cy 3.jpg")


def written(path: Path, text: str) -> Path:
    file = path / "pairs.csv"
    file.write_text(text)
    return file


def test_pairs_are_files_or_indices(tmp_path: Path) -> None:
    text = (
        "first,second,same\nanna/1.jpg,anna/2.jpg,1\n/f/anna/1.jpg,bob/1.jpg,0\n"
        "cy 3.jpg,2,different\n"
    )
    assert read_pairs(written(tmp_path, text), FACES).tolist() == [[0, 1], [0, 2], [4, 2]]
    text = "second;first\n4;0\n"
    assert read_pairs(written(tmp_path, text), FACES).tolist() == [[0, 4]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("first,second\n1.jpg,bob/1.jpg\n", r"pairs.csv:2 has '1.jpg', which 2 images"),
        ("first,second\nbob/1.jpg,bob/9.jpg\n", r":2 has 'bob/9.jpg', which is no file of 'faces'"),
        ("first,second\nob/1.jpg,0\n", "no file of 'faces'"),
        ("first,second\n0,5\n", "no index below 5"),
        ("first,second\n0,-1\n", "no index below 5"),
        ("first,second\n0,\n", r":2 has no image in a cell"),
        ("first,second\n1,anna/2.jpg\n", r":2 pairs an image with itself"),
        ("first,second\n0,1\n2,3\n1,0\n", r":2 lists a pair that is listed 2 times"),
        ("first,second,same\n0,2,0\n0,1,0\n", r":3 differs from the labels, .* 'anna' and 'anna'"),
        ("first,second,same\n0,1,maybe\n", r":2 has 'maybe' for same; choices: 1, true, same"),
        ("first,second\n", "lists no pairs"),
        ("first,other\n0,1\n", "has no column 'second'"),
    ],
)
def test_what_is_no_pair_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_pairs(written(tmp_path, text), FACES)
    with pytest.raises(DataError, match="is not a file"):
        read_pairs(tmp_path, FACES)


def test_pairs_of_a_part_are_those_with_both_images_in_it() -> None:
    dataset = replace(FACES, pairs=torch.tensor([[0, 1], [4, 1], [2, 3], [3, 4]]))
    part = labelled_part(dataset, torch.tensor([4, 1, 3]))
    assert part.pairs is not None
    assert part.pairs.tolist() == [[0, 1], [2, 0]]
    assert labelled_part(FACES, torch.tensor([4, 1])).pairs is None


def test_verification_is_of_the_listed_pairs_alone() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(30).repeat(6)
    points = (rng.standard_normal((30, 4))[labels] + rng.standard_normal((180, 4))).astype("f4")
    first = rng.integers(0, 90, 400)
    second = np.where(rng.random(400) < 0.5, first // 6 * 6 + rng.integers(0, 6, 400), first + 6)
    kept = first != second
    first, second = first[kept], second[kept]
    same = labels[first] == labels[second]
    dataset = Dataset(
        "points", torch.from_numpy(points), torch.from_numpy(labels), tuple(map(str, range(30))),
        (4,), pairs=torch.from_numpy(np.stack([first, second], axis=1)),
    )  # fmt: skip
    images = labelled_part(dataset, torch.arange(180))
    result = Verification(far=(0.1,)).evaluate(torch.from_numpy(points), images)
    distances = np.linalg.norm(points[first].astype(float) - points[second], axis=1)
    nearer = [(a < b) + (a == b) / 2 for a in distances[same] for b in distances[~same]]
    assert result.estimates["auc"].value == pytest.approx(np.mean(nearer))
    # Fifteen or sixteen of the thirty classes are in a pair.
    assert result.estimates["auc"].n == len(np.unique(labels[np.r_[first, second]]))
    assert result.notes[0] == f"Verification is over {len(first):,} listed pairs."
    pairs = ImagePairs(first, second, same)
    at = Ranked(distances_of(points, pairs), pairs).roc().distance_at(0.1)
    assert f"Distances at these FARs: {at:.4g} at 0.1." in result.notes
    nobody = replace(images, pairs=torch.zeros(0, 2, dtype=torch.int64))
    with pytest.raises(DataError, match="0 listed pairs are of images that are tested"):
        Verification().evaluate(torch.from_numpy(points), nobody)


def test_on_the_command_line_of_embeddings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(20).repeat(4)
    noise = 0.1 * rng.standard_normal((80, 8))
    points = (rng.standard_normal((20, 8))[labels] + noise).astype("f4")
    np.save(tmp_path / "e.npy", points)
    np.save(tmp_path / "l.npy", labels)
    rows = [f"{4 * n},{4 * n + 1},1\n{4 * n},{(4 * n + 6) % 80},0\n" for n in range(20)]
    pairs = written(tmp_path, "first,second,same\n" + "".join(rows))
    files = ("--embeddings", tmp_path / "e.npy", "--labels", tmp_path / "l.npy")
    told = command("evaluate", *files, "--pairs", pairs, "--json")
    assert told.returncode == 0, told.stderr
    measured = json.loads(told.stdout)
    metrics = next(iter(measured["results"].values()))
    assert metrics["auc"]["value"] == 1
    assert "recall@1" not in metrics
    assert "Verification is over 40 listed pairs." in measured["notes"]
    part = metricforge.evaluate(points[:40], labels[:40], pairs=None)
    assert not any("listed" in note for note in part.notes)
    both = command(
        "evaluate", *files, "--pairs", pairs, "--protocol", "retrieval", "--protocol",
        "verification:far=0.1", "--json",
    )  # fmt: skip
    metrics = next(iter(json.loads(both.stdout)["results"].values()))
    assert {"recall@1", "tar@far=0.1"} <= set(metrics)
    assert "tar@far=0.01" not in metrics
    assert command("evaluate", *files, "--pairs", tmp_path / "none.csv").returncode == 3
    evaluation = metricforge.evaluate(points, labels, pairs=pairs)
    (metrics,) = evaluation.results.values()
    assert metrics["eer"].value == 0
