"""What is told of a component from its source alone: true of odd sources, and without importing."""

from __future__ import annotations

import _struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from importlib.metadata import EntryPoint
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from metricforge.static_reading import Reading, read

NUMBER = count()
Read = Callable[..., Reading]


def entry(value: str) -> EntryPoint:
    return EntryPoint("x", value, "metricforge.samplers")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads attribute X of a module (or package, if there are more files) with this source."""
    monkeypatch.syspath_prepend(tmp_path)

    def of(source: str | bytes, attribute: str = "X", **files: str) -> Reading:
        name = f"read_by_a_test_{next(NUMBER)}"
        content = source if isinstance(source, bytes) else dedent(source).encode()
        if files:
            (tmp_path / name).mkdir()
            for part, text in files.items():
                (tmp_path / name / f"{part}.py").write_text(dedent(text))
            (tmp_path / name / "__init__.py").write_bytes(content)
        else:
            (tmp_path / f"{name}.py").write_bytes(content)
        before = set(sys.modules)
        found = read(entry(f"{name}:{attribute}"))
        assert set(sys.modules) == before, "something was imported"
        return found

    return of


DOCUMENTED = {
    "class": 'class X:\n    """One.\n\n    Two.\n    """',
    "function": 'def X(labels):\n    """One.\n    Two."""',
    "assignment": 'X = make()\n"""One.\n\nTwo."""',
    "annotated assignment": 'X: object = make()\n"""One."""',
    "one of two targets": 'Y = X = make()\n"""One."""',
    "a family": 'X = {"small": int}\n"""One."""',
}


@pytest.mark.parametrize("source", DOCUMENTED.values(), ids=DOCUMENTED)
def test_the_summary_is_the_first_line_that_documents_it(module: Read, source: str) -> None:
    assert module(source) == Reading(summary="One.")


@pytest.mark.parametrize(
    "source",
    ["class X: ...", "X = 3", "X = 3\nY = 4\n'''Of Y.'''", "X = 3\n7", "def X(): return 1"],
)
def test_without_a_text_there_is_no_made_up_one(module: Read, source: str) -> None:
    found = module(source)
    assert found.fault == ""
    assert found.summary in ("", "7")


def test_a_nested_attribute_is_that_of_its_class(module: Read) -> None:
    assert module('class X:\n    """One."""\n    def make(): ...', "X.make") == Reading("One.")
    assert module("class Y:\n    def make(): ...", "X.make").fault.endswith("not define 'X'")


BOUND = {
    "import": "import json as X",
    "plain import": "import json\nX = json",
    "from import": "from json import loads as X",
    "star import": "from json import *",
    "__getattr__": "def __getattr__(name): return 3",
    "try": "try:\n    X = 1\nexcept NameError:\n    pass",
    "except": "try:\n    1\nexcept NameError:\n    class X: ...",
    "if": "if 1:\n    def X(): ...",
    "with": "with open('x') as X: ...",
    "for": "for X in range(3): ...",
    "match capture": "match 1:\n    case X: ...",
    "match as": "match 1:\n    case int() as X: ...",
    "match star": "match [1]:\n    case [*X]: ...",
    "match rest": "match {}:\n    case {**X}: ...",
    "walrus": "print(X := 3)",
    "unpacking": "a, (X, *b) = make()",
    "global": "def f():\n    global X\n    X = 3\nf()",
    "globals()": "globals()['X'] = 3",
    "vars()": "vars()['X'] = 3",
    "locals()": "locals().update(X=3)",
    "sys.modules": "import sys\nsetter = sys.modules[__name__]\nsetter.X = 3",
    "exec": "exec('X = 3')",
    "async": "async def X(): ...",
}


@pytest.mark.parametrize("source", BOUND.values(), ids=BOUND)
def test_whatever_may_bind_the_name_is_no_fault(module: Read, source: str) -> None:
    assert module(source).fault == ""


@pytest.mark.parametrize(
    "source",
    [
        "",
        "Y = 1",
        "print(X)",
        "from json import X as Y",
        "del X",
        "match 1:\n    case Y: ...",
        "def f(X): ...",
        "Y.X = 3",
        "class Y:\n    def modules(self): return self.modules()",
    ],
)
def test_what_can_not_bind_the_name_is_a_fault(module: Read, source: str) -> None:
    assert module(source).fault == "its module does not define 'X'"


def test_a_part_of_a_package_that_it_imports_is_an_attribute(module: Read) -> None:
    part = {"part": "class X: ..."}
    assert module("from .part import X as Y", "part.X", **part).fault == ""
    assert module("", "part.X", **part).fault == "its module does not define 'part'"


GONE = "a_module_that_nobody_has"
FINE = {
    "try": f"try:\n    import {GONE}\nexcept ImportError:\n    X = 1",
    "TYPE_CHECKING": f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {GONE}\nX=1",
    "in a function": f"def X():\n    import {GONE}",
    "relative": f"from . import {GONE}\nfrom .{GONE} import y\nX = 1",
    "__main__": "import __main__\nX = 1",
    "future": "from __future__ import annotations\nimport os.path, sys\nX = 1",
}


@pytest.mark.parametrize("source", FINE.values(), ids=FINE)
def test_imports_that_need_not_be_there_are_no_fault(module: Read, source: str) -> None:
    assert module(source).fault == ""


@pytest.mark.parametrize(
    "line", [f"import {GONE}", f"import json, {GONE}.a as b", f"from {GONE}.c import d"]
)
def test_an_import_that_must_fail_is_a_fault(module: Read, line: str) -> None:
    expected = f"it imports '{GONE}', which is not installed"
    assert module(f"{line}\nX = 1").fault == expected
    assert module("X = 1", "X", part=line).fault == ""
    name = f"read_by_a_test_{next(NUMBER) - 1}"
    assert read(entry(f"{name}.part:X")).fault == expected
    # A package around it is imported first.
    assert module(line, "X", part="X = 1").fault == expected
    name = f"read_by_a_test_{next(NUMBER) - 1}"
    assert read(entry(f"{name}.part:X")).fault == expected


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("METRICFORGE_API = 1", 1),
        ("METRICFORGE_API: int = 7", 7),
        ("OTHER = METRICFORGE_API = 2", 2),
        ("METRICFORGE_API = '1'", None),
        ("METRICFORGE_API = 1.0", None),
        ("METRICFORGE_API = VERSION", None),
        ("METRICFORGE_API: int", None),
        ("def f():\n    METRICFORGE_API = 3", None),
        ("", None),
    ],
)
def test_the_declared_version_is_a_plain_number(
    module: Read, line: str, version: int | None
) -> None:
    assert module(f"{line}\nX = 1") == Reading(api=version)


def test_the_nearest_declaration_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "nested_of_a_test" / "inner"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("METRICFORGE_API = 1")
    (folder / "__init__.py").write_text("METRICFORGE_API = 2")
    (folder / "own.py").write_text("METRICFORGE_API = 3\nX = 1")
    (folder / "none.py").write_text("X = 1")
    (folder.parent / "beside.py").write_text("X = 1")
    package = "nested_of_a_test"
    found = [read(entry(f"{package}.{m}:X")).api for m in ("inner.own", "inner.none", "beside")]
    assert found == [3, 2, 1]


def test_namespace_packages_are_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("one", "two"):
        folder = tmp_path / part / "shared_of_a_test" / part
        folder.mkdir(parents=True)
        (folder / "code.py").write_text(f'class X:\n    """From {part}."""')
        monkeypatch.syspath_prepend(tmp_path / part)
    for part in ("one", "two"):
        found = read(entry(f"shared_of_a_test.{part}.code:X"))
        assert found == Reading(summary=f"From {part}.")
    assert read(entry("shared_of_a_test:X")) == Reading()
    assert "shared_of_a_test" not in sys.modules


def test_where_there_is_no_source_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _struct.__name__ == "_struct"
    for compiled in ("_struct", "sys", "_frozen_importlib"):
        assert read(entry(f"{compiled}:X")) == Reading()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("zipped_of_a_test.py", "class X: ...")
    monkeypatch.syspath_prepend(tmp_path / "all.zip")
    assert read(entry("zipped_of_a_test:X")) == Reading()


@pytest.mark.parametrize(
    "value", ["a:b:c", "", "a b", "json", ":X", "a:", "a b:c", "a-b:X", "json:X Y"]
)
def test_a_value_that_is_no_reference_is_a_fault(value: str) -> None:
    assert read(entry(value)).fault == f"the entry point '{value}' is not module:attribute"


@pytest.mark.parametrize("value", [".a:X", "a..b:X", "json.:X", "json..decoder:X", f"{GONE}:X"])
def test_a_module_that_is_not_there_is_a_fault(value: str) -> None:
    assert read(entry(value)).fault == f"there is no module '{value.partition(':')[0]}'"


def test_a_part_of_what_is_no_package_is_not_there(module: Read) -> None:
    module("X = 1")
    name = f"read_by_a_test_{next(NUMBER) - 1}"
    assert read(entry(f"{name}.part:X")).fault == f"there is no module '{name}.part'"


def test_extras_are_passed_over() -> None:
    assert read(entry("json:loads [fast]")).fault == ""


def test_other_encodings_are_read_as_python_reads_them(module: Read) -> None:
    source = '# -*- coding: latin-1 -*-\nclass X:\n    """Größe."""'
    assert module(source.encode("latin-1")) == Reading(summary="Größe.")
    assert module(b"\xef\xbb\xbfclass X:\n    '''One.'''") == Reading(summary="One.")


@pytest.mark.parametrize(
    "source",
    [
        b"# no cookie\nX = '\xff'",
        b"# coding: klingon\nX = 1",
        b"X = 1\0",
        b"def broken(:",
        b"X = " + b"(" * 5_000 + b")" * 5_000,
        b"X = " + b"-" * 200_000 + b"1",
        b"X = 1" + b" + 1" * 200_000,
    ],
    ids=["no utf-8", "unknown encoding", "NUL", "no python", "parentheses", "signs", "terms"],
)
def test_what_python_can_not_parse_is_a_fault_and_no_crash(module: Read, source: bytes) -> None:
    assert " can't be read: " in module(source).fault


def test_a_huge_module_is_read(module: Read) -> None:
    lines = "".join(f"def f{i}(a, b):\n    return a + b * {i}\n" for i in range(20_000))
    assert module(lines + "class X:\n    '''One.'''") == Reading(summary="One.")


def test_warnings_about_a_source_are_not_ours_to_give(module: Read) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert module("class X:\n    '''One.'''\n    text = '\\d'") == Reading(summary="One.")
