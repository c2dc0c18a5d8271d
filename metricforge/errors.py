"""The errors that a user gets: one sentence each, with an exit code for the shell."""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path

MOST_CHOICES = 40
"""The most names that an error lists; of more, it lists the nearest."""

_LIBRARY = re.compile(r"[/\\](torch|numpy|metricforge)[/\\]|<frozen|importlib")


class MetricForgeError(Exception):
    """An error that the user can act on; the message has what is wrong, where, and the nearest fix.

    Attributes:
        exit_code: Exit code of the command line: 1, or that of the subclass.
    """

    exit_code = 1


class UsageError(MetricForgeError):
    """A command, option, spec or config that can't be run as written."""

    exit_code = 2


class InUseError(UsageError):
    """A folder in which another process works."""


class DataError(MetricForgeError):
    """Images, labels or splits that can't be used."""

    exit_code = 3


class UnfitError(DataError):
    """A component that requires what the data of this run does not have, e.g. groups."""


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
    """NaN or infinity in a loss or an embedding."""

    exit_code = 7


class Interrupted(MetricForgeError):  # noqa: N818 - a requested stop is no error
    """The run was asked to stop, and saved a checkpoint."""

    exit_code = 130


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception reports a lack of memory; for the CPU's torch has no class."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    says = str(error)
    if isinstance(error, ImportError):  # of a library that could not be mapped
        return "failed to map segment" in says or "allocate memory" in says
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and "can't allocate memory" in says


def told(error: BaseException) -> str:
    """An exception of foreign code in one line: its kind, message and location."""
    message = " ".join(str(error).split()).rstrip(".")
    # The first frame is that of the caller; the last may lie deep in a library.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if not _LIBRARY.search(frame.filename)]
    location = (
        f" ({Path(own[-1].filename).name}:{own[-1].lineno}, in {own[-1].name})" if own else ""
    )
    return f"{type(error).__name__}: {message}{location}"


def few(names: Sequence[object], most: int = 5) -> str:
    """The first of some names in a message: "a, b, c, ..."."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


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
