"""What is published of suites: every table is made of the records beside it, and no other way."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from argparse import Namespace
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks import published, tables
from benchmarks.published import SHORT, short
from benchmarks.records import BENCHMARKS, SUITES, records_of
from benchmarks.sections import RESULTS, ROOT
from benchmarks.tables import section
from metricforge.bench import Table, read_records, read_suite, tabulate
from metricforge.tuning.trials import DONE

MEASURED = sorted(path.parent.name for path in (BENCHMARKS / "results").glob("*/results.jsonl"))


@pytest.mark.parametrize("name", MEASURED)
def test_the_table_of_a_suite_is_that_of_its_records(name: str) -> None:
    assert "\n".join(section(name)) in RESULTS.read_text()


def test_the_readme_has_the_short_table() -> None:
    lines = short()
    assert len(lines) > 3, "a head and a row"
    assert "\n".join(lines) in (ROOT / "README.md").read_text()


def test_what_the_readme_names_has_been_measured() -> None:
    assert "omniglot-record" in MEASURED


def test_every_published_figure_names_its_source_and_a_suite() -> None:
    known = tomllib.loads((BENCHMARKS / "published.toml").read_text())
    assert set(known) <= set(SUITES)
    for name, entries in known.items():
        suite = read_suite(BENCHMARKS / "suites" / f"{name}.toml")
        beside = [[*approaches] for of, approaches, _, _ in SHORT if of == name]
        for entry in entries:
            assert entry["number"] in suite.numbers
            assert entry.get("approaches", beside[0]) in beside
            assert set(entry) - {"approaches"} == {"who", "number", "value", "mark", "source"}
            assert all(entry.values())
            # From memory is not enough.
            assert entry["mark"] in ("S", "S2")


def test_no_figure_is_shown_that_is_not_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert published.by_others("omniglot-record")
    monkeypatch.setattr(published, "SURE", ())
    assert published.by_others("omniglot-record") == []


def test_records_tell_nothing_of_where_they_were_made() -> None:
    for name in MEASURED:
        text = (BENCHMARKS / "results" / name / "results.jsonl").read_text()
        assert "data_root" not in text
        assert "/shared" not in text
        assert "/tmp" not in text


DATASETS = ("glyphs", "omniglot", "birds", "groceries")


@cache
def defaults() -> dict[str, Table]:
    """The tables of the suite `defaults` by the name of their dataset."""
    suite = read_suite(BENCHMARKS / "suites" / "defaults.toml")
    return dict(zip(DATASETS, tabulate(suite, records_of("defaults")), strict=True))


def test_which_defaults_do_not_beat_their_baselines_is_known() -> None:
    """All others do, in each metric, with intervals over seeds that part; pixels have no seed."""
    behind: dict[str, set[str]] = {}
    refused: set[str] = set()
    for dataset, table in defaults().items():
        rows = {row.name: row for row in table.rows}
        untrained, pixels = rows.pop("untrained network"), rows.pop("pixels")
        for name, row in rows.items():
            assert name.endswith(f" · {dataset}")
            if row.reason:
                refused.add(name)
                continue
            assert row.n == 3
            for metric in table.numbers:
                highest = max(untrained.numbers[metric].high, pixels.numbers[metric].value)
                if row.numbers[metric].low <= highest:
                    behind.setdefault(metric, set()).add(name)
    assert refused == {"grouped · birds"}
    assert behind == {}


def test_which_single_runs_do_not_beat_them_is_known() -> None:
    """By the intervals over the classes of one run, which are wider."""
    behind = {
        (one.approach, one.seed, metric)
        for one in records_of("defaults")
        if one.outcome == DONE
        for metric in ("map@r", "recall@1", "accuracy@20way1shot")
        if one.results["trained"][metric]["low"]
        <= max(one.results[of][metric]["high"] for of in ("untrained", "pixels"))
    }
    assert behind == {
        ("distance-weighted · groceries", 0, "recall@1"),
        ("n-hard · birds", 1, "recall@1"),
        ("random-triplets · birds", 2, "recall@1"),
        ("random-triplets · glyphs", 1, "recall@1"),
    }


def test_the_advice_of_the_readme_is_by_validation_classes() -> None:
    """Means over seeds, by the classes that chose the epoch."""
    scores: dict[str, list[float]] = {}
    for one in records_of("defaults"):
        if one.outcome == DONE:
            scores.setdefault(one.approach, []).append(one.validation["map@r"])
    pairs = []
    for dataset in ("birds", "groceries", "glyphs", "omniglot"):
        better, other = (
            fmean(scores[f"{name} · {dataset}"]) for name in ("semihard-triplet", "hard-triplet")
        )
        pairs.append(f"{better:.3f} and {other:.3f}".replace("0.", "."))
    readme = (ROOT / "README.md").read_text()
    advice = readme[readme.index("For a short training") :].partition("\n\n")[0]
    assert re.findall(r"\.\d{3} and \.\d{3}", " ".join(advice.split()))[:4] == pairs


def test_the_photographs_of_the_readme_are_those_of_the_suite() -> None:
    readme = (ROOT / "README.md").read_text()
    for dataset in ("groceries", "birds"):
        rows = {row.name: row.numbers for row in defaults()[dataset].rows}
        shown = [rows[f"hard-triplet · {dataset}"], rows["untrained network"], rows["pixels"]]
        for metric in ("map@r", "recall@1"):
            cells = (f"{numbers[metric].value:.3f}".removeprefix("0") for numbers in shown)
            assert f"| {dataset}: {metric} | {' | '.join(cells)} |" in readme


def test_pictures_stand_in_the_order_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    monkeypatch.setattr(tables, "_plot", lambda name, record: RESULTS)
    monkeypatch.setattr(
        tables, "_side_by_side", lambda named, path: shown.append([each for each, _ in named])
    )
    name = "mnist-approaches"
    suite = read_suite(BENCHMARKS / "suites" / f"{name}.toml")
    known = read_records(BENCHMARKS / "results" / name / "results.jsonl")
    tables.pictures(name, suite, sorted(known, key=lambda record: record.finished))
    order = list(dict.fromkeys(asked.approach for asked in suite.plan()))
    done = {record.approach for record in known if record.outcome == "done"}
    assert len(shown) == 2, "one picture for each split"
    for approaches in shown:
        assert approaches == [each for each in order if each in approaches]
    # What has not been carried out yet has no picture.
    assert {each for approaches in shown for each in approaches} == done


def test_a_suite_of_which_nothing_is_there_has_no_section(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tables, "results_of", lambda name: tmp_path / name)
    monkeypatch.setattr(sys, "argv", ["tables", "smoke", "--write-only"])
    with pytest.raises(SystemExit, match="nothing of smoke has been carried out"):
        tables.main()


def test_a_suite_with_failed_runs_has_a_section_and_one_that_could_not_be_run_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = Namespace(jobs="1", data_root="data", seeds=None, only=[])
    for code in (0, 1, 2):
        done = subprocess.CompletedProcess([], code)
        monkeypatch.setattr(subprocess, "run", lambda *given, done=done, **more: done)
        if code < 2:
            assert tables.carry_out("smoke", options) == code
        else:
            with pytest.raises(SystemExit):
                tables.carry_out("smoke", options)
