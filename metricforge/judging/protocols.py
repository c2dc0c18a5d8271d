"""What an evaluation asks: protocols, and few-shot episodes that come from a file or go to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metricforge.contracts import Dataset, EvaluationProtocol
from metricforge.errors import UsageError
from metricforge.recipes.components import make_protocol
from metricforge.registry import Registry
from metricforge.scoring.apply import wants_validation
from metricforge.scoring.episode_files import read_episodes, write_episodes
from metricforge.scoring.measure import Measured
from metricforge.spec import Spec

USUAL_PROTOCOLS = ("retrieval", "oneshot")


@dataclass(frozen=True)
class Questions:
    """The protocols by their specs, and the dataset with the episodes of a file among its own."""

    dataset: Dataset
    protocols: Mapping[str, EvaluationProtocol]
    out: Path | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        protocols: Sequence[str] | None,
        episodes: str | Path | None,
        episodes_out: str | Path | None,
        registry: Registry,
    ) -> Questions:
        """By specs, or else the episodes of the file, or else the usual ones."""
        texts = (protocols,) if isinstance(protocols, str) else tuple(protocols or ())
        specs = {text: Spec.parse(text) for text in texts or USUAL_PROTOCOLS}
        if episodes is not None:
            given = read_episodes(Path(episodes), dataset)
            dataset = replace(dataset, trials={**dataset.trials, **given})
            asked = specs if texts else {}
            answered = {spec.options.get("official") for spec in asked.values()}
            others = [Spec("oneshot", {"official": name}) for name in given if name not in answered]
            specs = {**asked, **{str(spec): spec for spec in others}}
        if episodes_out is not None and Path(episodes_out).exists():
            raise UsageError(f"{episodes_out} exists already; give another file for the episodes.")
        made = {text: make_protocol(registry, spec) for text, spec in specs.items()}
        return cls(dataset, made, Path(episodes_out) if episodes_out is not None else None)

    @property
    def want_validation(self) -> bool:
        """Whether some protocol chooses a threshold or the like by validation classes."""
        return any(wants_validation(protocol) for protocol in self.protocols.values())

    def keep(self, measured: Measured) -> None:
        """Write the episodes that were drawn, if the user wants them."""
        if self.out is None:
            return
        if not measured.trials:
            raise UsageError("no protocol here draws episodes to write; add --protocol oneshot.")
        write_episodes(self.out, measured.trials, self.dataset)
