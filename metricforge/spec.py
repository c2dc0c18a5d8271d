"""Specs, `name:key=value,...`, and the typed options that a factory's signature declares.

Ordinary parameters are values that a factory requires of the core; keyword-only parameters are its
options, and `**stages: InnerSpec` takes options of that type under any further names. The signature
is the whole schema.
"""

from __future__ import annotations

import inspect
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from metricforge.contracts import InnerSpec
from metricforge.contracts.kinds import INNER
from metricforge.errors import PluginError, UsageError, unknown

Factory = Callable[..., Any]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_OPTION = re.compile(r'\s*(?P<key>\w+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^,"]*))\s*')
_UNIONS = (Union, types.UnionType)
# The plus between two numbers, and not that of an exponent: 1e+3+5.
_BETWEEN = re.compile(r"(?<![eE])\+")


@dataclass(frozen=True)
class Spec:
    """A component chosen by name with options, as written on a command line.

    Args:
        name: Name of the component.
        options: Values of its options, as text, by name.
        distribution: The distribution, if the user wrote `dist:name` to select one of two that
            share a name; or None.
        typed: False for a default that nobody typed: it means metricforge's own component, whoever
            else registers the name.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    distribution: str | None = None
    typed: bool = field(default=True, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Parse `[dist:]name[:key=value,...]`; values with a comma go in double quotes.

        Args:
            text: The spec.

        Returns:
            The same as a Spec.

        Raises:
            UsageError: The text can't be read; the error has the text and the form.
        """
        before_value = text.partition("=")[0]
        head, colon, _ = before_value.rpartition(":")
        if "=" in text and colon:
            names, options = head, _parse_options(text[len(head) + 1 :], text)
        elif "=" in text:
            raise _malformed(text, "the options come after the name and a colon")
        else:
            names, options = text.removesuffix(":"), {}
        distribution, _, name = names.strip().rpartition(":")
        for part in filter(None, (distribution, name)):
            if not _NAME.fullmatch(part):
                raise _malformed(text, f"'{part}' is no name")
        if not name:
            raise _malformed(text, "the name is missing")
        return cls(name, options, distribution or None)

    def __str__(self) -> str:
        head = f"{self.distribution}:{self.name}" if self.distribution else self.name
        options = ",".join(f"{key}={_quote(value)}" for key, value in self.options.items())
        return f"{head}:{options}" if options else head


@dataclass(frozen=True)
class Option:
    """One keyword-only parameter of a factory.

    Args:
        name: Its name.
        type: Its annotation.
        default: Its default; `inspect.Parameter.empty` if it is required.
        help: A sentence on it, "" without.
    """

    name: str
    type: Any
    default: Any
    help: str = ""

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        return _type_name(self.type)

    def read(self, text: str) -> Any:
        """Parse a value of this option's type.

        Args:
            text: The value, as a spec has it.

        Returns:
            The value.

        Raises:
            ValueError: The text is no such value.
        """
        return _read(text, self.type)

    def can_read(self, text: str) -> bool:
        """Whether a text is a value of this option's type.

        Args:
            text: The value, as a spec has it.

        Returns:
            Whether :meth:`read` takes it.
        """
        try:
            self.read(text)
        except ValueError:
            return False
        return True


