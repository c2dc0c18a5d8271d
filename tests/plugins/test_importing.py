"""Importing components in processes of their own: what goes wrong is told, and costs no other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from metricforge.contracts import KINDS
from metricforge.plugin_tools import importing
from metricforge.plugin_tools.importing import imported
from metricforge.registry import Entry, Registry, Status

Try = Callable[..., dict[str, Status]]


@pytest.fixture
def try_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Try:
    """Installs a distribution of these modules, each with an X in `group`, and tries all.

    `ends` has what comes at the end of a module, below its X.
    """

    def of(
        begin: Callable[[Entry], None] = lambda entry: None,
        *,
        group: str = "samplers",
        ends: Mapping[str, str] = MappingProxyType({}),
        **sources: str,
    ) -> dict[str, Status]:
        names = {f"s{number}-{name}": name for number, name in enumerate(sources)}
        info = tmp_path / "tried_by_a_test-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tried-by-a-test\nVersion: 1\n")
        lines = [f"{name} = tried_{module}:X\n" for name, module in names.items()]
        (info / "entry_points.txt").write_text(f"[metricforge.{group}]\n" + "".join(lines))
        for name, source in sources.items():
            (tmp_path / f"tried_{name}.py").write_text(
                f"{source}\nclass X: ...\n{ends.get(name, '')}\n"
            )
        monkeypatch.syspath_prepend(tmp_path)
        path = os.pathsep.join([str(tmp_path), str(Path.cwd())])
        monkeypatch.setenv("PYTHONPATH", path, prepend=os.pathsep)
        registry = Registry.installed()
        own = [e for e in registry.entries() if e.distribution == "tried-by-a-test"]
        statuses: dict[Entry, Status] = {entry: registry.status(entry) for entry in own}
        found = imported(statuses, begin)
        assert list(found) == own
        assert not [name for name in sys.modules if name.startswith("tried_")]
        return {names[entry.name]: status for entry, status in found.items()}

    return of


GOOD = ""
BAD = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "dies": ("import os; os._exit(7)", "importing it ends the process (exit 7)"),
    "killed": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "importing it ends the process (exit -9)",
    ),
    "quits_well": ("import os; os._exit(0)", "importing it ends the process (exit 0)"),
    "multiline": ("raise ValueError('one\\ntwo')", "ValueError: one\ntwo"),
    "lacks": ("def f():\n    import a_module_that_nobody_has\nf()", "ModuleNotFoundError: No "
              "module named 'a_module_that_nobody_has'"),
}  # fmt: skip


def test_whatever_one_does_is_told_and_the_others_are_tried(try_all: Try) -> None:
    sources: dict[str, str] = {}
    for name, (source, _) in BAD.items():
        sources |= {name: source, f"after_{name}": GOOD}
    found = try_all(**sources)
    for name, (_, reason) in BAD.items():
        assert found[name] == Status("broken", reason)
        assert found[f"after_{name}"] == Status("ok")


@pytest.mark.parametrize("group", ["commands", "searches"])
def test_what_is_no_component_is_imported_too(try_all: Try, group: str) -> None:
    """It has no options to be read; it must be something to call."""
    made = "click.Command" if group == "commands" else "function that makes a search"
    sources = {"good": GOOD, "raises": BAD["raises"][0], "number": "", "after": GOOD}
    found = try_all(group=group, ends={"number": "X = 3"}, **sources)
    assert found == {
        "good": Status("ok"),
        "raises": Status("broken", BAD["raises"][1]),
        "number": Status("broken", f"it is int, not a {made}."),
        "after": Status("ok"),
    }


def test_all_that_we_bring_can_be_imported() -> None:
    registry = Registry.installed()
    own = [e for e in registry.entries() if e.distribution.startswith("metricforge")]
    assert {entry.kind for entry in own} >= {*KINDS, "search"}
    found = imported({entry: registry.status(entry) for entry in own})
    assert {status.word for status in found.values()} == {"ok"}


def test_one_that_is_slow_is_waited_for(try_all: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its process is looked at meanwhile."""
    monkeypatch.setattr(importing, "LOOK_AGAIN", 0.1)
    slow = "import time; time.sleep(1)"
    assert try_all(slow=slow, after=GOOD) == {"slow": Status("ok"), "after": Status("ok")}


def test_each_is_named_before_it_is_imported(try_all: Try) -> None:
    begun: list[str] = []
    try_all(
        lambda entry: begun.append(entry.name), one=GOOD, dies="import os; os._exit(7)", two=GOOD
    )
    assert begun == ["s0-one", "s1-dies", "s2-two"]


QUIRKS = {
    "prints": "print('\"\"')\nprint('metricforge-trial \"spoof\"', end='', flush=True)",
    "bytes": "import os; os.write(1, b'\\xff\\xfe\\n\\x00')",
    "floods": "print('x' * 1_000_000)",
    "closes": "import sys; sys.stdout.close()",
    "closes_hard": "import os; os.close(1)",
    "redirects": "import os, sys; sys.stdout = open(os.devnull, 'w')",
    "reads": "import sys; sys.stdin.read(0)",
    "warns": "import warnings; warnings.warn('odd')",
    "goes_elsewhere": "import os; os.chdir('/')",
}


def test_what_is_odd_and_no_fault_is_none(try_all: Try) -> None:
    found = try_all(**QUIRKS, after="raise RuntimeError('x')", last=GOOD)
    assert found.pop("after") == Status("broken", "RuntimeError: x")
    assert set(found.values()) == {Status("ok")}, found


def test_a_process_that_a_plugin_leaves_behind_holds_nothing_up(
    try_all: Try, tmp_path: Path
) -> None:
    leaves = (
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
    )
    try:
        found = try_all(leaves=leaves, after=GOOD)
        os.kill(int((tmp_path / "pid").read_text()), 0)  # it is still there
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)
    assert set(found.values()) == {Status("ok")}


def test_what_is_known_to_be_broken_is_not_tried(
    try_all: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = importing._import

    def watched(entries: list[Entry], begin: Callable[[Entry], None]) -> tuple[list[str], str]:
        asked.extend(entry.name for entry in entries)
        return real(entries, begin)

    monkeypatch.setattr(importing, "_import", watched)
    found = try_all(broken="import a_module_that_nobody_has", future="METRICFORGE_API = 2", good="")
    assert asked == ["s2-good"]
    assert found["broken"].reason.startswith("it imports 'a_module_that_nobody_has'")
    assert found["future"].reason.startswith("made for plugin API 2")
    assert found["good"] == Status("ok")


def test_without_any_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_import", None)
    assert imported({}) == {}
