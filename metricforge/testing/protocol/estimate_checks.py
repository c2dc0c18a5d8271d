"""The estimates of a protocol: finite, within their intervals, over a named unit."""

from __future__ import annotations

import math
from typing import Any

from metricforge.contracts import Estimate, Result
from metricforge.testing.checks import Broken


def check_result(result: Result) -> None:
    if not result.estimates:
        raise Broken("gave no estimates; name at least one number.")
    for name, estimate in result.estimates.items():
        check_estimate(name, estimate)


def check_estimate(name: Any, estimate: Any) -> None:
    if not isinstance(name, str) or not name or not isinstance(estimate, Estimate):
        raise Broken(f"gave {name!r}: {type(estimate).__name__}; name each Estimate by a word.")
    numbers = (estimate.low, estimate.value, estimate.high)
    if not all(isinstance(number, float | int) and math.isfinite(number) for number in numbers):
        raise Broken(f"gave {name} = {numbers}; low, value and high are finite floats.")
    if not estimate.low <= estimate.value <= estimate.high:
        raise Broken(f"gave {name} = {estimate.value} outside its interval {numbers[0::2]}.")
    if estimate.n <= 0 or not isinstance(estimate.over, str) or not estimate.over:
        raise Broken(f"gave {name} over {estimate.n} {estimate.over!r}; count what it is over.")
