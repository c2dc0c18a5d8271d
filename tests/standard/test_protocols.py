"""The standard protocols: their names, notes, refusals, and repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from metricforge_standard.protocols.oneshot import OneShot
from metricforge_standard.protocols.retrieval import Retrieval

from metricforge.contracts import EvaluationProtocol, Labelled
from metricforge.errors import DataError, DivergedError, UsageError
from metricforge.evaluation import score_retrieval
from metricforge.spec import Spec, bind


def labelled(labels):
    labels = torch.as_tensor(labels, dtype=torch.int64)
    return Labelled(labels, tuple(f"class {c}" for c in range(int(labels.max()) + 1)))


def clusters(classes, each, dim=16, noise=0.6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    centres = torch.randn(classes, dim, generator=generator)
    points = centres[labels] + noise * torch.randn(len(labels), dim, generator=generator)
    return torch.nn.functional.normalize(points), labelled(labels)


def test_retrieval_gives_every_metric_with_an_interval():
    points, images = clusters(15, 8, noise=1.2)
    result = Retrieval().evaluate(points, images)
    assert list(result.estimates) == [
        "recall@1", "recall@2", "recall@4", "recall@8", "precision@1", "r_precision", "map@r",
        "ndcg@r", "mrr", "recall@1-macro", "map@r-macro",
    ]  # fmt: skip
    assert result.notes == ()
    scores = score_retrieval(points.numpy(), images.labels.numpy(), [1])
    assert result.estimates["map@r"].value == pytest.approx(scores.map_at_r.mean())
    for estimate in result.estimates.values():
        assert 0 < estimate.low < estimate.value < estimate.high <= 1
        assert (estimate.n, estimate.over) == (15, "classes")


def test_a_few_classes_are_said_to_speak_for_themselves():
    result = Retrieval(k=(1,)).evaluate(*clusters(4, 10, noise=1.2))
    assert {e.over for e in result.estimates.values()} == {"queries"}
    assert "With 4 classes" in result.notes[0]


def test_images_alone_in_their_class_are_counted():
    points, images = clusters(12, 5)
    images = labelled([*images.labels[:-2].tolist(), 20, 21])
    result = Retrieval().evaluate(points, images)
    assert "2 of 60 images are the only one of their class" in result.notes[0]


def test_a_k_beyond_the_gallery_is_said():
    result = Retrieval(k=(1, 99)).evaluate(*clusters(2, 3))
    assert result.estimates["recall@99"].value == 1.0
    assert any("recall@99 looks at all 5 other images" in note for note in result.notes)


def test_nothing_to_retrieve_is_a_data_error():
    with pytest.raises(DataError, match="none of these 6 images"):
        Retrieval().evaluate(torch.randn(6, 2), labelled(range(6)))


@pytest.mark.parametrize("k", ["", "0", "1+", "-1", "two", "1+1", "1.5", "1+0"])
def test_a_list_of_depths_that_is_none_is_refused(k):
    with pytest.raises(UsageError, match=r"'k'|depths k"):
        Retrieval(**bind(Retrieval, Spec.parse(f"retrieval:k={k}"), "protocol 'retrieval'"))


def test_options_come_from_a_spec():
    assert Retrieval(**bind(Retrieval, Spec.parse("retrieval:k=5+1"), "it")).ks == (1, 5)
    bound = bind(OneShot, Spec.parse("oneshot:way=5,classifier=nearest"), "it")
    assert (bound["way"], bound["classifier"], bound["episodes"]) == (5, "nearest", 1000)
    assert OneShot(**bind(OneShot, Spec.parse("oneshot:way=none"), "it")).way is None


def test_oneshot_is_twenty_way_where_it_can_be():
    result = OneShot(episodes=200).evaluate(*clusters(30, 8, noise=1.0))
    (name, estimate), = result.estimates.items()  # fmt: skip
    assert name == "accuracy@20way1shot"
    assert 0.1 < estimate.low < estimate.value < estimate.high < 1
    assert (estimate.n, estimate.over) == (200, "episodes")
    assert result.notes == ()


def test_oneshot_says_when_it_has_fewer_ways():
    points, images = clusters(8, 8)
    images = labelled([*images.labels[:-4].tolist(), 8, 8, 8, 8])
    result = OneShot(episodes=50).evaluate(points, images)
    assert list(result.estimates) == ["accuracy@7way1shot"]
    assert "2 of 9 classes have fewer than 6 images" in result.notes[0]
    assert "7-way, not 20-way" in result.notes[1]
    asked = OneShot(way=7, episodes=50).evaluate(points, images)
    assert asked.estimates == result.estimates
    assert len(asked.notes) == 1


def test_more_shots_and_both_classifiers_work():
    points, images = clusters(10, 12, noise=1.5)
    means = {}
    for shot in (1, 5):
        for classifier in ("prototype", "nearest"):
            protocol = OneShot(way=5, shot=shot, classifier=classifier, episodes=300)
            result = protocol.evaluate(points, images)
            means[shot, classifier] = result.estimates[f"accuracy@5way{shot}shot"].value
    assert means[1, "prototype"] == means[1, "nearest"]
    assert means[5, "prototype"] > means[5, "nearest"] > means[1, "nearest"]


def test_too_few_classes_is_a_data_error():
    with pytest.raises(DataError, match="20 classes of at least 6 images; 9 of these 9"):
        OneShot(way=20).evaluate(*clusters(9, 6))
    with pytest.raises(DataError, match="2 classes of at least 6 images; 0 of these 9"):
        OneShot(queries=5).evaluate(*clusters(9, 5))


@pytest.mark.parametrize(
    ("option", "value"), [("way", 1), ("way", 0), ("shot", 0), ("queries", 0), ("episodes", 0)]
)
def test_sizes_that_make_no_episode_are_refused(option, value):
    with pytest.raises(UsageError, match=f"'{option}' .* not {value}"):
        OneShot(**{option: value})


def test_a_negative_seed_is_refused():
    with pytest.raises(UsageError, match="'seed'"):
        OneShot(seed=-1)


PROTOCOLS = [Retrieval(), OneShot(episodes=100), OneShot(episodes=100, classifier="nearest")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collapse_is_said_and_scores_chance(protocol: EvaluationProtocol):
    points, images = clusters(50, 10)
    result = protocol.evaluate(torch.full_like(points, 0.7), images)
    assert any("collapsed" in note for note in result.notes)
    chance = {"recall@1": 9 / 499, "r_precision": 9 / 499, "accuracy@20way1shot": 1 / 20}
    for name in chance.keys() & result.estimates.keys():
        assert result.estimates[name].value == pytest.approx(chance[name], abs=0.005)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_zero_embeddings_are_counted_and_finite(protocol: EvaluationProtocol):
    points, images = clusters(30, 10)
    points[:3] = 0
    result = protocol.evaluate(points, images)
    assert "3 of 300 embeddings are all zeros." in result.notes
    assert np.isfinite([e.value for e in result.estimates.values()]).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_number_that_is_none_is_refused(protocol: EvaluationProtocol):
    points, images = clusters(30, 10)
    points[17, 2] = torch.nan
    with pytest.raises(DivergedError, match="rows 17"):
        protocol.evaluate(points, images)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_evaluation_twice_gives_the_same_bytes(protocol: EvaluationProtocol):
    points, images = clusters(30, 10)
    assert repr(protocol.evaluate(points, images)) == repr(protocol.evaluate(points, images))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_embeddings_that_still_have_a_graph_are_taken(protocol: EvaluationProtocol):
    points, images = clusters(30, 10)
    tracked = points.clone().requires_grad_()
    assert protocol.evaluate(tracked, images) == protocol.evaluate(points, images)
