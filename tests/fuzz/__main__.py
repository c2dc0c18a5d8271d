"""`python -m tests.fuzz TARGET --minutes 60`: hunts for inputs that a reader can't bear."""

from __future__ import annotations

import argparse
import importlib
import random
from pathlib import Path
from typing import Any

from tests.fuzz.hunt import supervise, work, work_with_atheris
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Hunt in a process of its own, or be that process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, help="the first seed (default: a random one)")
    parser.add_argument("--atheris", action="store_true", help="let atheris choose the inputs")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    number = random.randrange(2**31) if words.seed is None else words.seed
    if words.worker:
        work(words.target, words.minutes, number, words.worker)
    elif words.atheris:
        _with_atheris(words.target, words.minutes, number)
    else:
        supervise(words.target, words.minutes, number)


def _with_atheris(name: str, minutes: float, number: int) -> None:
    from tempfile import TemporaryDirectory

    atheris = _atheris()
    atheris.instrument_all()
    with TemporaryDirectory() as folder:
        work_with_atheris(atheris, name, minutes, number, Path(folder))


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ModuleNotFoundError as error:
        raise SystemExit("--atheris needs atheris: pip install atheris") from error


if __name__ == "__main__":
    main()
