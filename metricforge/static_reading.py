"""The description of a component from its source, without importing it or its packages."""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint
from itertools import zip_longest
from pathlib import Path

DECLARATION = "METRICFORGE_API"


@dataclass(frozen=True)
class Reading:
    """The description of a component in its source.

    `summary` is the first line of its docstring; `api` the plugin API version that its module, or
    the nearest package around it, declares (None: none); `fault` a visible reason why importing it
    would fail, else "".
    """

    summary: str = ""
    api: int | None = None
    fault: str = ""


def read(point: EntryPoint) -> Reading:
    """The description of the object that an entry point names."""
    try:
        module, attribute = point.module, point.attr.partition(".")[0]
    # The errors of importlib.metadata, by release, for a value that is no reference.
    except (AttributeError, AssertionError, ValueError):
        return Reading(fault=f"the entry point '{point.value}' is not module:attribute")
    specs = _specs(module)
    if specs is None:
        return Reading(fault=f"there is no module '{module}'")
    trees = []
    for path in filter(None, map(_python_file, specs)):
        try:
            trees.append(_parsed(path, path.stat().st_mtime_ns))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return Reading(fault=f"{path.name} can't be read: {type(error).__name__}: {error}")
    if not trees or not _python_file(specs[-1]):
        return Reading(api=_declared(trees))
    return Reading(_summary(trees[-1], attribute), _declared(trees), _fault(trees, attribute))


@lru_cache(maxsize=256)
def _parsed(path: Path, changed: int) -> ast.Module:
    """The tree of a source as it was last `changed`: modules share packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a listing shows no warnings about a source
        return ast.parse(path.read_bytes(), path.name)


def _specs(module: str) -> list[ModuleSpec] | None:
    """The packages around a module and the module, outermost first; None if any is missing."""
    top, *nested = module.split(".")
    candidates = [_top(top)]
    for part in nested:
        around = candidates[-1]
        if around is None or around.submodule_search_locations is None:
            return None
        # By its last name: a namespace package's full name would be looked up in sys.modules.
        candidates.append(PathFinder.find_spec(part, list(around.submodule_search_locations)))
    specs = [spec for spec in candidates if spec is not None]
    return specs if len(specs) == len(candidates) else None


@cache
def _top(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a half-imported module has no spec to give
        return None


def _python_file(spec: ModuleSpec) -> Path | None:
    path = Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    return path if path and path.is_file() else None  # in a zip it is none


def _declared(trees: list[ast.Module]) -> int | None:
    """The API version that the innermost of these modules declares."""
    for tree in reversed(trees):
        for name, value in _assignments(tree):
            if name == DECLARATION and isinstance(value, ast.Constant):
                return value.value if isinstance(value.value, int) else None
    return None


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr | None]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((t.id, node.value) for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.value


def _fault(trees: list[ast.Module], attribute: str) -> str:
    for top in dict.fromkeys(top for tree in trees for top in _imported(tree)):
        if top not in sys.modules and _top(top) is None:
            return f"it imports '{top}', which is not installed"
    if attribute and not _may_define(trees[-1], attribute):
        return f"its module does not define '{attribute}'"
    return ""


def _imported(tree: ast.Module) -> Iterator[str]:
    """The top-level packages that a module can't be imported without."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _may_define(tree: ast.Module, attribute: str) -> bool:
    """False when no statement of the module could bind the name."""
    return any(_may_bind(node, attribute) for node in ast.walk(tree))


def _may_bind(node: ast.AST, attribute: str) -> bool:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name in (attribute, "__getattr__")
    if isinstance(node, ast.Name):
        stored = isinstance(node.ctx, ast.Store) and node.id == attribute
        return stored or node.id in ("globals", "locals", "vars", "setattr", "exec")
    if isinstance(node, ast.MatchAs | ast.MatchStar | ast.MatchMapping):
        return attribute == (node.rest if isinstance(node, ast.MatchMapping) else node.name)
    if isinstance(node, ast.Attribute):
        return ast.unparse(node) == "sys.modules"
    # Importing a part of a package binds the part's name in the package, too.
    if isinstance(node, ast.ImportFrom):
        return attribute in (node.module or "").split(".")
    if isinstance(node, ast.alias):
        return bool({attribute, "*"} & ({node.asname} if node.asname else {*node.name.split(".")}))
    return False


def _summary(tree: ast.Module, attribute: str) -> str:
    """The first line that documents `attribute`: its docstring, or the string below it."""
    for node, after in zip_longest(tree.body, tree.body[1:]):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        is_target = any(isinstance(t, ast.Name) and t.id == attribute for t in targets)
        if is_target and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return str(after.value.value).partition("\n")[0]
    return ""
