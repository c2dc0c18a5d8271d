"""What a check is, how it ends, and what of a component's own errors it counts as a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metricforge.errors import MetricForgeError, PluginError

if TYPE_CHECKING:
    from metricforge.testing.subject import Subject


class Broken(Exception):  # noqa: N818 - it ends a check, and no program
    """The component breaks what a check wants: "what it did; what to do"."""


class Skipped(Exception):  # noqa: N818 - it ends a check, and no program
    """The check does not concern this component or this machine; says why."""


@dataclass(frozen=True)
class Check:
    """A function from a subject to None (it holds) or a note; it raises Broken or Skipped.

    `first`: where it fails, the checks behind it would only say the same again, and don't run.
    """

    run: Callable[[Subject], str | None]
    first: bool = False

    @property
    def name(self) -> str:
        """The function's name with hyphens, as in "every-image-is-shown"."""
        return self.run.__name__.replace("_", "-")

    @property
    def says(self) -> str:
        """What must hold: the first line of the function's docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]


def checks(*functions: Callable[[Subject], str | None], first: int = 0) -> tuple[Check, ...]:
    """These functions as checks, in this order; all others rest on the first so many."""
    return tuple(Check(function, place < first) for place, function in enumerate(functions))


@contextmanager
def given(what: str, odd: bool = False) -> Iterator[None]:
    """Name the input in whatever goes wrong in there.

    A component may refuse odd input with a MetricForgeError, which ends the block in peace;
    ordinary input it must take. Any other exception of its own is a failure.
    """
    try:
        yield
    except (Skipped, KeyboardInterrupt):
        raise
    except Broken as error:
        raise Broken(f"given {what}, it {error}") from error
    except MetricForgeError as error:
        if not odd:
            raise Broken(f"given {what}, it {refusal(error)}") from error
    except Exception as error:
        raise Broken(f"given {what}, it {raised(error)}") from error


def obey(rule: Callable[..., Any], *arguments: Any) -> None:
    """Hold a component to a rule of the training loop, whose PluginError is a failure here.

    Odd input excuses a component's own refusals, not this.
    """
    try:
        rule(*arguments)
    except PluginError as error:
        raise Broken(f"does not do as agreed: {error}") from error


def refusal(error: MetricForgeError) -> str:
    """A refusal of ordinary input, as a failure says it."""
    return f"refused with {type(error).__name__}: {error}"


def raised(error: Exception) -> str:
    """An exception as a failure says it, on one line and not without end."""
    fault = " ".join(str(error).split())
    shown = fault if len(fault) <= 300 else f"{fault[:297]}..."
    return f"raised {type(error).__name__}: {shown or 'nothing said'}"
