"""Two ranks and one, chunks and the whole batch: the same batches, loss, gradients and weights."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metricforge.errors import UsageError
from metricforge.runtime import Ranks
from metricforge.runtime.ranks import _no_words_on_stdout
from tests.cli.forked import LONGEST, ranked
from tests.cli.process import ROOT, TORCHRUN
from tests.training.ranked import CASES, WAYS, Plain, steps


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks did in each case, rank by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    done = ranked(2, (folder,), cwd=ROOT, module="tests.training.ranked", path=(ROOT,))
    assert done.returncode == 0, done.stderr
    return folder


def apart(found, expected):
    """The largest difference of two sets of named tensors, by the size of the larger."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name] - value).abs().max()) / max(float(value.abs().max()), 1e-3)
        for name, value in expected.items()
        if value.numel()
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_take_the_steps_of_one(together: Path, case: str, way: str) -> None:
    network = WAYS[way][1]
    alone = list(steps(case, None, network))
    assert len(alone) >= 8
    for rank in "01":
        files = sorted((together / case / way / rank).iterdir())
        assert len(files) == len(alone)
        for file, expected in zip(files, alone, strict=True):
            found = load_file(file)
            assert any(name.endswith("grad") for name in found)
            assert apart(found, expected) < 1e-6, f"{file.name}, rank {rank}"
    # Not to rounding, but to the bit: or the ranks would drift apart.
    for file in sorted((together / case / way / "0").iterdir()):
        assert file.read_bytes() == (together / case / way / "1" / file.name).read_bytes()


@pytest.mark.fault(149)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="it lists threads as Linux does")
def test_no_thread_of_a_rank_outlives_the_group() -> None:
    """Of gloo, which may free a tensor while Python ends, and abort it."""
    done = subprocess.run(
        [*TORCHRUN, "-m", "tests.training.leaving"],
        capture_output=True, text=True, timeout=LONGEST, check=True, cwd=ROOT,
    )  # fmt: skip
    assert sorted(line[0] for line in done.stdout.splitlines()) == ["0", "1"]
    assert "gloo" not in done.stdout


@pytest.mark.parametrize(
    "told",
    [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "two", "RANK": "0"}, {"WORLD_SIZE": "2", "RANK": "0"}],
    ids=str,
)
def test_half_of_what_torchrun_tells_is_refused(told, monkeypatch) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"WORLD_SIZE={told['WORLD_SIZE']}.*torchrun, or unset"):
        Ranks.joined().__enter__()
    monkeypatch.setenv("WORLD_SIZE", "1")
    with Ranks.joined() as ranks:
        assert ranks == Ranks()


@pytest.mark.parametrize("chunk", [1, 2, 4, 100])
@pytest.mark.parametrize("case", CASES)
def test_chunks_give_the_gradient_of_the_whole_batch(case: str, chunk: int) -> None:
    whole = list(steps(case, None, Plain))
    for found, expected in zip(steps(case, chunk, Plain), whole, strict=True):
        assert apart(found, expected) < 1e-9


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 2, 6, 7, 20])
def test_shares_are_each_row_once_in_order(count: int, size: int) -> None:
    shares = [Ranks(rank, count).share(size) for rank in range(count)]
    rows = torch.arange(size)
    assert torch.cat([rows[share] for share in shares]).equal(rows)
    assert max(s.stop - s.start for s in shares) - min(s.stop - s.start for s in shares) <= 1


def test_what_a_library_says_while_ranks_meet_is_no_result(capfd: pytest.CaptureFixture[str]):
    """Gloo tells on stdout how many it is connected to, and there a result may be JSON."""
    with _no_words_on_stdout():
        os.write(1, b"gloo")
    os.write(1, b"{}")
    assert capfd.readouterr() == ("{}", "gloo")


def test_a_budget_of_seconds_ends_on_all_ranks_at_once(tmp_path: Path) -> None:
    """Each has a clock of its own: rates and the end follow the slowest."""
    words = (
        "train", "--dataset", "digits", "--backbone", "conv4:channels=4", "--seconds", "1",
        "--protocol", "retrieval", "--orientations", "1", "--device", "cpu", "--quiet",
    )  # fmt: skip
    done = ranked(2, (*words, "--out", "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "lr" in line]
    assert steps[-1]["spent"] >= 0.5
