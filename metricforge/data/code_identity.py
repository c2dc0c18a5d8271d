"""What tells one state of a module's code from another, its helpers in other files included."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from types import ModuleType

# Torch's version is kept by itself, and this package's own decoding has a format of its own.
_TORCH, _OWN = "torch", "metricforge"


def code_of(module: str) -> str:
    """A text that differs where the code of a module, or of what it imports by name, differs.

    It has the source of the module, and a hash of its package and of each that it has names from:
    of the installed files as their distribution lists them, or of the files themselves. Of torch's
    own modules it is empty.
    """
    if _top(module) == _TORCH:
        return ""
    packages = {_top(module), *map(_top, _imported(module))} - {_TORCH, _OWN, ""}
    packages -= sys.stdlib_module_names
    return "\n".join([_source(module), *(f"{each} {_package(each)}" for each in sorted(packages))])


def _top(module: str) -> str:
    return module.partition(".")[0]


def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return module


def _imported(module: str) -> set[str]:
    """The modules that the names of a module come from."""
    names = vars(sys.modules[module]).values() if module in sys.modules else ()
    return {
        name
        for value in names
        for name in [value.__name__ if isinstance(value, ModuleType) else _module_of(value)]
        if isinstance(name, str)
    }


def _module_of(value: object) -> object:
    try:
        return getattr(value, "__module__", "")
    except Exception:  # an object of another's may raise whatever it wants
        return ""


@cache
def _package(name: str) -> str:
    """A hash of the files of a top-level package or module."""
    return hashlib.sha256((_record(name) or _files(name)).encode()).hexdigest()


def _record(name: str) -> str:
    """The installed files with their hashes, as the distributions of a package list them.

    Empty if one lists none of its files, as one that is installed in place.
    """
    records = []
    for each in sorted(_distributions().get(name, ())):
        try:
            record = distribution(each).read_text("RECORD") or ""
        except PackageNotFoundError:
            return ""
        if f"\n{name}/" not in f"\n{record}" and f"\n{name}." not in f"\n{record}":
            return ""
        records.append(record)
    return "\n".join(records)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _files(name: str) -> str:
    """The hashes of the sources of a package, or of a module that is one file."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    folders = [Path(each) for each in getattr(module, "__path__", ())]
    files = [path for folder in folders for path in _sources(folder)]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files or _one(file)]
    return "\n".join(hashes)


def _sources(folder: Path) -> Iterator[Path]:
    """The Python files of a package and of those in it; data may lie beside them."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py":
            yield path
        elif (path / "__init__.py").is_file():
            yield from _sources(path)


def _one(file: str | None) -> list[Path]:
    return [Path(file)] if file and Path(file).is_file() else []
