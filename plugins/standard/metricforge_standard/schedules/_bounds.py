"""Bounds of the options of schedules."""

from __future__ import annotations

from metricforge.errors import UsageError


def refuse_beyond(what: str, value: float) -> None:
    """UsageError for a value outside of 0 to 1; `what` as in "warmup is a fraction of ..."."""
    if not 0 <= value <= 1:
        raise UsageError(f"in a schedule {what}, from 0 to 1, not {value}.")
