"""Checks of the options that set how strong an augmentation is."""

from __future__ import annotations

from metricforge.errors import UsageError


def check_between(name: str, option: str, value: float, low: float, high: float) -> None:
    """Raise UsageError unless low <= value <= high."""
    if not low <= value <= high:
        raise UsageError(
            f"option '{option}' of augmentation '{name}' is from {low:g} to {high:g}, not "
            f"{value:g}."
        )
