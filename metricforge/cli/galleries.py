"""What the commands on galleries share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from metricforge.galleries.calibration import Calibration


def share(text: str) -> float:
    """A share: 1% or 0.01."""
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise click.BadParameter(f"'{text}' is no share above 0 and below 1, e.g. 1% or 0.01.")
    return value


def percent(share: float) -> str:
    """1% or 0.5%."""
    return f"{100 * share:.3g}%"


def promise_lines(chosen: Calibration) -> Iterator[str]:
    """What a gallery promises, in two lines."""
    yield (
        f"a stranger's image is identified as one of up to {chosen.classes:,} classes with a "
        f"probability of at most {percent(chosen.share)};"
    )
    yield (
        f"of the validation classes' images {chosen.recognised:.0%} are then identified as theirs"
        + (", by distances less those to training images" if chosen.normalised else "")
    )
