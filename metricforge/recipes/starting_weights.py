"""The weights that a recipe's backbone and head start from, where it names a file or a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from metricforge.contracts import Dataset, Preprocessing, Pretrainable
from metricforge.data.class_names import seen_among
from metricforge.data.split import Split
from metricforge.errors import DataError, few
from metricforge.loading import load
from metricforge.recipes.custom_object import Component
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.weights.matching import start_from
from metricforge.weights.reading import Weights, read_weights


@dataclass
class StartingWeights:
    """The weights that were loaded into parts of a network, by part.

    Args:
        loaded: Weights by "backbone" or "head".
        notes: What was loaded, and what of a file was not.
    """

    loaded: dict[str, Weights] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of the weights by part."""
        return {part: weights.sha256 for part, weights in self.loaded.items()}

    @property
    def seen_classes(self) -> tuple[str, ...]:
        """The classes that the runs they are from were trained or selected on."""
        every = (name for weights in self.loaded.values() for name in _seen(weights))
        return tuple(dict.fromkeys(every))

    def load(self, part: str, module: nn.Module, source: str, name: str, record: str) -> None:
        """Load a file or a run into a part of the network.

        Args:
            part: "backbone" or "head".
            module: The part.
            source: The file or run.
            name: The component's name, for notes and errors.
            record: The spec of the part with all its options, as a saved model has it.
        """
        weights = _plain(read_weights(source)).of_part(part)
        self.notes += start_from(module, weights, f"{part} {name}")
        if weights.card and (before := getattr(weights.card, part)) != record:
            self.notes.append(
                f"{source} was trained with the {part} {before}, and its weights are now in "
                f"{record}."
            )
        self.loaded[part] = weights
        setattr(module, "pretrained", True)  # noqa: B010 - a member that torch has no type for

    def preprocessing(self, backbone: nn.Module, own: Preprocessing) -> Preprocessing:
        """The preprocessing of a backbone that starts from these weights; `own` without any."""
        if (head := self.loaded.get("head")) and head.card and head.card.of_vectors:
            # What vectors are divided by is a part of what the head has learned.
            return replace(own, mean=(0.0,), std=head.card.std or (1.0,))
        if "backbone" not in self.loaded:
            return own
        if card := self.loaded["backbone"].card:
            return Preprocessing(own.size, card.mean, card.std, card.interpolation)
        if isinstance(backbone, Pretrainable):
            return replace(backbone.pretrained_preprocessing, size=own.size)
        return own

    def check_seen(self, split: Split, dataset: Dataset) -> None:
        """DataError if a run of another split has seen classes that are held out now.

        A note if it has seen classes that choose the epoch.
        """
        others = [w for w in self.loaded.values() if w.card and w.card.split != split.hash]
        known = {name for weights in others for name in _seen(weights)}
        sources = few(sorted({weights.source for weights in others}))
        if seen := seen_among(split.classes("validation", dataset), known):
            self.notes.append(
                f"{sources} was trained or selected on {len(seen)} of the validation classes: they "
                "choose an epoch of a network that knows them."
            )
        if seen := seen_among(split.classes("test", dataset), known):
            raise DataError(
                f"{sources} was trained or selected on {len(seen)} of the classes that this split "
                f"holds out: {few(seen, 8)}; they can't test it. Take its split, --split "
                "saved:path=RUN/split.json; if they are other things, name the file of weights, "
                "weights=RUN/model/weights.safetensors."
            )


def _plain(weights: Weights) -> Weights:
    """The weights of a model whose adapters, if it has any, are merged into them."""
    if not weights.card or not weights.card.adapters:
        return weights
    tensors = load(weights.source, device="cpu").merged().state_dict()
    return replace(weights, tensors=tensors)


def _seen(weights: Weights) -> tuple[str, ...]:
    """The classes that the run of some weights was trained or selected on; none of a file."""
    return weights.card.seen_classes if weights.card else ()


def without_weights(
    registry: Registry, kind: str, chosen: Component
) -> tuple[Component, str | None]:
    """A backbone or head without the option `weights`, and the file or run that it names."""
    if not isinstance(chosen, Spec):
        return chosen, None
    own, common = registry.without_common(kind, chosen)
    return own, common.get("weights")
