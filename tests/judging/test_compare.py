"""Comparing runs: paired differences, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import metricforge
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import over_differences
from metricforge.judging.compare import _apart
from tests.cli.process import metricforge as command

SHORT = {"dataset": "digits", "epochs": 1, "orientations": 1, "test": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two of one split, one of another."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "first": {},
        "second": {"seed": 1, "split": "random:seed=0"},
        "other": {"split": "random:seed=5"},
        "mlp": {"head": "mlp", "split": "random:seed=0"},
        "mlp-2": {"head": "mlp", "split": "random:seed=0", "seed": 2},
    }
    for name, more in options.items():
        metricforge.train(out=folder / name, sampler="balanced", **SHORT, **more)
    return {name: folder / name for name in options}


def test_a_run_differs_in_pairs_by_what_its_numbers_differ_by(runs: dict[str, Path]) -> None:
    found = metricforge.compare([runs["first"], runs["second"]], protocols=["retrieval"])
    first, second = (found.results[str(runs[name])] for name in ("first", "second"))
    differences = found.differences[str(runs["second"])]
    assert differences.keys() == first.keys()
    assert any("3 classes the intervals are over queries" in note for note in found.notes)
    for name, difference in differences.items():
        apart = second[name].value - first[name].value
        assert difference.value == pytest.approx(apart, abs=1e-12)
        assert difference.low <= difference.value <= difference.high
    again = metricforge.compare([runs["first"], runs["second"]], protocols=["retrieval"])
    assert again.to_json() == found.to_json()


def test_a_run_is_as_good_as_itself(runs: dict[str, Path], tmp_path: Path) -> None:
    copy, link = tmp_path / "copy", tmp_path / "link"
    shutil.copytree(runs["first"], copy)
    found = metricforge.compare([runs["first"], copy])
    for difference in found.differences[str(copy)].values():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert set(found.better.values()) == {None}
    # By another path it is the same run, which leaves nothing to compare.
    link.symlink_to(runs["first"])
    with pytest.raises(UsageError, match="in folders of their own"):
        metricforge.compare([runs["first"], link])


def test_other_test_classes_are_refused_by_name(runs: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="other test classes") as caught:
        metricforge.compare([runs["first"], runs["other"]])
    assert str(runs["other"]) in str(caught.value)


def test_one_that_was_trained_on_what_another_is_tested_on_is_refused(runs) -> None:
    with pytest.raises(DataError, match=r"was trained or selected on \d+ that .*first is tested"):
        metricforge.compare([runs["first"], runs["other"]])


def test_runs_that_differ_in_their_seed_alone_are_compared_over_seeds(runs) -> None:
    names = [runs[name] for name in ("first", "second", "mlp", "mlp-2")]
    found = metricforge.compare(names, protocols=["retrieval"])
    assert list(found.seeds) == [str(runs["first"]), str(runs["mlp"])]
    name = "map@r"
    values = [found.results[str(run)][name].value for run in names]
    for run, pair in ((runs["first"], values[:2]), (runs["mlp"], values[2:])):
        estimate = found.seeds[str(run)][name]
        assert (estimate.n, estimate.over) == (2, "seeds")
        assert estimate.value == pytest.approx(np.mean(pair))
    apart = found.seed_differences[str(runs["mlp"])][name]
    expected = stats.ttest_ind(values[2:], values[:2], equal_var=False).confidence_interval()
    assert (apart.low, apart.high) == pytest.approx((expected.low, expected.high))
    done = command("compare", *names, "--protocol", "retrieval", "--json")
    assert json.loads(done.stdout) == found.to_json()
    shown = command("compare", *names, "--protocol", "retrieval").stdout
    assert "first and its other seeds: mean of 2 trainings" in shown


def test_one_training_twice_is_no_other_seed(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs["first"], copy)
    found = metricforge.compare([runs["first"], copy], protocols=["retrieval"])
    assert found.seeds == {}
    both = metricforge.compare([runs["first"], copy, runs["second"]], protocols=["retrieval"])
    assert both.seeds[str(runs["first"])]["map@r"].n == 2


def test_a_model_that_has_seen_the_test_classes_is_refused(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs["first"], copy)
    shutil.rmtree(copy / "model")
    shutil.copytree(runs["other"] / "model", copy / "model")
    with pytest.raises(DataError, match="copy was trained or selected on"):
        metricforge.compare([runs["second"], copy], protocols=["retrieval"])


def test_two_protocols_of_one_number_are_refused(runs) -> None:
    specs = ["oneshot:way=3", "oneshot:way=3,classifier=nearest"]
    with pytest.raises(UsageError, match="measures accuracy@3way1shot, as one before"):
        metricforge.compare([runs["first"], runs["second"]], protocols=specs)


def test_starts_of_k_means_make_nobody_better(runs) -> None:
    found = metricforge.compare([runs["first"], runs["mlp"]], protocols=["clustering"])
    assert set(found.better.values()) == {None}


def test_the_better_run_is_better_than_every_other(runs) -> None:
    names = [runs[name] for name in ("first", "second", "mlp")]
    found = metricforge.compare(names, protocols=["retrieval"])
    for name, better in found.better.items():
        values = {run: estimates[name].value for run, estimates in found.results.items()}
        assert better is None or values[better] == max(values.values())
    turned = metricforge.compare(names[::-1], protocols=["retrieval"])
    assert turned.better == found.better
    assert any(found.better.values())


def test_one_run_is_no_comparison(runs: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="two runs"):
        metricforge.compare([runs["first"], runs["first"]])


def test_the_command_tells_it_at_eighty_columns(runs: dict[str, Path]) -> None:
    names = [runs["first"], runs["second"], "--protocol", "oneshot:way=3,episodes=50"]
    done = command("compare", *names)
    assert done.returncode == 0, done.stderr
    assert "minus first" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    record = json.loads(command("compare", *names, "--json").stdout)
    assert list(record["results"]) == [str(runs["first"]), str(runs["second"])]
    refused = command("compare", runs["first"], runs["other"])
    assert refused.returncode == 3


def test_differences_in_pairs_are_surer_than_apart() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400)
    first, second = hard, hard + 0.01 + 0.001 * rng.standard_normal(400)
    found = over_differences(first, second, None)
    assert 0.009 < found.low < found.value < found.high < 0.011
    by_class = over_differences(first, second, np.arange(400) % 20)
    assert (by_class.over, by_class.n) == ("classes", 20)
    assert over_differences(second, first, None).value == pytest.approx(-found.value)


def test_groups_of_seeds_differ_in_the_numbers_that_both_have() -> None:
    both = np.array([0.1, 0.2])
    apart = _apart({"a": {"map@r": both}, "b": {"map@r": both + 0.1, "eer": both}})
    assert list(apart["b"]) == ["map@r"]
    assert apart["b"]["map@r"].value == pytest.approx(0.1)
