"""The progress line: what it shows, and that it fits into the terminal, whatever its width."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from metricforge.report.progress import ProgressLine, RunsLine
from metricforge.training.records import EpochRecord, StepRecord

STEP = StepRecord(
    epoch=2,
    step=30,
    steps_in_epoch=20,
    loss=0.0676,
    tuples=64,
    images=64,
    seconds=0.05,
    lr=0.1,
    spent=0.5,
    possible=3968,
    active=32,
)
EPOCH = EpochRecord(
    epoch=1,
    step=20,
    loss=0.1,
    empty_batches=0,
    validation={"map@r": 0.67, "x": 1.0},
    best=True,
    seconds=1.0,
)


def shown(capsys, monkeypatch, width, *records, epochs=3):
    """The lines on a terminal of that width, as it would show them."""
    make_terminal(monkeypatch, width)
    with ProgressLine() as line:
        for record in records:
            line.record(record, epochs)
        line._bar.refresh()
    return lines(capsys)


def make_terminal(monkeypatch, width):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")


def lines(capsys):
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    return [text.rstrip() for text in re.split(r"[\r\n]+", plain) if text.strip()]


def test_on_a_wide_terminal_all_is_shown(capsys, monkeypatch):
    last = shown(capsys, monkeypatch, 140, EPOCH, STEP)[-1]
    assert last.startswith("epoch 2/3 ━")
    assert last.endswith(
        "loss 0.0676 · map@r 0.670 · active 50% · chosen 2% · 1,280 images/s · 0:00 left"
    )


def test_spread_and_rank_of_the_last_epoch_are_shown(capsys, monkeypatch):
    epoch = replace(EPOCH, spread=0.934, effective_rank=15.23)
    last = shown(capsys, monkeypatch, 160, epoch, STEP)[-1]
    assert " · chosen 2% · spread 0.93 · rank 15.2 · 1,280 images/s · " in last
    assert "spread" not in shown(capsys, monkeypatch, 80, epoch, STEP)[-1]


def test_eighty_columns_hold_loss_score_shares_speed_and_time(capsys, monkeypatch):
    last = shown(capsys, monkeypatch, 80, EPOCH, STEP)[-1]
    assert last == ("epoch 2/3 loss 0.0676 · map@r 0.670 · active 50% · 1,280 images/s · 0:00 left")
    long = EpochRecord(**{**vars(EPOCH), "validation": {"accuracy@5way1shot": 0.912}})
    last = shown(capsys, monkeypatch, 80, long, replace(STEP, epoch=12), epochs=40)[-1]
    assert "loss 0.0676 · accuracy@5way1shot 0.912 · 1,280 images/s · 0:00 left" in last


@pytest.mark.parametrize("width", [22, 30, 45, 60, 79, 80, 90, 100, 120, 200])
@pytest.mark.parametrize("records", [(STEP,), (EPOCH, STEP), (EPOCH, replace(STEP, active=None))])
def test_it_stays_on_one_line_and_is_cut_nowhere(capsys, monkeypatch, width, records):
    for text in shown(capsys, monkeypatch, width, *records):
        assert len(text) <= width
        assert "…" not in text
        assert "epoch" not in text or "loss 0.0676" in text


def test_the_least_important_goes_first(capsys, monkeypatch):
    gone = []
    for width in range(140, 20, -1):
        last = shown(capsys, monkeypatch, width, EPOCH, STEP)[-1]
        for part in ("chosen", "active", "images/s", "map@r", "left"):
            if part not in last and part not in gone:
                gone.append(part)
    assert gone == ["chosen", "active", "images/s", "map@r", "left"]


@pytest.mark.parametrize(
    ("active", "chosen", "expected"),
    [(0, 3968, "active 0% · chosen 2%"), (64, 64, "active 100% · chosen 100%"),
     (1, 10**6, "active 2% · chosen 0.006%"), (None, 128, "chosen 50%"), (7, 500, "active 11%"),
     (6, 660, "active 9% · chosen 10%"), (63, 64, "active 98%")],
)  # fmt: skip
def test_shares_in_few_characters(capsys, monkeypatch, active, chosen, expected):
    record = replace(STEP, active=active, possible=chosen)
    assert expected in shown(capsys, monkeypatch, 140, record)[-1]


def test_a_loss_that_sees_whole_batches_has_no_shares(capsys, monkeypatch):
    record = replace(STEP, tuples=None, possible=None, active=None)
    last = shown(capsys, monkeypatch, 140, record)[-1]
    assert "active" not in last
    assert "chosen" not in last


def test_elsewhere_it_is_a_plain_line_of_all(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with ProgressLine() as line:
        line.record(STEP, 2)
        line.record(replace(EPOCH, epoch=2), 2)
    assert capsys.readouterr().err == (
        "epoch 2/2 · loss 0.0676 · map@r 0.670 · active 50% · chosen 2% · 1,280 images/s · "
        "0:00 left\n"
    )


def test_a_suite_shows_how_many_runs_are_done_and_for_how_long(capsys, monkeypatch):
    make_terminal(monkeypatch, 80)
    with RunsLine() as line:
        line._bar.refresh()
        line.say("1/3 [a] · \x1b[2Jb, seed 0")
        line.done(1, 3)
        line._bar.refresh()
    first, *_, last = lines(capsys)
    assert re.fullmatch(r"training ━+ 0:00:00", first)
    # A third of sixteen.
    assert re.fullmatch(r"1/3 runs ━{5}╺━{10} 0:00:00", last)


def test_a_suite_says_plain_lines_where_there_is_no_terminal(capsys):
    with RunsLine() as line:
        line.say("1/3 [a] · \x1b[2Jb, seed 0 " + "x" * 80)
        line.done(1, 3)
    assert capsys.readouterr().err == "1/3 [a] · \\x1b[2Jb, seed 0 " + "x" * 80 + "\n"


def test_what_is_counted_is_shown_without_the_training(capsys, monkeypatch):
    make_terminal(monkeypatch, 80)
    with ProgressLine() as line:
        line.record(STEP, 3)
        count = line.counting("testing", 3500)
        count(256)
        count(1000)
        line._bar.refresh()
    last = lines(capsys)[-1]
    assert last.startswith("testing 1,256/3,500")
    assert "loss" not in last
    assert "left" not in last


def test_a_log_has_a_line_of_what_is_counted_now_and_then(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("metricforge.report.progress.time.monotonic", lambda: now[0])
    with ProgressLine() as line:
        count = line.counting("features", 30)
        for _ in range(30):
            now[0] += 1
            count(1)
    assert lines(capsys) == ["features 11/30", "features 22/30"]
