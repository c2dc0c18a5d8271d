"""The questions of an evaluation: protocols, and few-shot episodes and pairs from files."""

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
from metricforge.scoring.pair_files import read_pairs
from metricforge.spec import Spec

USUAL_PROTOCOLS = ("retrieval", "oneshot")


@dataclass(frozen=True)
class Questions:
    """The protocols by their specs, and the dataset with the episodes and pairs of files."""

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
        pairs: str | Path | None,
        registry: Registry,
    ) -> Questions:
        """The protocols of the specs, else what the files ask for, else the default ones."""
        texts = (protocols,) if isinstance(protocols, str) else tuple(protocols or ())
        specs = {text: Spec.parse(text) for text in texts or USUAL_PROTOCOLS}
        if episodes is not None:
            loaded = read_episodes(Path(episodes), dataset)
            dataset = replace(dataset, trials={**dataset.trials, **loaded})
            requested = specs if texts else {}
            answered = {spec.options.get("official") for spec in requested.values()}
            remaining = [
                Spec("oneshot", {"official": name}) for name in loaded if name not in answered
            ]
            specs = {**requested, **{str(spec): spec for spec in remaining}}
        if pairs is not None:
            dataset = replace(dataset, pairs=read_pairs(Path(pairs), dataset))
            requested = specs if texts or episodes is not None else {}
            verifies = any(spec.name == "verification" for spec in requested.values())
            specs = requested if verifies else {**requested, "verification": Spec("verification")}
        if episodes_out is not None and Path(episodes_out).exists():
            raise UsageError(f"{episodes_out} exists already; give another file for the episodes.")
        made = {text: make_protocol(registry, spec) for text, spec in specs.items()}
        return cls(dataset, made, Path(episodes_out) if episodes_out is not None else None)

    @property
    def want_validation(self) -> bool:
        """Whether a protocol uses validation classes, e.g. to choose a threshold."""
        return any(wants_validation(protocol) for protocol in self.protocols.values())

    def keep(self, measured: Measured) -> None:
        """Write the drawn episodes, if there is a file for them."""
        if self.out is None:
            return
        if not measured.trials:
            raise UsageError("no protocol here draws episodes to write; add --protocol oneshot.")
        write_episodes(self.out, measured.trials, self.dataset)
