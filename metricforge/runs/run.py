"""A run as a Python object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metricforge.contracts import Estimate
from metricforge.loading import load
from metricforge.model import EmbeddingModel
from metricforge.recipes.recipe import Recipe
from metricforge.runs.folder import RunFolder
from metricforge.runs.summary import Results


@dataclass(frozen=True)
class Run:
    """One training and its folder: its metrics, its model, its files.

    Args:
        folder: The files of the run.
    """

    folder: RunFolder

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open the run in a folder.

        Args:
            path: The run's folder.

        Returns:
            The run.

        Raises:
            ArtefactError: There is none.
        """
        return cls(RunFolder.open(Path(path)))

    def __fspath__(self) -> str:
        return str(self.folder.path)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def finished(self) -> bool:
        """Whether the run has finished: its report is written last."""
        return self.folder.report.is_file()

    @property
    def recipe(self) -> Recipe:
        """The recipe with every default filled in."""
        return Recipe.from_toml(self.folder.config)

    @property
    def summary(self) -> dict[str, Any]:
        """The record in summary.json."""
        return self.folder.read("summary", dict[str, Any])

    @property
    def results(self) -> dict[str, dict[str, Estimate]]:
        """Held-out metrics by approach and name: of the trained network, then its baselines.

        Empty for a run that left the test classes closed.
        """
        results = self.folder.read("summary", Results).results
        return {approach: dict(estimates) for approach, estimates in results.items()}

    @property
    def validation(self) -> dict[str, float]:
        """The scores on validation classes of the selected epoch, by name."""
        return dict(self.folder.summary.validation)

    @cached_property
    def model(self) -> EmbeddingModel:
        """The trained model, of the epoch that was best on validation classes."""
        return load(self.path)
