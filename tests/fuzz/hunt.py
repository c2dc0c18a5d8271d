"""A hunt by hand: random seeds for some minutes, in a process that may die of an input."""

from __future__ import annotations

import faulthandler
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.findings import Findings
from tests.fuzz.inputs import inputs
from tests.fuzz.target import CORPUS, SECONDS, Case, Target, attempt
from tests.fuzz.targets import TARGETS

MEMORY = 8 << 30
"""The most bytes of addresses of the process: what needs more raises MemoryError, or its like."""

_BATCH = 200
_DONE = 0


def supervise(name: str, minutes: float, first_seed: int) -> None:
    """Hunt until the time is over, in a new process whenever an input has ended the one before."""
    ends, number = time.monotonic() + 60 * minutes, first_seed
    findings = Findings(name, CORPUS)
    while (left := ends - time.monotonic()) > 0:
        with TemporaryDirectory() as folder:
            words = [name, "--minutes", left / 60, "--seed", number, "--worker", folder]
            code = subprocess.run([sys.executable, "-m", "tests.fuzz", *map(str, words)]).returncode
            if code == _DONE:
                return
            current = Path(folder) / "current"
            if not current.exists():
                raise SystemExit(f"the process ended with {code} by itself, and not by an input.")
            findings.add_fatal(current.read_bytes(), f"the process ended with {code}")
        number += 1


def work(name: str, minutes: float, first_seed: int, folder: Path) -> None:
    """Try batches of inputs, each with the next seed; prints how many inputs there were."""
    _bound()
    ends = time.monotonic() + 60 * minutes
    target, findings = TARGETS[name], Findings(name, CORPUS)
    case = _prepared(target, folder)
    tried = accepted = 0

    def try_one(content: bytes) -> None:
        nonlocal tried, accepted
        if time.monotonic() < ends:
            tried += 1
            accepted += watched(target, case, content, findings, folder)

    number = first_seed
    while time.monotonic() < ends:
        _batch(inputs(target, case), try_one, number)
        number += 1
    print(
        f"{name}: {tried:,} inputs, {accepted:,} of them read, seeds {first_seed} to {number - 1}"
    )


def work_with_atheris(atheris: Any, name: str, minutes: float, number: int, folder: Path) -> None:
    """The same with inputs of atheris, which sees what code an input reaches."""
    _bound()
    target, findings = TARGETS[name], Findings(name, CORPUS)
    case = _prepared(target, folder)
    seeds = folder / "seeds"
    seeds.mkdir()
    for index, content in enumerate(case.seeds):
        (seeds / str(index)).write_bytes(content)

    def try_one(content: bytes) -> None:
        watched(target, case, content, findings, folder)

    options = [f"-max_total_time={int(60 * minutes)}", f"-seed={number}", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], try_one)
    atheris.Fuzz()


def watched(target: Target, case: Case, content: bytes, findings: Findings, folder: Path) -> bool:
    """Whether an input is read; what it raises is written, and what kills the process remains."""
    current = folder / "current"
    current.write_bytes(content)
    # Code in C can hang where no signal is heard.
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    try:
        return attempt(target, case, content)
    except Exception as error:
        findings.add(content, error)
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
        current.unlink()


def _batch(strategy: Any, try_one: Callable[[bytes], None], number: int) -> None:
    # Shrinking would try the same place again and again.
    @seed(number)
    @settings(
        max_examples=_BATCH, deadline=None, database=None, derandomize=False,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def batch(content: bytes) -> None:
        try_one(content)

    batch()


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    warnings.simplefilter("error")  # as in the tests
    faulthandler.enable()


def _prepared(target: Target, folder: Path) -> Case:
    place = folder / "case"
    place.mkdir()
    return target.prepare(place)
