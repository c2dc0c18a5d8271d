"""Who is taken for whom, beside a loop."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from benchmarks.omniglot_errors import DRAWERS, confused
from metricforge.contracts import Dataset


def test_errors_and_pairs_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat_interleave(DRAWERS)
    names = ("A/1", "A/2", "A/3", "B/1", "B/2")
    dataset = Dataset(
        name="toy",
        images=torch.zeros(100, 1, 2, 2, dtype=torch.uint8),
        labels=labels,
        classes=names,
        shape=(1, 2, 2),
        groups=(labels > 2).long(),
        group_names=("A", "B"),
    )
    rows = F.normalize(torch.randn(100, 3, generator=generator).double() + labels[:, None] % 3)
    places = torch.randperm(100, generator=generator).sort()[0]
    errors, pairs = confused(rows, places, dataset, ["A/2"])
    expected: Counter[tuple[str, str]] = Counter()
    for group, own in (("A", (0, 2)), ("B", (3, 4))):
        tried = 0
        for asks, answers in ((q, s) for q in range(DRAWERS) for s in range(DRAWERS) if q != s):
            for one in own:
                asked = rows[one * DRAWERS + asks]
                scores = [float(asked @ rows[other * DRAWERS + answers]) for other in own]
                found = own[scores.index(max(scores))]
                tried += 1
                expected[names[one], names[found]] += found != one
        wrong = sum(count for (name, _), count in expected.items() if name.startswith(group))
        assert errors[group] == pytest.approx(wrong / tried)
        assert 0 < wrong < tried
    assert pairs == +expected
