"""The names of a plugin's module and class, made from its name, and the names that are refused."""

from __future__ import annotations

import importlib.util
import io
import keyword
import re
import sys
import tokenize
from dataclasses import dataclass

from metricforge.entry_points import COMMAND
from metricforge.errors import UsageError
from metricforge.registry import Registry

SHORTEST, LONGEST = 2, 30
"""Lengths of a name: a longer one would make lines of the templates too long."""

PLACEHOLDERS = {"my_idea", "MyIdea"}
"""The module and the class in the templates, which the plugin's replace."""

_FORM = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Naming:
    """The names of a plugin: `my-idea`, the module `my_idea`, the class `MyIdea`."""

    kind: str
    name: str

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def title(self) -> str:
        return "".join(word.capitalize() for word in self.name.split("-"))

    @property
    def component(self) -> str:
        """The object of the entry point: a function for a dataset or a command, else a class."""
        return self.module if self.kind in ("dataset", COMMAND) else self.title


def checked(kind: str, name: str, source: str, registry: Registry) -> Naming:
    """The names of a plugin of this kind, with the code `source`.

    Raises UsageError for an invalid name, a registered one, one that would hide a module, and one
    that has another meaning in `source`.
    """
    if not _FORM.fullmatch(name) or not SHORTEST <= len(name) <= LONGEST:
        raise UsageError(
            f"'{name}' can't name a plugin; write small letters and digits, words joined by "
            f"hyphens, {SHORTEST} to {LONGEST} characters, e.g. my-idea."
        )
    naming = Naming(kind, name)
    _refuse_registered(kind, name, registry)
    _refuse_hiding(naming)
    _refuse_reserved(naming, source)
    return naming


def _refuse_registered(kind: str, name: str, registry: Registry) -> None:
    owners = [entry.origin for entry in registry.entries(kind) if entry.name == name]
    if owners:
        raise UsageError(
            f"{kind} '{name}' is there already, from {' and '.join(owners)}; choose another name."
        )


def _refuse_hiding(naming: Naming) -> None:
    """Refuse a module that would hide another, or that pytest would collect as tests."""
    module = naming.module
    if naming.name.startswith("test"):
        raise UsageError(
            f"pytest takes what begins with 'test' for a test: '{naming.name}' would be one; "
            "choose another name."
        )
    if module in sys.stdlib_module_names or module in sys.builtin_module_names:
        raise UsageError(
            f"the module {module}.py would hide Python's own module '{module}'; choose another "
            "name."
        )
    if importlib.util.find_spec(module) is not None:
        raise UsageError(
            f"the module {module}.py would hide the installed module '{module}', or be hidden by "
            "it; choose another name."
        )


def _refuse_reserved(naming: Naming, source: str) -> None:
    """Refuse a name that is a keyword, or that the component's code uses for something else."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    used = {token.string for token in tokens if token.type == tokenize.NAME} - PLACEHOLDERS
    component = naming.component
    if component in used or keyword.iskeyword(component) or keyword.iskeyword(naming.module):
        raise UsageError(
            f"'{naming.name}' would be called {component} in the code, where that means something "
            f"else; choose another name, e.g. my-{naming.name}."
        )