def asks_of(factory: Factory) -> tuple[str, ...]:
    """The names of the ordinary parameters: what the factory requires of the core."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    return tuple(p.name for p in parameters if p.kind in kinds)


def options_of(factory: Factory, named: Iterable[str] = ()) -> dict[str, Option]:
    """The keyword-only parameters of a factory, by name, with their types.

    Args:
        factory: A class or function that makes a component.
        named: Names of options that a user wrote; those that only `**stages` takes are included.

    Returns:
        The options by name.

    Raises:
        PluginError: A parameter has no type that a spec can express.
    """
    parameters = inspect.signature(factory).parameters
    keyword_only = [p for p in parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    options = {p.name: _option(p, factory) for p in keyword_only}
    if further := further_of(factory):
        free = [name for name in named if name not in parameters]
        options |= {name: replace(further, name=name) for name in free}
    return options


def further_of(factory: Factory) -> Option | None:
    """The option that `**stages: InnerSpec` declares for names of a user's choice, or None.

    `**options: Any` declares none, since a spec can't express its type.
    """
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            try:
                return _option(parameter, factory)
            except PluginError:
                return None
    return None


def bind(factory: Factory, spec: Spec, what: str, common: Iterable[str] = ()) -> dict[str, Any]:
    """The options of `spec` as typed keyword arguments for `factory`, defaults filled in.

    Args:
        factory: A class or function that makes a component.
        spec: The component and its options.
        what: Name of the component in errors, e.g. "sampler 'hard-triplet'".
        common: Names of further options that its kind has, for errors.

    Returns:
        The values by name.

    Raises:
        UsageError: An option is unknown (with the nearest), has a bad value, or is missing.
    """
    options = options_of(factory, spec.options)
    for key in spec.options:
        if key not in options:
            raise unknown(f"option of {what}:", key, {*options, *common})
    bound: dict[str, Any] = {}
    for name, option in options.items():
        if name in spec.options:
            bound[name] = _read_option(option, spec.options[name], what)
        elif option.required:
            raise UsageError(f"{what} needs the option '{name}' ({option.type_name}).")
        else:
            bound[name] = option.default
    return bound


def complete(factory: Factory, spec: Spec, what: str, common: Iterable[str] = ()) -> Spec:
    """The same spec with every default written out, so that a record of it stays true."""
    bound = bind(factory, spec, what, common)
    return replace(spec, options={name: written(value) for name, value in bound.items()})


def _type_name(kind: Any) -> str:
    if kind is type(None):
        return "none"
    if kind == InnerSpec:
        return "spec"
    if get_origin(kind) is Literal:
        return "|".join(str(value) for value in get_args(kind))
    if get_origin(kind) is tuple:
        element = _type_name(get_args(kind)[0])
        return f"{element}+{element}+..."
    if _is_enum(kind):
        return "|".join(str(member.value) for member in kind)
    if get_origin(kind) in _UNIONS:
        return " or ".join(map(_type_name, get_args(kind)))
    return str(kind.__name__)


def _read_option(option: Option, text: str, what: str) -> Any:
    try:
        return option.read(text)
    except ValueError:
        raise UsageError(
            f"option '{option.name}' of {what} takes {option.type_name}, not '{text}'."
        ) from None


def _read(text: str, kind: Any) -> Any:
    if kind is bool:
        return _choice(text, {"true": True, "false": False})
    if kind == InnerSpec:
        return text
    if kind is Path:
        # A shell expands no ~ behind an =; that of nobody is part of a name.
        return Path(os.path.expanduser(text))  # noqa: PTH111 - a Path raises for such a one
    if kind in (int, float, str):
        return kind(text)
    if get_origin(kind) is Literal:
        return _choice(text, {str(value): value for value in get_args(kind)})
    if get_origin(kind) is tuple:
        return tuple(_read(part, get_args(kind)[0]) for part in _BETWEEN.split(text) if text)
    if _is_enum(kind):
        return _choice(text, {str(member.value): member for member in kind})
    return _read_union(text, get_args(kind))


def _read_union(text: str, kinds: tuple[Any, ...]) -> Any:
    # Strictest first, so that "2" for `int | float` stays an integer.
    if type(None) in kinds and text == "none":
        return None
    literals = [kind for kind in kinds if get_origin(kind) is Literal]
    order = [*literals, *(kind for kind in (bool, int, float) if kind in kinds)]
    order += [kind for kind in kinds if get_origin(kind) is tuple or _is_enum(kind)]
    order += [kind for kind in (Path, str) if kind in kinds]
    for kind in order:
        try:
            return _read(text, kind)
        except ValueError:
            continue
    raise ValueError(text)


def _choice(text: str, values: Mapping[str, Any]) -> Any:
    if text not in values:
        raise ValueError(text)
    return values[text]


def written(value: Any) -> str:
    """The value of an option as a spec has it."""
    if isinstance(value, tuple):
        return "+".join(map(written, value))
    if isinstance(value, Enum):
        return str(value.value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _quote(value: str) -> str:
    if not re.search(r'[,"]|^\s|\s$', value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parse_options(body: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    position = 0
    while position < len(body):
        match = _OPTION.match(body, position)
        end = match.end() if match else position
        if match is None or (end < len(body) and body[end] != ","):
            raise _malformed(text, f"can't read '{body[position:]}'")
        key = match["key"]
        if key in options:
            raise _malformed(text, f"'{key}' is given twice")
        quoted = match["quoted"]
        options[key] = match["bare"].strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = end + 1
    return options


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(
        f"can't read the spec '{text}': {why}; write name:key=value,key=value, a list of "
        "numbers with '+', as k=1+5, and a value with a comma in double quotes, as "
        "'folder:path=\"a, b\"'."
    )


def _option(parameter: inspect.Parameter, factory: Factory) -> Option:
    """A keyword-only parameter with its type; PluginError for one that no spec can express."""
    kind = _annotation(parameter, factory)
    sentence = _sentence_on(parameter.name, factory)
    if get_origin(kind) is Annotated and kind != InnerSpec:
        sentences = [each for each in get_args(kind)[1:] if isinstance(each, str) and each != INNER]
        sentence = next(iter(sentences), sentence)
        kind = InnerSpec if INNER in get_args(kind)[1:] else get_args(kind)[0]
    if not _expressible(kind):
        raise _untyped(parameter, factory, f"{kind!r} is not one")
    if parameter.default is not inspect.Parameter.empty and not _fits(parameter.default, kind):
        raise _untyped(parameter, factory, f"its default {parameter.default!r} is none")
    return Option(parameter.name, kind, parameter.default, sentence)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a default is of the type of its option; a whole number may be a float."""
    if get_origin(kind) in _UNIONS:
        return any(_fits(value, part) for part in get_args(kind))
    if kind is type(None):
        return value is None
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(
            _fits(element, get_args(kind)[0]) for element in value
        )
    if kind == InnerSpec:
        return isinstance(value, str)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _sentence_on(name: str, factory: Factory) -> str:
    """The docstring's sentence on a parameter of a factory, in its section "Args:"."""
    _, _, section = (inspect.getdoc(factory) or "").partition("Args:\n")
    match = re.search(rf"(?m)^    {re.escape(name)}: (.+(?:\n     +\S.*)*)", section)
    return " ".join(match[1].split()) if match else ""


