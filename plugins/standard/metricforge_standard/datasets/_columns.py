"""A file's own names of columns, as an option gives them."""

from __future__ import annotations

from metricforge.errors import UsageError


def named_columns(columns: str, dataset: str, example: str) -> dict[str, str]:
    """The file's own name of each known column, from `known:own+...`.

    UsageError, for the option of a dataset with an example of it, for anything else.
    """
    pairs = [part.partition(":") for part in columns.replace(",", "+").split("+") if part.strip()]
    if wrong := ["".join(pair) for pair in pairs if not pair[0].strip() or not pair[2].strip()]:
        raise UsageError(
            f"option 'columns' of dataset '{dataset}' takes {example}, not '{wrong[0]}'."
        )
    return {known.strip(): own.strip() for known, _, own in pairs}
