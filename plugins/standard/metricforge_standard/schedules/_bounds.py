"""What an option of a schedule may be."""

from __future__ import annotations

from metricforge.errors import UsageError


def refuse_beyond(what: str, value: float) -> None:
    """UsageError for what is not from 0 to 1: "warmup is a fraction of the training"."""
    if not 0 <= value <= 1:
        raise UsageError(f"in a schedule {what}, from 0 to 1, not {value}.")
