"""Packages that only some users need: an extra of the distribution."""

from __future__ import annotations

import importlib
from typing import Any

from metricforge.errors import UsageError


def imported(module: str, needed_by: str, extra: str = "photos") -> Any:
    """A module of an extra; UsageError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise UsageError(
            f"{needed_by} requires the package {error.name}: pip install 'metricforge[{extra}]'."
        ) from error
