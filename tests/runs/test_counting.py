"""What a run tells of the images that it embeds after training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metricforge.recipes.recipe import Recipe
from metricforge.report.progress import Listener
from metricforge.runs.folder import RunFolder
from metricforge.runs.train import run_recipe


class Counting(Listener):
    """Keeps what was to be counted, and what was."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.counts: dict[str, int] = {}

    def counting(self, what: str, total: int) -> Callable[[int], object]:
        self.totals[what], self.counts[what] = total, 0

        def count(images: int) -> None:
            self.counts[what] += images

        return count


@pytest.mark.parametrize(
    ("protocol", "parts"), [("retrieval", ("test",)), ("verification", ("test", "validation"))]
)
def test_all_images_of_all_networks_are_counted(
    protocol: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    values = {
        "dataset": "digits",
        "sampler": "balanced:classes=2,per_class=2",
        "backbone": "conv4:channels=4",
        "dim": 4,
        "images": 64,
        "protocols": [protocol],
    }
    listener = Counting()
    run_recipe(Recipe.from_values(values, "here"), out=tmp_path / "run", listener=listener)
    held = RunFolder(tmp_path / "run").split.parts
    images = sum(getattr(held, part).images for part in parts)
    assert listener.totals == listener.counts == {"testing": 2 * images}
