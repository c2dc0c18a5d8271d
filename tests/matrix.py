"""`make matrix`: `make test` in clean clones, on every Python, where little is as usual.

    python tests/matrix.py [--folder FOLDER] [JOB...]

Each job is a clone of the last commit, with an environment of its own. It runs as a user who is not
root, without a network, HOME, METRICFORGE_DATA and PYTHONUNBUFFERED, with LANG=C, umask 077, the
time of Kathmandu (5:45 before UTC), and all files in folders whose names have spaces and letters
beyond ASCII. `busy` has a process for each core beside it that never rests; `lowest` has the lowest
versions that pyproject.toml allows. Required: git, make, util-linux, iproute2, uv, and the Pythons.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

ROOT = Path(__file__).parents[1]
PLUGINS = ("example", "optuna", "xbm")
ENVIRONMENT = {"LANG": "C", "TZ": "Asia/Kathmandu"}
# A network of its own, which has this machine alone; and no root, who may write anywhere.
ALONE = (
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "sh",
    "-c",
    'ip link set lo up; "$@"',
    "-",
)
NOBODY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
PRIVATE = ("sh", "-c", 'umask 077; "$@"', "-")


@dataclass(frozen=True)
class Job:
    """A Python, and what is special about it."""

    python: str
    lowest: bool = False
    busy: bool = False


JOBS = {
    "3.11": Job("3.11"),
    "3.12": Job("3.12"),
    "3.13": Job("3.13"),
    "lowest": Job("3.11", lowest=True),
    "busy": Job("3.11", busy=True),
}


def run(*words: object, cwd: Path | None = None) -> None:
    """Run to its end; SystemExit where it fails."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}")


def install(job: Job, clone: Path) -> None:
    """The environment of a clone, as `make test` would have it."""
    python = clone / ".venv" / "bin" / "python"
    run("uv", "venv", "--quiet", "--seed", "--python", job.python, clone / ".venv")
    chosen = ("--resolution", "lowest-direct") if job.lowest else ()
    sources = [f"--editable={clone}[test]"]
    sources += [f"--editable={clone / 'plugins' / name}" for name in PLUGINS]
    run("uv", "pip", "install", "--quiet", "--python", python, *chosen, *sources)
    (clone / ".venv" / "installed-test").touch()


@contextmanager
def no_rest(busy: bool) -> Iterator[None]:
    """While entered, a process keeps each core busy."""
    program = (sys.executable, "-c", "while True: pass")
    spinning = [subprocess.Popen(program) for _ in range(os.cpu_count() or 1) if busy]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def tested(job: Job, clone: Path, log: Path) -> bool:
    """Whether `make test` passes there; `log` has what it prints."""
    temporary = clone.parent / "tmp"
    temporary.mkdir()
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary), **ENVIRONMENT}
    with log.open("w") as out, no_rest(job.busy):
        done = subprocess.run(
            (*ALONE, *NOBODY, *PRIVATE, "make", "test"),
            cwd=clone,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            check=False,
        )
    return done.returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Run the jobs one after the other; 1 where one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(JOBS)}; default all")
    parser.add_argument("--folder", type=Path, default=Path(gettempdir()) / "matrix")
    given = parser.parse_args(arguments)
    if unknown := set(given.jobs) - set(JOBS):
        parser.error(f"unknown job {', '.join(unknown)}; there are {', '.join(JOBS)}")
    failed = False
    for name in given.jobs or JOBS:
        folder = given.folder.resolve() / f"ein Ordner mit Ä {name}"
        shutil.rmtree(folder, ignore_errors=True)
        run("git", "clone", "--quiet", ROOT, folder / "clone")
        install(JOBS[name], folder / "clone")
        began = time.monotonic()
        passed = tested(JOBS[name], folder / "clone", folder / "log.txt")
        outcome = "passed" if passed else f"failed, see {folder / 'log.txt'}"
        print(f"{name}: {outcome} ({(time.monotonic() - began) / 60:.0f} min)", flush=True)
        failed |= not passed
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
