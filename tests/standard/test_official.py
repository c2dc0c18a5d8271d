"""Official episodes: drawn from the table, given by a dataset, mapped to the part measured."""

from __future__ import annotations

import io
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from metricforge_standard.datasets._drawings import read_drawings
from metricforge_standard.datasets._omniglot_trials import official_trials
from metricforge_standard.protocols.oneshot import OneShot
from PIL import Image

from metricforge.contracts import Dataset, Labelled, Trials
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import draw
from metricforge.scoring.apply import labelled_part


def test_the_table_is_the_official_task(omniglot_root):
    """Image for image, as the archive has them: 20 runs of 20 trials."""
    folder = omniglot_root / "omniglot-py"
    if not (folder / "all_runs.zip").is_file():
        pytest.skip("all_runs.zip is not there")
    drawings = read_drawings(folder / "images_evaluation.zip", 13_180)
    trials = official_trials(drawings)["omniglot"]
    assert trials.support.shape == (20, 20, 1)
    assert trials.queries.shape == (20, 20)

    def pixels(png):
        return np.asarray(Image.open(io.BytesIO(png)).convert("1"))

    with ZipFile(folder / "all_runs.zip") as archive:
        for run in range(20):
            name = f"run{run + 1:02d}"
            lines = archive.read(f"{name}/class_labels.txt").decode().split()
            answers = dict(zip(lines[::2], lines[1::2], strict=True))
            support = [archive.read(f"{name}/training/class{k:02d}.png") for k in range(1, 21)]
            for place, png in enumerate(support):
                ours = drawings[int(trials.support[run, place, 0])].png
                assert (pixels(png) == pixels(ours)).all()
            for item, answer in answers.items():
                place = int(answer[-6:-4]) - 1
                ours = drawings[int(trials.queries[run, place])].png
                assert (pixels(archive.read(item)) == pixels(ours)).all()


def test_a_part_of_the_drawings_has_no_official_task():
    assert official_trials([]) == {}


def dataset(**options):
    return Dataset(
        name="made",
        images=torch.zeros(8, 1, 2, 2, dtype=torch.uint8),
        labels=torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]),
        classes=("a", "b", "c", "d"),
        shape=(1, 2, 2),
        **options,
    )


TRIALS = Trials(torch.tensor([[[4], [6]]]), torch.tensor([[5, 7]]), "runs")


def test_trials_are_mapped_to_the_rows_of_the_part():
    made = dataset(trials={"test": TRIALS, "other": Trials(TRIALS.support - 4, TRIALS.queries)})
    images = labelled_part(made, torch.tensor([7, 6, 5, 4]))
    assert list(images.trials) == ["test"]
    assert images.trials["test"].support.tolist() == [[[3], [1]]]
    assert images.trials["test"].queries.tolist() == [[2, 0]]
    assert images.places.tolist() == [7, 6, 5, 4]


def test_official_episodes_are_scored_as_an_error_over_runs():
    rows = torch.tensor([[0.0], [0.1], [1.0], [0.2]])
    labels, classes = torch.tensor([0, 0, 1, 1]), ("a", "b")
    given = Trials(torch.tensor([[[0], [2]]] * 2), torch.tensor([[1, 3]] * 2), "runs", "error")
    images = Labelled(labels, classes, trials={"made": given})
    result = OneShot(official="made").evaluate(rows, images)
    assert result.estimates["error@made"].value == 0.5
    assert result.estimates["error@made"].over == "runs"
    assert result.notes[0] == "error@made of the runs: 0.5, 0.5"
    with pytest.raises(UsageError, match="made"):
        OneShot(official="maid").evaluate(rows, images)
    with pytest.raises(DataError, match="don't hold"):
        OneShot(official="made").evaluate(rows, Labelled(labels, classes))


def test_episodes_within_a_group_hold_classes_of_one():
    labels = np.repeat(np.arange(12), 6)
    groups = np.repeat([0, 1, 2], [30, 12, 30])  # of five classes, two and five
    drawn = draw(labels, way=4, shot=1, queries=2, episodes=50, groups=groups)
    of_episode = groups[drawn.support[:, :, 0]]
    assert (of_episode == of_episode[:, :1]).all()
    assert np.bincount(of_episode[:, 0]).tolist() == [25, 0, 25]
    assert {tuple(np.unique(row)) for row in labels[drawn.support[:, :, 0]]} > {(0, 1, 2, 3)}
    with pytest.raises(DataError, match="largest of 3 has 5"):
        draw(labels, way=6, shot=1, queries=2, episodes=1, groups=groups)


def test_within_a_group_says_so_and_needs_groups():
    labels = torch.arange(12).repeat_interleave(6)
    groups = torch.arange(12).repeat_interleave(6) // 4
    rows = torch.randn(72, 4, generator=torch.Generator().manual_seed(0))
    names = tuple("abcdefghijkl")
    result = OneShot(within="group").evaluate(rows, Labelled(labels, names, groups))
    assert list(result.estimates) == ["accuracy@4way1shot-within-group"]
    with pytest.raises(DataError, match="groups"):
        OneShot(within="group").evaluate(rows, Labelled(labels, names))
