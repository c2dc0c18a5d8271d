"""Classes as a split names them: `a+b` joins, `a-d` is a range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metricforge.errors import UsageError, unknown


def named(text: str, names: Sequence[str]) -> set[int]:
    """The indices of the classes that `text` names."""
    order = {name: index for index, name in enumerate(names)}
    pieces = text.split("+")
    # The longest reading comes first, because a class name may have a plus in it.
    reach = 1 + 2 * max(name.count("+") for name in names)
    found: set[int] = set()
    start = 0
    while start < len(pieces):
        for end in range(min(len(pieces), start + reach), start, -1):
            read = _name_or_range("+".join(pieces[start:end]), order)
            if read:
                break
        else:
            raise unknown("class", pieces[start], names)
        found |= set(read)
        start = end
    return found


def _name_or_range(text: str, order: Mapping[str, int]) -> range:
    """The indices that one name or one range gives; none when it is neither."""
    if text in order:
        return range(order[text], order[text] + 1)
    dashes = [place for place, sign in enumerate(text) if sign == "-"]
    ends = [(text[:place], text[place + 1 :]) for place in dashes]
    ends = [(first, last) for first, last in ends if first in order and last in order]
    if not ends:
        return range(0)
    if len(ends) > 1:
        readings = " or ".join(f"'{first}' to '{last}'" for first, last in ends)
        raise UsageError(
            f"the range '{text}' can be read as {readings}; name the classes with '+'."
        )
    first, last = ends[0]
    if order[first] > order[last]:
        raise UsageError(f"the range '{text}' runs backwards; write '{last}-{first}'.")
    return range(order[first], order[last] + 1)
