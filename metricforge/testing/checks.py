"""A check, its outcomes, and the errors of a component that count as failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metricforge.errors import MetricForgeError, PluginError

if TYPE_CHECKING:
    from metricforge.testing.subject import Subject


class Broken(Exception):  # noqa: N818 - it ends a check, and no program
    """The component violates a check: "what it did; what to do"."""


class Skipped(Exception):  # noqa: N818 - it ends a check, and no program
    """The check does not apply to this component or this machine; has the reason."""


@dataclass(frozen=True)
class Check:
    """A function from a subject to None (passed) or a note; it raises Broken or Skipped.

    Args:
        run: The function.
        first: Whether the later checks depend on it: if it fails, they are skipped.
    """

    run: Callable[[Subject], str | None]
    first: bool = False

    @property
    def name(self) -> str:
        """The function's name with hyphens, as in "every-image-is-shown"."""
        return self.run.__name__.replace("_", "-")

    @property
    def says(self) -> str:
        """The rule: the first line of the function's docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]


def checks(*functions: Callable[[Subject], str | None], first: int = 0) -> tuple[Check, ...]:
    """These functions as checks, in this order; all others depend on the first so many."""
    return tuple(Check(function, index < first) for index, function in enumerate(functions))


@contextmanager
def on_input(what: str, odd: bool = False) -> Iterator[None]:
    """Name the input in every error of the block.

    A component may reject odd input with a MetricForgeError, which ends the block without a
    failure. It must take ordinary input. Any other exception of its own is a failure.
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
    """Apply a rule of the training loop to a component; its PluginError is a failure here.

    Odd input excuses a component's own errors, but not this one.
    """
    try:
        rule(*arguments)
    except PluginError as error:
        raise Broken(f"does not do as agreed: {error}") from error


def refusal(error: MetricForgeError) -> str:
    """The text of a failure in which the component rejects ordinary input."""
    return f"refused with {type(error).__name__}: {error}"


def raised(error: Exception) -> str:
    """The text of a failure with an exception, on one line of limited length."""
    fault = " ".join(str(error).split())
    shown = fault if len(fault) <= 300 else f"{fault[:297]}..."
    return f"raised {type(error).__name__}: {shown or 'nothing said'}"
