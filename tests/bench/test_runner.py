"""What the processes that carry out a suite are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metricforge.bench import Suite, carry_out, runner
from metricforge.bench.suite import Approach
from metricforge.errors import DataError


class _NotedError(Exception):
    """Raised in the place of a training."""


def test_workers_are_told_the_whole_path_for_they_may_be_in_another_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[Path] = []

    def run_planned(suite: Suite, planned: object, out: Path, *more: object) -> None:
        told.append(out)
        raise _NotedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run_planned", run_planned)
    suite = Suite("s", "A title", {"dataset": "digits"}, (Approach("a"),))
    with pytest.raises(_NotedError):
        list(carry_out(suite, Path("bench/s")))
    assert told == [tmp_path / "bench" / "s"]


@pytest.mark.fault(120)
def test_a_suite_is_not_resumed_on_images_that_have_changed(tmp_path: Path) -> None:
    photos = tmp_path / "photos"

    def draw(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for number in range(6):
            (photos / f"class{number}").mkdir(parents=True, exist_ok=True)
            for index in range(6):
                pixels = rng.integers(0, 256, (9, 8 + seed, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(photos / f"class{number}" / f"{index}.png")

    base = {
        "dataset": f"folder:path={photos},size=8", "epochs": 1, "augment": [],
        "sampler": "hard-triplet:classes=2,per_class=3",
    }  # fmt: skip
    suite = Suite("s", "A title", base, (Approach("a"),), seeds=1)
    draw(0)
    assert [record.outcome for _, _, record in carry_out(suite, tmp_path / "out")] == ["done"]
    # Nothing is left to do: the images do not matter.
    draw(1)
    assert list(carry_out(suite, tmp_path / "out")) == []
    with pytest.raises(DataError, match=r"have changed since runs in .* use another --out"):
        list(carry_out(suite, tmp_path / "out", seeds=2))
    draw(0)
    assert len(list(carry_out(suite, tmp_path / "out", seeds=2))) == 1
