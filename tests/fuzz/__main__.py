"""`python -m tests.fuzz TARGET --minutes 60`: hunts for inputs that a reader can't bear."""

from __future__ import annotations

import argparse
import importlib
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def main() -> None:
    """Hunt in a process of its own, or be that process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", help="the kind of file, e.g. png; another word lists them")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, help="the first seed (default: a random one)")
    parser.add_argument("--atheris", action="store_true", help="let atheris choose the inputs")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    atheris = _atheris() if words.atheris else None
    hunt = _hunt(atheris)
    if words.target not in hunt.TARGETS:
        parser.error(f"no target '{words.target}'; choices: {', '.join(hunt.TARGETS)}")
    number = random.randrange(2**31) if words.seed is None else words.seed
    if atheris is not None:
        with TemporaryDirectory() as folder:
            hunt.work_with_atheris(atheris, words.target, words.minutes, number, Path(folder))
    elif words.worker:
        hunt.work(words.target, words.minutes, number, words.worker)
    else:
        hunt.supervise(words.target, words.minutes, number)


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ModuleNotFoundError as error:
        raise SystemExit("--atheris needs atheris: pip install atheris") from error


def _hunt(atheris: Any) -> Any:
    """The module, with marks in all of our code that it imports if atheris is to see it."""
    if atheris is None:
        return importlib.import_module("tests.fuzz.hunt")
    with atheris.instrument_imports(include=["metricforge", "metricforge_standard"]):
        return importlib.import_module("tests.fuzz.hunt")


if __name__ == "__main__":
    main()
