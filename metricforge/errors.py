"""The errors that a user meets: one sentence each, with an exit code for the shell."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterable, Sized
from pathlib import Path

MOST_CHOICES = 40
"""How many names an error lists; of more, the nearest."""

_LIBRARY = re.compile(r"[/\\](torch|numpy|metricforge)[/\\]|<frozen|importlib")


class MetricForgeError(Exception):
    """Something the user can act on; the message says what, where and the nearest fix."""

    exit_code = 1


class UsageError(MetricForgeError):
    """A command, option, spec or config that can't be carried out as written."""

    exit_code = 2


class InUseError(UsageError):
    """A folder in which another process is at work."""


class DataError(MetricForgeError):
    """Images, labels or splits that can't be used."""

    exit_code = 3


class UnfitError(DataError):
    """A component that asks for what the data of this run does not have, e.g. groups."""


class PluginError(MetricForgeError):
    """A plugin that fails to import, or breaks its contract; names the plugin."""

    exit_code = 4


class ArtefactError(MetricForgeError):
    """A model, checkpoint or run folder that is damaged, foreign or does not match."""

    exit_code = 5


class ResourceError(MetricForgeError):
    """The machine lacks something: memory, disk, a device, a permission."""

    exit_code = 6


class LostRankError(ResourceError):
    """Another rank has ended, and with it the process group."""


class DivergedError(MetricForgeError):
    """The numbers went bad: NaN or infinity in a loss or an embedding."""

    exit_code = 7


class Interrupted(MetricForgeError):  # noqa: N818 - a stop that was asked for is no error
    """The run was asked to stop and saved itself."""

    exit_code = 130


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is lacking; for the CPU's torch has no class."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def told(error: BaseException) -> str:
    """An exception of someone else's code in one line: its kind, what it says, and where."""
    says = " ".join(str(error).split()).rstrip(".")
    # The first frame is that of the caller; the last may lie deep in a library.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if not _LIBRARY.search(frame.filename)]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno}, in {own[-1].name})" if own else ""
    return f"{type(error).__name__}: {says}{place}"


def unknown(what: str, name: str, choices: Iterable[str]) -> UsageError:
    """A :class:`UsageError` for a name that is not among `choices`, with the nearest one."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    if len(known) > MOST_CHOICES:
        known = difflib.get_close_matches(name, known, n=10, cutoff=0.3) or known[:10]
        known.append(f"... ({len(set(choices))} in all)" if isinstance(choices, Sized) else "...")
    listed = ", ".join(known)
    return UsageError(f"unknown {what} '{name}'{hint} Choices: {listed or 'none'}.")
