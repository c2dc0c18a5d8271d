"""What a run's folder records that the README of its model tells of."""

from __future__ import annotations

from dataclasses import dataclass

from metricforge.contracts import Estimate
from metricforge.data.split_file import Record
from metricforge.model_card import Card
from metricforge.recipes.recipe import Recipe
from metricforge.runs.environment import Environment
from metricforge.runs.folder import RunFolder
from metricforge.runs.summary import Summary
from metricforge.scoring import legend


@dataclass(frozen=True)
class Facts:
    """The records of a finished run.

    Args:
        name: Name of its folder.
        card: Description of its model.
        recipe: What it was trained by.
        summary: What was measured.
        split: Which classes are in which part.
        environment: Versions, device.
        extended_after: The epochs after which it was trained longer.
        curve: Whether there is a plot of the training.
    """

    name: str
    card: Card
    recipe: Recipe
    summary: Summary
    split: Record
    environment: Environment
    extended_after: list[int]
    curve: bool = True

    @classmethod
    def of(cls, folder: RunFolder, card: Card, curve: bool = True) -> Facts:
        return cls(
            name=folder.path.resolve().name,
            card=card,
            recipe=Recipe.from_toml(folder.config),
            summary=folder.summary,
            split=folder.split,
            environment=folder.read("env", Environment),
            extended_after=folder.extended_after,
            curve=curve,
        )

    @property
    def inputs(self) -> str:
        return "vectors" if self.card.of_vectors else "images"

    @property
    def headline(self) -> dict[str, dict[str, Estimate]]:
        """The main metrics, by approach and name; empty if the test classes stayed closed."""
        results = self.summary.results
        main = self.summary.headline or tuple(legend.metrics(results))
        return {
            approach: {name: estimates[name] for name in main if name in estimates}
            for approach, estimates in results.items()
        }

    @property
    def test_classes(self) -> set[str]:
        return set(self.split.parts.test.classes)

    def tested_among(self, part: str) -> int:
        """How many test classes have images in another part, too."""
        return len(self.test_classes & set(getattr(self.split.parts, part).classes))
