"""Open-set identification against a naive loop, and what a promised threshold keeps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from metricforge_standard.protocols.identification import Identification, estimated

from metricforge.contracts import Labelled, Validation
from metricforge.errors import DataError, DivergedError, UsageError
from metricforge.evaluation import (
    Confidence,
    OpenSet,
    Probes,
    classes_needed,
    draw_trials,
    least_share,
    probe,
    promised_thresholds,
    resampled_probes,
)


def classes_in_noise(classes, each, noise, seed=0, dim=6):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    points = rng.standard_normal((classes, dim))[labels]
    points = points + noise * rng.standard_normal((len(labels), dim))
    return points.astype(np.float32), labels


def labelled(labels):
    labels = torch.from_numpy(labels)
    return Labelled(labels, tuple(map(str, range(int(labels.max()) + 1))))


def naive(points, labels, trials, by):
    """For each probe of each trial: its class, rank of that (0: a stranger), least distance."""
    found = []
    for trial in trials:
        for group in trial.probes.tolist():
            row, asked = group[0], points[group].astype(np.float64).mean(axis=0)
            distances = {}
            for name in trial.classes.tolist():
                of_class = [r for r in trial.enrolled.tolist() if labels[r] == name]
                wide = points[of_class].astype(np.float64)
                known = [wide.mean(axis=0)] if by == "mean" else wide
                distances[name] = min(math.dist(asked, each) for each in known)
            ordered = sorted(distances, key=distances.__getitem__)
            own = int(labels[row])
            rank = ordered.index(own) + 1 if own in distances else 0
            found.append((row, own, rank, min(distances.values())))
    return found


def naive_rate(found, within):
    """The mean over classes of the fraction of their probes that is within."""
    by_class = {}
    for probed in found:
        by_class.setdefault(probed[1], []).append(bool(within(probed)))
    return sum(sum(each) / len(each) for each in by_class.values()) / len(by_class)


@pytest.mark.parametrize("by", ["mean", "nearest"])
@pytest.mark.parametrize(("shots", "together"), [(1, 1), (3, 1), (2, 3)])
def test_rates_are_those_of_a_naive_loop(by, shots, together):
    points, labels = classes_in_noise(9, 6, 0.7)
    labels[labels == 8] = 2  # classes of different sizes
    trials = draw_trials(labels, enrolled=4, shots=shots, trials=3, together=together)
    found = naive(points, labels, trials, by)
    probes = probe(points, labels, trials, by)
    rows, classes, ranks, distances = zip(*found, strict=True)
    assert (probes.images[:, 0].tolist(), probes.classes.tolist()) == (list(rows), list(classes))
    assert probes.ranks.tolist() == list(ranks)
    np.testing.assert_allclose(probes.distances, distances, rtol=1e-9)
    rates = OpenSet(probes)
    strangers = [each for each in found if each[2] == 0]
    mated = [each for each in found if each[2] > 0]
    for threshold in (0.5, 1.5, 2.5, 1e9):
        fpir = naive_rate(strangers, lambda each, t=threshold: each[3] < t)
        assert rates.fpir(threshold) == pytest.approx(fpir)
        right = naive_rate(mated, lambda each, t=threshold: each[2] == 1 and each[3] < t)
        assert rates.dir(threshold) == pytest.approx(right)
    for k in (1, 2, 4):
        assert rates.cmc(k) == pytest.approx(naive_rate(mated, lambda each, k=k: each[2] <= k))
    for fpir in (0.0, 0.05, 0.3, 0.99):
        allowed = [
            each[3] for each in strangers
            if naive_rate(strangers, lambda one, t=each[3]: one[3] < t) <= fpir + 1e-9
        ]  # fmt: skip
        assert rates.threshold(fpir) == pytest.approx(max(allowed))
    # Over all thresholds between distances, by the trapezoid rule.
    steps = [0.0, *sorted({d + 1e-9 for _, _, _, d in found})]
    curve = [(rates.fpir(t), rates.dir(t)) for t in steps]
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(curve))
    assert rates.area == pytest.approx(area)


def test_a_rate_that_rounding_has_raised_is_still_that_rate():
    """The sum of three tenths is above 0.3 in float64."""
    strangers = np.arange(10)
    probes = Probes(
        images=np.arange(11)[:, None],
        classes=np.append(strangers, 10),
        ranks=np.append(0 * strangers, 1),
        distances=np.append(1.0 + strangers, 3.5),
    )  # fmt: skip
    rates = OpenSet(probes)
    assert rates.threshold(0.3) == 4.0
    assert rates.dir(rates.threshold(0.3)) == 1


def test_each_class_is_a_stranger_about_as_often_and_small_ones_always():
    labels = np.repeat(np.arange(13), [1, 2, *[6] * 11])
    trials = draw_trials(labels, enrolled=7, shots=2, trials=2)
    assert len(trials) == 3  # 4 of 11 at a time
    often = np.zeros(13, dtype=int)
    for trial in trials:
        assert len(trial.classes) == 7
        assert np.bincount(labels[trial.enrolled], minlength=13)[trial.classes].tolist() == [2] * 7
        both = np.concatenate([trial.enrolled, trial.probes[:, 0]])
        assert np.sort(both).tolist() == list(range(len(labels)))
        often[np.setdiff1d(np.arange(13), trial.classes)] += 1
    assert often[:2].tolist() == [3, 3]
    assert set(often[2:].tolist()) == {1, 2}
    # Ties are for the class that was drawn first, which must not always be the same.
    assert any((np.diff(trial.classes) < 0).any() for trial in trials)
    again = draw_trials(labels, enrolled=7, shots=2, trials=2)
    assert all((a.enrolled == b.enrolled).all() for a, b in zip(trials, again, strict=True))


def test_classes_enrol_as_many_images_as_they_draw_but_keep_one_to_ask_with():
    labels = np.repeat(np.arange(12), [2, 3, *[9] * 10])
    trials = draw_trials(labels, enrolled=8, shots=[1, 5, 20], trials=30)
    sizes = {name: set() for name in range(12)}
    for trial in trials:
        for name in trial.classes.tolist():
            sizes[name].add(int((labels[trial.enrolled] == name).sum()))
    assert (sizes[0], sizes[1]) == ({1}, {1, 2})
    assert all(sizes[name] == {1, 5, 8} for name in range(2, 12))


def test_too_few_classes_are_refused():
    with pytest.raises(DataError, match=r"3 images or more, .*; 4 of 4 classes have as many"):
        draw_trials(np.repeat(np.arange(4), 3), enrolled=4, shots=2, trials=1)
    with pytest.raises(DataError, match=r"4 images or more, .*; 0 of 4 classes have as many"):
        draw_trials(np.repeat(np.arange(4), 3), enrolled=1, shots=3, trials=1)


def test_identical_embeddings_are_at_chance_and_all_strangers_unknown():
    labels = np.repeat(np.arange(20), 8)
    trials = draw_trials(labels, enrolled=10, shots=2, trials=40)
    rates = OpenSet(probe(np.ones((160, 4), np.float32), labels, trials, "mean"))
    assert rates.cmc(1) == pytest.approx(0.1, abs=0.03)
    assert (rates.dir(rates.threshold(0.5)), rates.fpir(rates.threshold(0.5))) == (0, 0)
    assert rates.area == pytest.approx(rates.cmc(1) / 2)


def test_classes_of_a_bootstrap_count_as_often_as_they_were_drawn():
    points, labels = classes_in_noise(12, 5, 0.5)
    trials = draw_trials(labels, enrolled=6, shots=1, trials=4)
    probes = probe(points, labels, trials, "mean")
    samples, over, count = resampled_probes(probes, 20)
    assert (over, count) == ("classes", 12)
    for weights in samples:
        drawn = {int(c): weights[probes.classes == c][0] for c in range(12)}
        strangers = {
            c: w for c, w in drawn.items() if (probes.ranks[probes.classes == c] == 0).any()
        }
        expected = sum(
            w * (probes.distances[(probes.classes == c) & (probes.ranks == 0)] < 1.5).mean()
            for c, w in strangers.items()
        ) / sum(strangers.values())
        assert OpenSet(probes, weights).fpir(1.5) == pytest.approx(expected)
    few = probe(
        points[:45], labels[:45], draw_trials(labels[:45], enrolled=4, shots=1, trials=2), "mean"
    )
    assert resampled_probes(few, 5)[1:] == ("images", 45)


@pytest.mark.parametrize(
    ("classes", "enrolled", "least"),
    [(99, 50, 0.01), (19, 19, 0.1), (20, 19, 1 / 21), (10, 50, 6 / 11), (3, 50, 1.0), (1, 1, 1.0)],
)
def test_what_so_many_classes_can_promise(classes, enrolled, least):
    assert least_share(classes, enrolled) == pytest.approx(least)
    if least < 1:
        assert classes_needed(least, enrolled) <= classes
        assert least_share(classes_needed(least, enrolled), enrolled) <= least + 1e-9


@pytest.mark.parametrize(
    ("share", "enrolled", "needed"), [(0.01, 50, 99), (0.05, 50, 39), (0.1, 81, 29)]
)
def test_how_many_classes_a_promise_needs(share, enrolled, needed):
    assert classes_needed(share, enrolled) == needed
    assert least_share(needed, enrolled) <= share + 1e-12 < least_share(needed - 1, enrolled)


@pytest.mark.parametrize("by", ["mean", "nearest"])
def test_a_promise_is_kept_over_new_classes_and_is_no_looser_than_it_must_be(by):
    """Over populations drawn anew: the mean over these is what is promised."""
    shares = (0.05, 0.2)
    passed = {share: [] for share in shares}
    for seed in range(60):
        points, labels = classes_in_noise(100, 6, 0.6, seed=seed)
        old, new = labels < 40, labels >= 40
        thresholds = promised_thresholds(
            points[old], labels[old], shares, enrolled=15, shots=2, by=by, trials=6
        )
        assert thresholds[0.05] < thresholds[0.2]
        trials = draw_trials(labels[new], enrolled=15, shots=2, trials=4, seed=seed)
        rates = OpenSet(probe(points[new], labels[new], trials, by))
        for share, threshold in thresholds.items():
            passed[share].append(rates.fpir(threshold))
    for share, rates in passed.items():
        error = np.std(rates) / math.sqrt(len(rates))
        assert share - 1 / 41 - 4 * error < np.mean(rates) <= share + 2 * error


def test_a_promise_for_more_classes_than_can_be_tried_is_stricter_and_is_kept():
    passed = []
    for seed in range(40):
        points, labels = classes_in_noise(150, 5, 0.6, seed=seed)
        old, new = labels < 50, labels >= 50
        given = {"shots": 2, "trials": 4}
        few, many = (
            promised_thresholds(points[old], labels[old], [0.1], enrolled=each, **given)[0.1]
            for each in (25, 98)
        )
        assert many < few
        trials = draw_trials(labels[new], enrolled=98, shots=2, trials=2, seed=seed)
        passed.append(OpenSet(probe(points[new], labels[new], trials, "mean")).fpir(many))
    assert np.mean(passed) <= 0.1


def test_images_that_ask_together_are_of_one_class_and_each_is_as_often_in_a_group():
    labels = np.repeat(np.arange(8), [2, 3, *[7] * 6])
    for trial in draw_trials(labels, enrolled=4, shots=[2, 6], trials=5, together=3):
        groups = trial.probes
        assert (labels[groups] == labels[groups[:, :1]]).all()
        assert all(len(set(group)) == 3 for group in groups.tolist())
        asking = np.setdiff1d(np.flatnonzero(labels > 0), trial.enrolled)
        assert np.unique(groups, return_counts=True)[0].tolist() == asking.tolist()
        assert set(np.unique(groups, return_counts=True)[1]) == {3}
        # All but three of a class are enrolled at most.
        assert set(np.bincount(labels[trial.enrolled])[trial.classes]) <= {2, 4}
    with pytest.raises(DataError, match=r"classes of 8 images or more.*; 0 of 8"):
        draw_trials(labels, enrolled=4, shots=5, trials=1, together=3)


def test_what_is_not_enough_promises_nothing():
    points, labels = classes_in_noise(12, 4, 0.3)
    assert promised_thresholds(points, labels, [0.01], enrolled=5, shots=1) == {}
    assert promised_thresholds(points, labels, [0.5], enrolled=5, shots=9) == {}
    assert promised_thresholds(points[:4], labels[:4], [0.5], enrolled=5, shots=1) == {}


def test_the_protocol_reports_what_was_promised():
    points, labels = classes_in_noise(40, 8, 0.6)
    others, theirs = classes_in_noise(30, 8, 0.6, seed=1)
    validation = Validation(torch.from_numpy(others), labelled(theirs))
    protocol = Identification(fpir=(0.1, 0.01), shots=2)
    result = protocol.evaluate(torch.from_numpy(points), labelled(labels), validation)
    threshold = promised_thresholds(others, theirs, [0.1], enrolled=20, shots=2)[0.1]
    rates = OpenSet(
        probe(points, labels, draw_trials(labels, enrolled=20, shots=2, trials=10), "mean")
    )
    values = {name: estimate.value for name, estimate in result.estimates.items()}
    assert values == {
        "cmc@1": rates.cmc(1),
        "cmc@5": rates.cmc(5),
        "oscr": rates.area,
        "dir@fpir=0.1": rates.dir(rates.threshold(0.1)),
        "dir@fpir=0.01": rates.dir(rates.threshold(0.01)),
        "fpir@promised=0.1": rates.fpir(threshold),
        "dir@promised=0.1": rates.dir(threshold),
        "ece": Confidence.of(
            probe(others, theirs, draw_trials(theirs, enrolled=20, shots=2, trials=10), "mean")
        ).error(rates.probes),
    }
    assert "more validation classes than 30, if 20 are enrolled: 99 for 0.01" in result.notes[1]
    assert all(
        e.low <= e.value <= e.high and e.over == "classes" for e in result.estimates.values()
    )


def naive_error(probes, confidence, weights):
    """Bin by bin, as Guo et al. write it, with weights."""
    total = 0.0
    for low in range(15):
        members = [
            (weight, rank == 1, value)
            for weight, rank, value in zip(
                weights, probes.ranks, confidence.at(probes.distances), strict=True
            )
            if low <= value * 15 < low + 1 or (low == 14 and value == 1)
        ]
        if mass := sum(weight for weight, _, _ in members):
            accuracy = sum(weight * right for weight, right, _ in members) / mass
            mean = sum(weight * value for weight, _, value in members) / mass
            total += mass * abs(accuracy - mean)
    return total


def test_the_calibration_error_is_that_of_a_naive_loop_and_small_for_the_like():
    points, labels = classes_in_noise(60, 8, 0.7)
    labels[labels == 59] = 2  # classes of different sizes
    drawn = draw_trials(labels, enrolled=20, shots=2, trials=6)
    confidence = Confidence.of(probe(points, labels, drawn, "mean"))
    others, theirs = classes_in_noise(90, 8, 0.7, seed=1)
    probes = probe(others, theirs, draw_trials(theirs, enrolled=20, shots=2, trials=6), "mean")
    rng = np.random.default_rng(0)
    for often in (
        np.ones(len(probes.images)),
        rng.integers(0, 3, 90)[probes.classes].astype(float),
    ):
        weights = np.zeros(len(often))
        for kind in (probes.ranks == 0, probes.ranks > 0):
            of_kind = probes.classes[kind]
            each = often[kind] / [(of_kind == name).sum() for name in of_kind]
            weights[kind] = each / each.sum() / 2
        expected = naive_error(probes, confidence, weights)
        assert confidence.error(probes, often) == pytest.approx(expected)
    assert confidence.error(probes) < 0.1
    overconfident = Confidence((0.0, 100.0), (1.0, 1.0))
    right = OpenSet(probes).cmc(1) / 2
    assert overconfident.error(probes) == pytest.approx(1 - right)


@pytest.mark.parametrize(
    "option", [{"fpir": (0.0,)}, {"fpir": (0.1, 0.1)}, {"k": (0,)}, {"shots": 0}]
)
def test_options_out_of_bounds_are_refused(option):
    with pytest.raises(UsageError, match="identification needs"):
        Identification(**option)


def test_embeddings_that_are_not_finite_are_refused():
    points, labels = classes_in_noise(6, 4, 0.3)
    points[3, 1] = np.nan
    with pytest.raises(DivergedError, match="rows 3"):
        Identification().evaluate(torch.from_numpy(points), labelled(labels))


def test_the_interval_of_the_calibration_error_holds_none_for_a_calibrated_system():
    """Chance gaps of bins add up: the plain interval of a bootstrap never held 0 here."""
    confidence = Confidence((0.0, 1.0), (1.0, 0.0))
    held = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        distances = rng.random(400)
        right = rng.random(400) < 1 - distances
        classes = np.where(right, rng.integers(0, 20, 400), 20 + rng.integers(0, 20, 400))
        probes = Probes(np.arange(400)[:, None], classes, right.astype(int), distances)
        samples, over, units = resampled_probes(probes, 200)
        each = [confidence.error(probes, weights) for weights in samples]
        value = confidence.error(probes)
        estimate = estimated("ece", value, each, units, over)
        plain = estimated("oscr", value, each, units, over)
        assert (estimate.low, estimate.high) == (0, plain.high)
        held.append(plain.low > 0)
    assert all(held)


def test_far_from_the_origin_distances_are_those_near_it():
    points, labels = classes_in_noise(9, 6, 0.7)
    near = np.round(points * 64) / 64  # so that adding the offset rounds nothing
    trials = draw_trials(labels, enrolled=4, shots=2, trials=2)
    far = probe(near.astype(np.float64) + 2.0**40, labels, trials, "nearest")
    expected = probe(near, labels, trials, "nearest")
    assert far.distances == pytest.approx(expected.distances, rel=1e-9)
