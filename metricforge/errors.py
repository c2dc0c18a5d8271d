"""The errors that a user meets: one sentence each, with an exit code for the shell."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MetricForgeError(Exception):
    """Something the user can act on; the message says what, where and the nearest fix."""

    exit_code = 1


class UsageError(MetricForgeError):
    """A command, option, spec or config that can't be carried out as written."""

    exit_code = 2


class DataError(MetricForgeError):
    """Images, labels or splits that can't be used."""

    exit_code = 3


class PluginError(MetricForgeError):
    """A plugin that fails to import, or breaks its contract; names the plugin."""

    exit_code = 4


class ArtefactError(MetricForgeError):
    """A model, checkpoint or run folder that is damaged, foreign or does not match."""

    exit_code = 5


class ResourceError(MetricForgeError):
    """The machine lacks something: memory, disk, a device, a permission."""

    exit_code = 6


class DivergedError(MetricForgeError):
    """The numbers went bad: NaN or infinity in a loss or an embedding."""

    exit_code = 7


class Interrupted(MetricForgeError):  # noqa: N818 - a stop that was asked for is no error
    """The run was asked to stop and saved itself."""

    exit_code = 130


def unknown(what: str, name: str, choices: Iterable[str]) -> UsageError:
    """A :class:`UsageError` for a name that is not among `choices`, with the nearest one."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    listed = ", ".join(known[:40]) + (", ..." if len(known) > 40 else "")
    return UsageError(f"unknown {what} '{name}'{hint} Choices: {listed or 'none'}.")
