"""The search `tpe` as `metricforge tune` and suites use it."""

from __future__ import annotations

from metricforge.registry import Registry
from metricforge.tuning import Real, Searching

MARGIN = Real("loss.margin", 0.0, 1.0)


def carried_out(seed: int, trials: int) -> list[float]:
    """The margins that are tried, where 0.3 is the best and none above 0.8 can be trained."""
    search, tried = Searching("tpe", seed, [MARGIN], Registry.installed()), []
    for _ in range(trials):
        margin = float(search.ask()["loss.margin"])
        tried.append(margin)
        search.tell(None if margin > 0.8 else -abs(margin - 0.3))
    return tried


def test_it_repeats_itself_and_learns() -> None:
    tried = carried_out(0, 40)
    assert tried == carried_out(0, 40)
    assert tried[:5] != carried_out(1, 5)
    # A random search has a fifth of its trials there, and a fifth that can't be trained.
    late = tried[20:]
    assert sum(abs(margin - 0.3) < 0.1 for margin in late) >= 8
    assert sum(margin > 0.8 for margin in late) <= 1
