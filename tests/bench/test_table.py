"""The table against means and intervals worked out by hand."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from itertools import product

import pytest
from rich.console import Console
from scipy import stats

from metricforge.bench import Record, Suite, grids, tabulate
from metricforge.bench.formats import as_csv, as_json, html, markdown, on_terminal
from metricforge.bench.suite import Approach
from metricforge.cli.bench.suite_paths import show
from metricforge.errors import UsageError

SUITE = Suite("s", "A title", {}, (Approach("a"), Approach("b"), Approach("c")), "a", seeds=3)


def estimate(value: float) -> dict:
    return {"value": value, "low": 0.0, "high": 1.0, "n": 9, "over": "queries"}


def record(approach: str, seed: int, value: float, **more) -> Record:
    results = {
        "trained": {"map@r": estimate(value)},
        "untrained": {"map@r": estimate(0.1 * (seed + 1))},
        "pixels": {"map@r": estimate(0.25)},
    }
    whole = {
        "id": f"{approach}{seed}{more.get('fold')}", "suite": "s", "approach": approach,
        "seed": seed, "fold": None, "outcome": "done", "results": results,
        "recipe": {"dataset": "digits", "backbone": "conv4"}, "split_hash": "h", "seconds": 2.0,
        "environment": {"device_name": "cpu", "platform": "Linux", "versions": {"torch": "2"}},
    }  # fmt: skip
    return Record(**{**whole, **more})


def rows(records: list[Record], suite: Suite = SUITE) -> dict:
    (table,) = tabulate(suite, records)
    return {row.name: row for row in table.rows}


def test_means_and_intervals_are_over_seeds_and_differences_in_pairs() -> None:
    values = {"a": (0.5, 0.6, 0.4), "b": (0.6, 0.75, 0.45)}
    found = rows(
        [record(name, seed, v) for name, each in values.items() for seed, v in enumerate(each)]
    )
    assert list(found) == ["a", "b", "untrained network", "pixels"]
    mean = found["a"].numbers["map@r"]
    assert mean.value == pytest.approx(0.5)
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert (mean.low, mean.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert (mean.n, mean.over) == (3, "seeds")
    apart = found["b"].differences["map@r"]
    # 0.1, 0.15, 0.05: a mean of 0.1 and a deviation of 0.05.
    half = stats.t.ppf(0.975, 2) * 0.05 / 3**0.5
    assert apart.value == pytest.approx(0.1)
    assert (apart.low, apart.high) == pytest.approx((0.1 - half, 0.1 + half))
    assert found["a"].differences == {}
    assert found["untrained network"].numbers["map@r"].value == pytest.approx(0.2)
    assert found["untrained network"].n == 3
    assert found["pixels"].numbers["map@r"].value == 0.25
    assert found["pixels"].n == 1


def test_differences_are_of_the_seeds_that_both_have() -> None:
    found = rows(
        [record("a", 0, 0.5), record("a", 2, 0.1), record("b", 2, 0.4), record("b", 1, 1.0)]
    )
    assert found["b"].differences["map@r"].value == pytest.approx(0.3)
    assert found["b"].differences["map@r"].n == 1
    alone = rows([record("a", 0, 0.5), record("b", 1, 0.4)])
    assert alone["b"].differences == {}


def test_folds_are_averaged_before_seeds() -> None:
    each = [(0, 0, 0.2), (0, 1, 0.4), (1, 0, 0.6), (1, 1, 0.8)]
    found = rows(
        [record("a", seed, value, fold=fold, split_hash=str(fold)) for seed, fold, value in each],
        replace(SUITE, folds=2),
    )
    assert found["a"].n == 2
    assert found["a"].numbers["map@r"].value == pytest.approx(0.5)


def test_pixels_are_the_mean_of_all_folds() -> None:
    records = [record("a", seed, 0.5, fold=fold) for seed in (0, 1) for fold in (0, 1)]
    for one in records:
        one.results["pixels"]["map@r"]["value"] = 0.2 + 0.4 * one.fold
    pixels = rows(records, replace(SUITE, folds=2))["pixels"]
    assert pixels.numbers["map@r"].value == pytest.approx(0.4)
    assert pixels.n == 1


def test_a_seed_without_all_its_folds_is_left_out_and_named() -> None:
    suite = replace(SUITE, folds=2)
    values = {(0, 0): 0.9, (0, 1): 0.8, (1, 0): 0.7, (1, 1): 0.1}
    records = [record(name, seed, value, fold=fold, split_hash=str(fold))
               for name in "ab" for (seed, fold), value in values.items()
               if (name, seed, fold) != ("b", 1, 1)]  # fmt: skip
    (table,) = tabulate(suite, records)
    found = {row.name: row for row in table.rows}
    # Of the seed that both have: b would seem better for lacking the hard fold.
    assert found["b"].differences["map@r"].value == pytest.approx(0)
    assert "(differences to 'a' in pairs of seeds)" in table.notes[0]
    assert (found["a"].n, found["b"].n) == (2, 1)
    assert "b: seed 1 has not all of 2 folds yet." in table.notes


def test_numbers_that_only_some_folds_have_are_none() -> None:
    records = [record("a", 0, 0.5, fold=fold, split_hash=str(fold)) for fold in (0, 1)]
    records[0].results["trained"]["accuracy@3way"] = estimate(0.9)
    suite = replace(SUITE, folds=2, numbers=("map@r", "accuracy@3way"))
    (table,) = tabulate(suite, records)
    assert list(table.rows[0].numbers) == ["map@r"]
    assert any("no protocol measures accuracy@3way" in note for note in table.notes)


@pytest.mark.fault(146)
def test_a_number_below_zero_has_an_interval_around_its_mean() -> None:
    records = [record("a", seed, 0.5) for seed in (0, 1)]
    for one, value in zip(records, (-0.05, -0.06), strict=True):
        one.results["trained"] |= {"ami": estimate(value), "digits ami": estimate(value)}
    numbers = rows(records)["a"].numbers
    assert numbers["ami"].low < numbers["ami"].value < 0
    assert numbers["digits ami"] == numbers["ami"]


def test_what_could_not_be_trained_is_a_row_that_says_why() -> None:
    refused = replace(record("b", 0, 0), outcome="refused", error="it needs groups.", results={})
    failed = replace(record("c", 0, 0), outcome="failed", error="out of memory.", results={})
    found = rows([record("a", 0, 0.5), refused, failed])
    assert found["b"].reason == "refused: it needs groups."
    assert found["c"].reason == "failed: out of memory."
    assert "| b | refused: it needs groups. |" in markdown(
        tabulate(SUITE, [record("a", 0, 0.5), refused])
    )


def test_a_run_that_failed_beside_others_that_did_not_is_told_of() -> None:
    failed = replace(record("b", 1, 0), outcome="failed", error="out of memory.", results={})
    (table,) = tabulate(SUITE, [record("a", 0, 0.5), record("b", 0, 0.5), failed])
    assert [row.name for row in table.rows].count("b") == 1
    assert "b, seed 1: failed: out of memory." in table.notes


def test_runs_that_fail_after_trials_that_did_not_are_a_row() -> None:
    trial = replace(record("b", 9, 0), trial=1, results={})
    failed = replace(record("b", 0, 0), outcome="failed", error="out of memory.", results={})
    assert rows([record("a", 0, 0.5), trial, failed])["b"].reason == "failed: out of memory."


def test_each_dataset_has_a_table_of_its_own() -> None:
    other = record("b", 0, 0.9, recipe={"dataset": "mnist"}, split_hash="i")
    tables = tabulate(SUITE, [record("a", 0, 0.5), other])
    assert [table.title for table in tables] == ["A title: digits", "A title: mnist"]
    assert not any("differences" in note for note in tables[0].notes)
    assert tables[1].rows[0].differences == {}


def test_what_could_not_be_trained_is_told_beside_others_of_its_dataset() -> None:
    suite = replace(
        SUITE,
        approaches=tuple(
            Approach(name, {"dataset": "digits" if name == "a" else "mnist"}) for name in "abc"
        ),
    )
    other = record("b", 0, 0.9, recipe={"dataset": "mnist"}, split_hash="i")
    refused = replace(record("c", 0, 0), outcome="refused", error="no.", results={}, recipe={})
    first, second = tabulate(suite, [record("a", 0, 0.5), other, refused])
    assert [row.name for row in first.rows] == ["a", "untrained network", "pixels"]
    assert [row.name for row in second.rows] == ["b", "untrained network", "pixels", "c"]
    # By the split alone, where the dataset is the same.
    split = [
        Approach("a", {"split": "x"}),
        Approach("b", {"split": "y"}),
        Approach("c", {"split": "y"}),
    ]
    other = record("b", 0, 0.9, split_hash="i")
    tables = tabulate(
        replace(SUITE, approaches=tuple(split)), [record("a", 0, 0.5), other, refused]
    )
    assert [table.rows[-1].name for table in tables] == ["pixels", "c"]
    # Of a dataset of which nothing is done.
    (only,) = tabulate(suite, [record("a", 0, 0.5), refused])
    assert only.rows[-1].name == "c"


def test_each_table_has_the_baseline_of_its_own_choice_of_the_axes() -> None:
    names = ("a · x", "b · x", "a · y", "b · y")
    suite = replace(SUITE, approaches=tuple(map(Approach, names)))
    records = [record(name, 0, value, split_hash=name[-1])
               for name, value in zip(names, (0.1, 0.2, 0.3, 0.7), strict=True)]  # fmt: skip
    tables = tabulate(suite, records)
    compared = [[row.baseline for row in table.rows[:2]] for table in tables]
    assert compared == [["", "a · x"], ["", "a · y"]]
    assert tables[1].rows[1].differences["map@r"].value == pytest.approx(0.4)


def test_in_one_table_each_is_compared_with_the_baseline_of_its_own_choices() -> None:
    values = {"a · x": 0.1, "a · y": 0.3, "b · x": 0.2, "b · y": 0.7}
    suite = replace(SUITE, approaches=tuple(map(Approach, values)))
    (table,) = tabulate(suite, [record(name, 0, value) for name, value in values.items()])
    found = {row.name: row.differences for row in table.rows}
    assert found["b · x"]["map@r"].value == pytest.approx(0.1)
    assert found["b · y"]["map@r"].value == pytest.approx(0.4)
    assert found["a · x"] == found["a · y"] == {}
    assert "'a · x' or 'a · y' of the same further choices" in table.notes[0]


def test_how_sure_a_single_training_is_stands_below_the_means() -> None:
    (table,) = tabulate(SUITE, [record("a", 0, 0.5), record("a", 1, 0.6)])
    said = "one training alone (a, seed 0): map@r 0.500 [0.000, 1.000] over 9 queries."
    assert said in table.notes


def test_each_untrained_network_has_a_row() -> None:
    other = record("b", 0, 0.9, recipe={"dataset": "digits", "backbone": "resnet18"})
    found = rows([record("a", 0, 0.5), other])
    assert [name for name in found if name.startswith("untrained")] == [
        "untrained network (backbone conv4)",
        "untrained network (backbone resnet18)",
    ]


def test_records_of_other_suites_have_no_row_and_none_is_no_table_of_nothing() -> None:
    (table,) = tabulate(SUITE, [record("a", 0, 0.5, suite="another")])
    assert table.rows == ()
    assert table.notes == ("nothing is done yet.",)
    assert "nothing is done yet." in markdown([table])


def test_every_format_tells_the_same() -> None:
    tables = tabulate(SUITE, [record("a", s, 0.5 + s / 10) for s in (0, 1)]
                      + [record("b", s, 0.4) for s in (0, 1)])  # fmt: skip
    (told,) = json.loads(as_json(tables))
    assert told["rows"][1]["numbers"]["map@r"]["value"] == 0.4
    lines = list(csv.DictReader(io.StringIO(as_csv(tables))))
    assert [(line["approach"], line["n"]) for line in lines][:2] == [("a", "2"), ("b", "2")]
    assert float(lines[1]["difference"]) == pytest.approx(-0.15)
    assert "| b | 0.400 [0.400, 0.400] (-0.150 [" in markdown(tables)
    assert "0.400 [0.400, 0.400] (-0.150 [" in html(tables)


def test_a_terminal_shows_what_fits_its_width() -> None:
    suite = replace(SUITE, approaches=(Approach("a"), Approach("[b]"), Approach("c")))
    failed = replace(record("c", 0, 0), outcome="failed", error="[out] of memory.", results={})
    records = [record(name, seed, 0.5 + seed / 10) for name in ("a", "[b]") for seed in (0, 1)]
    tables = tabulate(replace(suite, title="[A] title"), [*records, failed])

    def shown(width: int) -> list[str]:
        file = io.StringIO()
        on_terminal(tables, Console(file=file, width=width))
        lines = [line.rstrip() for line in file.getvalue().splitlines()]
        assert max(map(len, lines)) <= width
        assert lines[0] == "[A] title: digits"
        assert "c: failed: [out] of memory." in " ".join(lines)
        assert "runs are missing." in " ".join(lines)
        return lines

    whole = "[b]                0.550 [0.000, 1.000] (+0.000 [+0.000, +0.000])  2        2"
    assert whole in shown(100)
    parted = shown(60)
    place = next(n for n, line in enumerate(parted) if line.startswith("[b]  "))
    assert [" ".join(line.split()) for line in parted[place : place + 4]] == [
        "[b] 0.550 2 2",
        "[0.000, 1.000]",
        "(+0.000",
        "[+0.000, +0.000])",
    ]
    by_line = shown(40)
    place = by_line.index("[b]")
    assert by_line[place + 1].split()[:2] == ["map@r", "0.550"]
    assert ["n", "2"] in [line.split() for line in by_line[place:]]


def test_a_terminal_gets_a_drawing_and_all_else_markdown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = tabulate(SUITE, [record("a", 0, 0.5)])
    monkeypatch.setenv("FORCE_COLOR", "1")
    show(tables)
    assert capsys.readouterr().out == markdown(tables)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(tables, "csv")
    assert capsys.readouterr().out == as_csv(tables)
    show(tables)
    assert "| a |" not in capsys.readouterr().out


def test_a_number_that_one_seed_has_is_of_one_seed() -> None:
    records = [record("a", seed, 0.5) for seed in (0, 1)]
    records[0].results["trained"]["recall@1"] = estimate(0.75)
    tables = tabulate(SUITE, records)
    lines = {line["number"]: line for line in csv.DictReader(io.StringIO(as_csv(tables)))
             if line["approach"] == "a"}  # fmt: skip
    assert {name: line["n"] for name, line in lines.items()} == {"map@r": "2", "recall@1": "1"}
    assert lines["recall@1"]["low"] == ""
    assert "| 0.750 | 2 |" in markdown(tables)


def test_names_are_escaped() -> None:
    suite = replace(SUITE, approaches=(Approach("a"), Approach("<b|>")))
    tables = tabulate(suite, [record("a", 0, 0.5), record("<b|>", 0, 0.5)])
    assert "| <b\\|> |" in markdown(tables)
    assert "&lt;b|&gt;" in html(tables)


def test_what_is_left_is_told_but_not_of_what_could_not_be_tuned() -> None:
    done = [record(name, seed, 0.5) for name in "ab" for seed in range(3)]
    (table,) = tabulate(SUITE, done[:4])
    assert "5 of the suite's 9 runs are missing." in table.notes
    lost = replace(record("c", 1_000_000, 0), trial=1, outcome="failed", error="no.", results={})
    (table,) = tabulate(SUITE, [*done, lost])
    assert "are missing" not in " ".join(table.notes)
    (table,) = tabulate(SUITE, [*done, replace(lost, outcome="done")])
    assert "3 of the suite's 9 runs are missing." in table.notes


def test_a_grid_is_one_number_by_two_axes() -> None:
    names = ("a · x", "a · y", "b · x", "b · y", "c · x")
    suite = replace(SUITE, approaches=tuple(map(Approach, names)), baseline="a · x")
    records = [record("b · y", seed, 0.4 + seed / 5) for seed in (0, 1)]
    records += [record("a · x", 0, 0.3), record("b · x", 0, 0.2)]
    records += [replace(record("a · y", 0, 0), outcome="refused", error="no.", results={})]
    records += [
        replace(record("c · x", 0, 0), outcome="failed", error="out of memory.", results={})
    ]
    (table,) = tabulate(suite, records)
    (found,) = grids(suite, [table], "map@r")
    assert found.title == "A title: digits: map@r"
    assert found.numbers == ("x", "y")
    cells = {row.name: {name: one.value for name, one in row.numbers.items()} for row in found.rows}
    assert cells == {"a": {"x": 0.3}, "b": {"x": 0.2, "y": pytest.approx(0.5)}, "c": {}}
    assert [row.n for row in found.rows] == [1, 1, 0]
    assert found.notes[0] == (
        "held-out classes; mean over seeds [95 % interval over seeds]. untrained network 0.100; "
        "pixels 0.250."
    )
    assert found.notes[1:3] == (
        "1 of 5 approaches do not fit, and are empty here.",
        "c · x: failed: out of memory.",
    )
    assert found.notes[3:] == table.notes[1:]
    assert "9 of the suite's 15 runs are missing." in found.notes
    lines = markdown([found]).splitlines()
    assert lines[2] == "|  | x | y | n |"
    assert lines[4] == "| a | 0.300 |  | 1 |"
    # An interval where there are two seeds, whatever else the row has.
    assert lines[5].startswith("| b | 0.200 | 0.500 [")


def test_a_grid_of_an_error_is_as_exact_as_the_table() -> None:
    suite = replace(SUITE, approaches=(Approach("a · x"), Approach("a · y")), baseline="a · x")
    records = [record("a · x", seed, 0) for seed in (0, 1)]
    for one, value in zip(records, (0.0725, 0.0775), strict=True):
        for subject in one.results.values():
            subject["error@omniglot"] = estimate(value)
    (table,) = tabulate(suite, records)
    (found,) = grids(suite, [table], "error@omniglot")
    assert "| a | 0.0750 [" in markdown([found])
    assert "untrained network 0.0750 [" in found.notes[0]
    assert found.notes[0].endswith("pixels 0.0725.")


def test_a_grid_takes_two_axes_and_a_number_that_is_there() -> None:
    (table,) = tabulate(SUITE, [record("a", 0, 0.5)])
    with pytest.raises(UsageError, match="'a' of s is of one axis; a grid takes two"):
        grids(SUITE, [table], "map@r")
    uneven = replace(SUITE, approaches=(Approach("a"), Approach("b · x")))
    with pytest.raises(UsageError, match="some of s are of more axes than others; a grid has two"):
        grids(uneven, [table], "map@r")
    with pytest.raises(UsageError, match="unknown number 'map@k'; did you mean 'map@r'"):
        grids(SUITE, [table], "map@k")
    nothing = tabulate(SUITE, [])
    assert grids(SUITE, nothing, "map@r") == nothing


def of_axes(*axes: str, asked: dict[str, str]) -> Suite:
    """A suite of all combinations; `asked` says which choices are datasets or splits."""
    approaches = [
        Approach(" · ".join(parts), {asked[part]: part for part in parts if part in asked})
        for parts in product(*(axis.split() for axis in axes))
    ]
    base = {"dataset": "digits", "split": "random"}
    first = approaches[0].name
    return replace(SUITE, base=base, approaches=tuple(approaches), baseline=first)


def done_of(suite: Suite) -> list[Record]:
    """A run of each approach, tested on other images for each dataset and split."""
    asked = [{**suite.base, **approach.options} for approach in suite.approaches]
    return [
        record(approach.name, 0, 0.5, recipe=recipe, split_hash=str(recipe))
        for approach, recipe in zip(suite.approaches, asked, strict=True)
    ]


DATASETS = {"one": "dataset", "two": "dataset"}
SPLITS = {"s": "split", "t": "split"}


@pytest.mark.parametrize(
    ("axes", "asked", "count"),
    [
        (("a b", "x y", "one two"), DATASETS, 2),
        (("one two", "a b", "x y"), DATASETS, 2),
        (("a b", "one two", "x y"), DATASETS, 2),
        (("a b", "x y", "one two", "s t"), DATASETS | SPLITS, 4),
        (("a b", "x y", "s t"), SPLITS, 2),
    ],
)
def test_a_grid_leaves_the_dataset_and_split_of_its_table_away(
    axes: tuple[str, ...], asked: dict[str, str], count: int
) -> None:
    suite = of_axes(*axes, asked=asked)
    found = grids(suite, tabulate(suite, done_of(suite)), "map@r")
    assert len(found) == count
    for one in found:
        assert ([row.name for row in one.rows], one.numbers) == (["a", "b"], ("x", "y"))


def test_a_grid_keeps_two_axes_and_what_the_suite_does_not_vary() -> None:
    suite = of_axes("a b", "x", "one two", asked=DATASETS)
    one, _ = grids(suite, tabulate(suite, done_of(suite)), "map@r")
    assert ([row.name for row in one.rows], one.numbers) == (["a", "b"], ("x",))
    suite = of_axes("a b", "one two", asked=DATASETS)
    one, _ = grids(suite, tabulate(suite, done_of(suite)), "map@r")
    assert ([row.name for row in one.rows], one.numbers) == (["a", "b"], ("one",))
    suite = of_axes("recipe", "a b", "x y", asked={})
    (one,) = grids(suite, tabulate(suite, done_of(suite)), "map@r")
    assert [row.name for row in one.rows] == ["recipe · a", "recipe · b"]


def test_a_grid_of_what_has_only_begun_has_the_axes_of_the_whole() -> None:
    suite = of_axes("a b", "x y", "one two", asked=DATASETS)
    everything = {one.approach: one for one in done_of(suite)}
    records = [everything["a · x · one"], everything["a · x · two"]]
    refused = replace(everything["b · y · two"], outcome="refused", error="no.", results={})
    one, two = grids(suite, tabulate(suite, [*records, refused]), "map@r")
    assert one.title == "A title: one: map@r"
    assert ([row.name for row in one.rows], one.numbers) == (["a"], ("x",))
    assert ([row.name for row in two.rows], two.numbers) == (["a", "b"], ("x", "y"))
    assert two.notes[1] == "1 of 2 approaches do not fit, and are empty here."


def test_a_dataset_of_which_all_runs_failed_is_no_part_of_the_grid_of_another() -> None:
    suite = of_axes("a b", "x y", "one two", asked=DATASETS)
    outcomes = {"a · x · two": "failed", "b · x · two": "refused", "b · y · one": "refused"}
    records = [one for one in done_of(suite) if one.approach not in outcomes]
    records = [one for one in records if one.approach.endswith("one")]
    records += [
        replace(one, outcome=outcomes[one.approach], error="no.", results={})
        for one in done_of(suite)
        if one.approach in outcomes
    ]
    (one,) = grids(suite, tabulate(suite, records), "map@r")
    assert ([row.name for row in one.rows], one.numbers) == (["a", "b"], ("x", "y"))
    assert one.notes[1:3] == (
        "1 of 4 approaches do not fit, and are empty here.",
        "a · x · two: failed: no.",
    )


def test_tables_without_the_number_of_a_grid_are_left_out() -> None:
    suite = replace(SUITE, approaches=(Approach("a · x"), Approach("b · x")), baseline="a · x")
    other = record("b · x", 0, 0.9, recipe={"dataset": "mnist"}, split_hash="i")
    other.results["trained"] = {"ami": estimate(0.2)}
    tables = tabulate(suite, [record("a · x", 0, 0.5), other])
    assert len(tables) == 2
    (found,) = grids(suite, tables, "ami")
    assert [row.name for row in found.rows] == ["b"]


def test_a_table_says_whether_the_classes_were_held_out() -> None:
    (table,) = tabulate(SUITE, [record("a", 0, 0.5)])
    assert table.what == "held-out classes; mean over seeds [95 % interval over seeds]"
    (table,) = tabulate(SUITE, [record("a", 0, 0.5, closed_set=True)])
    assert table.what.startswith("closed set; ")
    assert table.notes[0].startswith("closed set; ")


@pytest.mark.fault(120)
def test_runs_on_other_images_are_in_a_table_of_their_own() -> None:
    """The same names of classes and counts give the same split; the images differ."""
    before = [record("a", 0, 0.2, fingerprint="old"), record("b", 0, 0.3, fingerprint="old")]
    after = [record("a", seed, 0.9, fingerprint="new") for seed in (1, 2)]
    earlier = record("c", 0, 0.4)  # of a version that recorded none: it goes with the first
    tables = tabulate(SUITE, [*before, *after, earlier])
    values = [
        {row.name: row.numbers["map@r"].value for row in t.rows if row.name in "abc"}
        for t in tables
    ]
    assert values == [{"a": 0.2, "b": 0.3, "c": 0.4}, {"a": 0.9}]
    titles = [table.title for table in tables]
    assert len(set(titles)) == 2
    assert titles[1].endswith("images new")


@pytest.mark.fault(120)
def test_tables_of_other_splits_are_told_apart_by_their_titles() -> None:
    records = [record("a", 0, 0.2, split_hash="h1"), record("b", 0, 0.3, split_hash="h2")]
    titles = [table.title for table in tabulate(SUITE, records)]
    assert len(set(titles)) == 2
