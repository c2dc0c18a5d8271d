"""Classes as a split names them: `a+b` joins, `a-d` is a range, of numbers where both ends are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from metricforge.data.class_names import whole_number
from metricforge.errors import UsageError, unknown


def parse_classes(text: str, names: Sequence[str]) -> set[int]:
    """The indices of the classes that `text` names."""
    order = {name: index for index, name in enumerate(names)}
    pieces = text.split("+")
    # The longest reading comes first, because a class name may have a plus in it.
    reach = 1 + 2 * max(name.count("+") for name in names)
    indices: set[int] = set()
    start = 0
    while start < len(pieces):
        for end in range(min(len(pieces), start + reach), start, -1):
            read = _name_or_range("+".join(pieces[start:end]), order)
            if read:
                break
        else:
            raise unknown("class", pieces[start], names)
        indices |= set(read)
        start = end
    return indices


def _name_or_range(text: str, order: Mapping[str, int]) -> Collection[int]:
    """The indices that one name or one range gives; none when it is neither."""
    if text in order:
        return {order[text]}
    dashes = [position for position, sign in enumerate(text) if sign == "-"]
    ends = [(text[:position], text[position + 1 :]) for position in dashes]
    ends = [(first, last) for first, last in ends if first in order and last in order]
    if not ends:
        return ()
    if len(ends) > 1:
        readings = " or ".join(f"'{first}' to '{last}'" for first, last in ends)
        raise UsageError(
            f"the range '{text}' can be read as {readings}; name the classes with '+'."
        )
    first, last = ends[0]
    indices = _between(first, last, order)
    if not indices:
        raise UsageError(f"the range '{text}' runs backwards; write '{last}-{first}'.")
    return indices


def _between(first: str, last: str, order: Mapping[str, int]) -> Collection[int]:
    """The classes from one to another: of two whole numbers by value, else in the order."""
    low, high = whole_number(first), whole_number(last)
    if low is None or high is None:
        return range(order[first], order[last] + 1)
    numbers = ((whole_number(name), index) for name, index in order.items())
    return {index for number, index in numbers if number is not None and low <= number <= high}
