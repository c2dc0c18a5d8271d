"""The folder of a run: its paths, and how its files are written."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from metricforge.atomic_files import begun, clear_partials, write_file
from metricforge.data.split_file import Record
from metricforge.decoding import decoded, is_json
from metricforge.errors import ArtefactError, ResourceError, UsageError
from metricforge.regular_file import read_text
from metricforge.runs.environment import Environment
from metricforge.runs.lock import NAME as LOCK
from metricforge.runs.lock import held
from metricforge.runs.summary import Summary
from metricforge.training.checkpoint import Checkpoints

# Written before config.toml, which makes a folder that of a run.
BEFORE_THE_CONFIG = {LOCK, "plots", "log.txt", "env.json", "split.json"}
OF_A_RUN = BEFORE_THE_CONFIG | {
    "checkpoints", "model", "metrics.jsonl", "report.html", "evaluations.jsonl", "by_class.csv",
    "summary.json",
}  # fmt: skip
BEGUN_BEFORE_IT = {"env.json", "split.json", "config.toml"}


T = TypeVar("T")


def _fields(line: str) -> dict[str, Any]:
    return decoded(line, dict[str, Any])


@dataclass(frozen=True)
class RunFolder:
    """`runs/NAME/` with its files; made by :meth:`created` or opened by :meth:`open`."""

    path: Path

    @classmethod
    @contextmanager
    def created(cls, path: Path, overwrite: bool = False) -> Iterator[RunFolder]:
        """A new folder, locked for the duration of the run.

        UsageError if it is not empty or another run holds it, ResourceError if it can't be made.
        """
        folder = cls(path)
        cls.refuse_used(path, overwrite)
        with held(path):
            # Again, because another run may have begun and ended since that check.
            if folder.config.is_file() and not overwrite:
                raise UsageError(f"{path} holds another run by now; give another --out.")
            try:
                folder.clear()
                folder.plots.mkdir(parents=True, exist_ok=True)
                folder.log("created")
            except OSError as error:
                raise ResourceError(f"can't write to {path}: {error.strerror}.") from error
            yield folder

    @classmethod
    def refuse_used(cls, path: Path, overwrite: bool) -> None:
        """UsageError if `path` is not empty; checked before anything slow is done.

        Files of a run that was stopped before its first step are allowed.
        """
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; give another --out.")
        names = {file.name for file in path.iterdir()} if path.is_dir() else set()
        leftovers = {name for name in names if begun(name) not in BEGUN_BEFORE_IT}
        # A run that was stopped while it removed an earlier one has all files but the config.
        known = OF_A_RUN if overwrite else BEFORE_THE_CONFIG
        stopped_early = LOCK in names and leftovers <= known
        if not names or stopped_early:
            return
        if not cls(path).config.is_file():
            what = "holds files but no run to overwrite" if overwrite else "is not empty"
            raise UsageError(f"{path} {what}; give another --out.")
        if not overwrite:
            raise UsageError(
                f"{path} is not empty; give another --out, resume it with --resume {path}, or "
                "pass --overwrite."
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that was begun; ArtefactError for any other."""
        folder = cls(path)
        if path.is_file():
            raise ArtefactError(f"{path} is a file, not the folder of a run; it was not opened.")
        if not folder.config.is_file():
            raise ArtefactError(f"{path} is not the folder of a run: it has no config.toml.")
        _refuse_links(path)
        return folder

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def by_class(self) -> Path:
        return self.path / "by_class.csv"

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints")

    @property
    def extended_after(self) -> list[int]:
        """The epochs after which the run was finished, and then trained longer."""
        recorded = (self.path / "env.json").is_file()
        return self.read("env", Environment).get("extended_after", []) if recorded else []

    def clear(self) -> None:
        """Remove the files of an earlier run, and no others."""
        # First: without it nothing mistakes the remaining files for a run to resume.
        self.config.unlink(missing_ok=True)
        for name in OF_A_RUN - {LOCK}:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        clear_partials(self.path)

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Write `NAME.json`."""
        write_file(self.path / f"{name}.json", json.dumps(record, indent=1) + "\n")

    def read(self, name: str, kind: type[T]) -> T:
        """Read `NAME.json`; ArtefactError if it is missing, damaged or not a `kind`."""
        path = self.path / f"{name}.json"
        try:
            return decoded(read_text(path), kind)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} can't be read: {error}.") from error

    @property
    def split(self) -> Record:
        """The record in split.json."""
        return self.read("split", Record)

    @property
    def summary(self) -> Summary:
        """The known fields of summary.json."""
        return self.read("summary", Summary)

    def records(
        self, path: Path, read: Callable[[str], dict[str, Any]] = _fields
    ) -> list[dict[str, Any]]:
        """The lines of a JSONL file, by `read`; a partial line at its end is dropped.

        ArtefactError for any other line that `read` raises ValueError for.
        """
        entries = []
        lines = read_text(path, errors="replace").splitlines() if path.is_file() else []
        while lines and not is_json(lines[-1]):
            lines.pop()
        for number, line in enumerate(lines, 1):
            try:
                entries.append(read(line))
            except ValueError as error:
                raise ArtefactError(
                    f"{path}:{number} is damaged ({error}); remove the line."
                ) from error
        return entries

    def rewrite(self, path: Path, records: Iterable[Mapping[str, Any]]) -> None:
        """Replace a JSONL file."""
        write_file(path, "".join(json.dumps(record) + "\n" for record in records))

    def append(self, path: Path, record: Mapping[str, Any]) -> None:
        """Add a line to a JSONL file."""
        try:
            with path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise ResourceError(f"can't write {path}: {error.strerror}.") from error

    def sync(self, path: Path) -> None:
        """Have the system put a file's lines on the disk."""
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def log(self, sentence: str) -> None:
        """Add a line with the time to log.txt."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            with (self.path / "log.txt").open("a") as file:
                file.write(f"{now} {sentence}\n")
        except OSError as error:
            raise ResourceError(f"can't write to {self.path}: {error.strerror}.") from error


def _refuse_links(folder: Path) -> None:
    """ArtefactError for a link, a pipe or a device below a run's folder.

    A run may be a stranger's, and what is appended to or replaced in it must lie in it.
    """
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # a run at work has renamed it
                continue
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                what = "a link" if stat.S_ISLNK(mode) else "no regular file"
                raise ArtefactError(f"{path} is {what}, which no run has; replace it by a copy.")


def free_name(root: Path, name: str) -> Path:
    """`root/name`, or with the first number that is free: `name-2`, `name-3`, ..."""
    path, number = root / name, 1
    while path.exists():
        number += 1
        path = root / f"{name}-{number}"
    return path
