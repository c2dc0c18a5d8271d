"""A fresh environment with metricforge and plugins, built into wheels and installed by pip."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cli.forked import LONGEST, Forked

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment whose `metricforge` and `pip` are its own.

    What metricforge depends on comes from the environment of the tests.
    """

    folder: Path

    @classmethod
    def create(cls, folder: Path, sources: Sequence[Path]) -> Environment:
        """Build a wheel of metricforge and of each source, and install them into a new one."""
        built = folder / "built"
        wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", built]
        _pip(*wheel, ROOT, *sources)
        fresh = folder / "fresh"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
        wheels = sorted(built.glob("*.whl"))
        assert len(wheels) == len(sources) + 1
        _pip("--python", fresh / "bin/python", "install", "--no-deps", "--no-index", *wheels)
        (site,) = fresh.glob("lib/python*/site-packages")
        around = sysconfig.get_path("purelib")
        # A plain line: the editable installs of the checkout, which a .pth there names, stay out.
        (site / "dependencies.pth").write_text(f"{around}\n")
        _write_pip(fresh / "bin" / "pip", fresh / "bin" / "python")
        return cls(fresh)

    @property
    def site(self) -> Path:
        """Where its distributions lie."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        return site

    def run(
        self, *words: object, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment to its end."""
        program, *rest = map(str, words)
        programs = self.folder / "bin"
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        given = {**os.environ, "COLUMNS": "200", "PATH": path, **env}
        if program == "metricforge":
            python = str(programs / "python")
            return Forked(rest, given, cwd or Path.cwd(), python=python).done()
        return subprocess.run(
            [str(programs / program), *rest],
            capture_output=True, text=True, cwd=cwd, env=given, timeout=LONGEST, check=False,
        )  # fmt: skip


def _pip(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def _write_pip(script: Path, python: Path) -> None:
    """A pip that needs no network: what it builds with is there already."""
    script.write_text(
        "#!/bin/sh\n"
        "command=$1\nshift\n"
        f'exec "{sys.executable}" -m pip --disable-pip-version-check --python "{python}" '
        '"$command" --no-build-isolation --no-deps "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
