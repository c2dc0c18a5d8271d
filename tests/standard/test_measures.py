"""The protocols beside retrieval and oneshot: names, intervals, notes, refusals."""

from __future__ import annotations

import pytest
import torch
from metricforge_standard.protocols.clustering import Clustering
from metricforge_standard.protocols.identification import Identification
from metricforge_standard.protocols.knn import KNN
from metricforge_standard.protocols.verification import Verification

from metricforge.contracts import Labelled
from metricforge.errors import DataError, DivergedError, UsageError

EVERY = [Verification(pairs=20_000), Identification(), Clustering(), KNN()]


def clusters(classes, each, noise=0.6):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(each)
    points = torch.randn(classes, 16, generator=generator)[labels]
    points = points + noise * torch.randn(len(labels), 16, generator=generator)
    names = tuple(f"class {c}" for c in range(classes))
    return torch.nn.functional.normalize(points), Labelled(labels, names)


@pytest.mark.parametrize("protocol", EVERY, ids=lambda p: type(p).__name__)
def test_every_number_has_an_interval_and_a_definition_and_repeats(protocol):
    points, images = clusters(12, 12, noise=1.5)
    result = protocol.evaluate(points, images)
    assert result.estimates
    assert result.estimates.keys() == result.definitions.keys()
    for estimate in result.estimates.values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert protocol.evaluate(points, images) == result


@pytest.mark.parametrize("protocol", EVERY, ids=lambda p: type(p).__name__)
def test_nan_is_refused(protocol):
    points, images = clusters(4, 12)
    points[3, 0] = torch.nan
    with pytest.raises(DivergedError):
        protocol.evaluate(points, images)


def test_separate_classes_are_told_without_error():
    points, images = clusters(12, 12, noise=0.01)
    verified = Verification().evaluate(points, images).estimates
    assert verified["auc"].value == verified["tar@far=0.1"].value == 1
    assert verified["eer"].value == 0
    assert Clustering().evaluate(points, images).estimates["ami"].value > 0.9
    assert KNN(shots=(1,)).evaluate(points, images).estimates["accuracy@1-labelled"].value == 1


def test_more_labelled_images_help():
    estimates = KNN(shots=(1, 5)).evaluate(*clusters(12, 12, noise=1.5)).estimates
    assert estimates["accuracy@5-labelled"].low > estimates["accuracy@1-labelled"].high


def test_what_is_collapsed_is_chance_and_said():
    images = clusters(12, 12)[1]
    points = torch.ones(144, 16)
    verified = Verification().evaluate(points, images)
    assert verified.estimates["auc"].value == 0.5
    assert any("collapsed" in note for note in verified.notes)
    told = KNN(shots=(1,)).evaluate(points, images).estimates["accuracy@1-labelled"]
    assert told.value < 0.2
    assert Clustering().evaluate(points, images).estimates["ami"].value < 0.1


def test_few_pairs_and_drawn_pairs_are_said():
    points, images = clusters(12, 12)
    notes = Verification(pairs=2_000).evaluate(points, images).notes
    assert "2,000 pairs drawn of 10,296" in notes[0]
    assert "A FAR of 0.001, 0.0001 is read off fewer than 10 of 1,000 pairs" in notes[1]


def test_shots_beyond_every_class_are_said():
    result = KNN(shots=(1, 12, 20)).evaluate(*clusters(4, 12))
    assert list(result.estimates) == ["accuracy@1-labelled"]
    assert result.notes == ("No class has more than 12, 20 images: so many can't be labelled.",)


@pytest.mark.parametrize(
    ("protocol", "classes", "each"),
    [(Verification(), 1, 5), (Verification(), 5, 1), (Clustering(), 1, 5), (KNN(), 5, 1)],
)
def test_too_little_is_a_data_error(protocol, classes, each):
    with pytest.raises(DataError):
        protocol.evaluate(*clusters(classes, each))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Verification(far=()), "far between 0 and 1"),
        (lambda: Verification(far=(0.0,)), "far between 0 and 1"),
        (lambda: Verification(far=(0.1, 0.1)), "different rates far"),
        (lambda: Verification(pairs=1), "pairs >= 2"),
        (lambda: Clustering(seeds=0), "seeds >= 1"),
        (lambda: KNN(shots=(0,)), "different shots"),
        (lambda: KNN(shots=(1, 1)), "different shots"),
        (lambda: KNN(repeats=0), "repeats >= 1"),
    ],
)
def test_wrong_options_are_named(make, named):
    with pytest.raises(UsageError, match=named):
        make()