def _annotation(parameter: inspect.Parameter, factory: Factory) -> Any:
    kind = parameter.annotation
    if kind is inspect.Parameter.empty:
        example = f"{parameter.name}: int = 3"
        raise _untyped(parameter, factory, f"it has no annotation; write one, as in `{example}`")
    if isinstance(kind, str):
        try:
            kind = eval(kind, _namespace(factory))
        except Exception as error:
            raise _untyped(parameter, factory, f"'{kind}' can't be resolved: {error}") from error
    return kind


def _expressible(kind: Any) -> bool:
    if get_origin(kind) in _UNIONS:
        return all(part is type(None) or _expressible(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        element, *remaining = get_args(kind)
        return remaining == [...] and (element in (int, float) or _is_enum(element))
    if _is_enum(kind):
        return True
    plain = (int, float, bool, str, InnerSpec, Path)
    return kind in plain or get_origin(kind) is Literal


def _untyped(parameter: inspect.Parameter, factory: Factory, why: str) -> PluginError:
    owner = getattr(factory, "__qualname__", repr(factory))
    return PluginError(
        f"option '{parameter.name}' of {owner} needs a type that a spec can express "
        "(int, float, bool, str, Path, InnerSpec, Literal, Enum, tuple[int, ...] or "
        f"tuple[float, ...], or one of them or None): {why}."
    )


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _namespace(factory: Factory) -> dict[str, Any]:
    """The names that its annotations may use: those of the module that defines it."""
    while isinstance(factory, partial):
        factory = factory.func
    # A class may have its constructor from another module.
    written: Any = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    return dict(getattr(inspect.unwrap(written), "__globals__", {}))
