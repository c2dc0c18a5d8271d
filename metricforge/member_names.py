"""The names of a component's members: one that is nearly right would never be called.

Importing this loads no torch.
"""

from __future__ import annotations

from metricforge.contracts import KINDS, Counting
from metricforge.errors import PluginError

# Former members, each with its replacement.
REPLACED = {("loss", "active"): "the count is what `counted()` gives beside the value"}

# Packages whose classes a component may extend; the names in them are not the component's choice.
LIBRARIES = ("builtins", "torch")


def refuse_misnamed(kind: str, component: object, blame: str) -> None:
    """Refuse a component with a public name that is one edit from a member that it lacks.

    Args:
        kind: E.g. "sampler".
        component: What its factory has returned.
        blame: The beginning of the error, which names the component's owner.

    Raises:
        PluginError: E.g. "... has `refesh`, which nothing calls; did you mean `refresh`?"
    """
    if fault := _misnamed(kind, component) or (_uncalled(component) if kind == "loss" else ""):
        raise PluginError(f"{blame} {fault}")


def _misnamed(kind: str, component: object) -> str:
    """The fault in its public names, "" for none."""
    known = KINDS[kind].members
    has = {name for name in dir(component) if not name.startswith("_")}
    inherited = {name for line in _libraries(component) for name in dir(line)}
    for name in sorted(has - inherited - {*known}):
        if replacement := REPLACED.get((kind, name)):
            return f"has `{name}`, which nothing reads: {replacement}."
        for member in known:
            if member not in has and _is_single_edit(name, member):
                return (
                    f"has `{name}`, which nothing calls; did you mean `{member}`? Otherwise begin "
                    "the name with an underscore, or take another."
                )
    return ""


def _libraries(component: object) -> list[type]:
    lines = type(component).__mro__
    return [line for line in lines if line.__module__.partition(".")[0] in LIBRARIES]


def _uncalled(loss: object) -> str:
    """The fault of a loss that inherits `counted` and changes the call alone, else ""."""
    if not isinstance(loss, Counting):
        return ""
    lines = type(loss).__mro__
    counted, *calls = (
        next((position for position, each in enumerate(lines) if name in vars(each)), len(lines))
        for name in ("counted", "__call__", "forward")
    )
    if min(calls) >= counted:
        return ""
    return (
        "changes the call of a loss that has `counted`, which a training calls in its place: "
        "override `counted`, and let the call return its value."
    )


def _is_single_edit(first: str, second: str) -> bool:
    """Whether the names differ by one letter, or by two swapped letters if they are long."""
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    short, long = sorted((first, second), key=len)
    start = next(
        (i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short)
    )
    if len(short) < len(long):
        return short[start:] == long[start + 1 :]
    if short[start + 1 :] == long[start + 1 :]:
        return True
    if len(long) <= 4:  # `wrap` is a word of its own
        return False
    swapped = long[start + 1 : start + 2] + long[start : start + 1] + long[start + 2 :]
    return short[start:] == swapped
