"""What an exported file records of its model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metricforge import __version__
from metricforge.exporting.graph import Graph
from metricforge.exporting.precision import Precision
from metricforge.galleries import files
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card
from metricforge.weights.adapting import weights_hash

KEY = "metricforge"
"""The name of the record in the file's metadata."""

FORMAT = 1


@dataclass(frozen=True)
class Description:
    """The record in an exported file, as JSON.

    Args:
        name: Name of the run or of the model's folder.
        sha256: Hash of the weights of the model.
        dim: Dimensions of the embedding.
        unit_length: Whether embeddings have unit length.
        input: What the file takes: its layout, type, channels, and height and width, or null where
            any is taken; how images were fitted and read in training.
        precision: "fp32", "fp16" or "int8".
        trained_on: Name of the dataset.
        seen_classes: Its classes used in training or selection.
        split: Hash of the split.
        thresholds: Distances up to which two images are of one class, and of a gallery below which
            an image is identified.
        licence: The licence of the data, as the user wrote it.
        metricforge: The version that wrote the file.
        format: Version of this record.
    """

    name: str
    sha256: str
    dim: int
    unit_length: bool
    input: dict[str, Any]
    precision: Precision
    trained_on: str
    seen_classes: tuple[str, ...]
    split: str
    thresholds: dict[str, Any]
    licence: str = ""
    metricforge: str = __version__
    format: int = FORMAT

    @classmethod
    def of(
        cls,
        graph: Graph,
        model: EmbeddingModel,
        folder: Path | None,
        precision: Precision,
        licence: str,
    ) -> Description:
        """The description of the graph of a model, which lies in `folder` if in any."""
        card = graph.card
        return cls(
            name=_name(folder),
            sha256=weights_hash(model),
            dim=card.dim,
            unit_length=graph.unit_length,
            input=_input(graph),
            precision=precision,
            trained_on=card.trained_on,
            seen_classes=card.seen_classes,
            split=card.split,
            thresholds=_of_pairs(card) | _of_a_gallery(folder),
            licence=licence,
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def _name(folder: Path | None) -> str:
    """The name of a run's folder, or of a model's."""
    return "" if folder is None else folder.resolve().name


def _input(graph: Graph) -> dict[str, Any]:
    card = graph.card
    if card.of_vectors:
        return {"layout": "BV", "dtype": "float32", "length": card.shape[0]}
    channels, height, width = card.shape
    return {
        "layout": "BCHW",
        "dtype": "uint8",
        "channels": channels,
        "height": None if graph.preprocessing else height,
        "width": None if graph.preprocessing else width,
        "fit": card.reading.fit,
        "resize": "bilinear, antialiased",
        "inverted": card.reading.inverted,
        "resized_inside_to": [height, width],
        "network_sees": list(card.input_size or (height, width)),
    }


def _of_pairs(card: Card) -> dict[str, Any]:
    """The thresholds of a model for two images of one class."""
    chosen = [
        {"distance": each.distance, "false_alarms": each.far} for each in card.pair_thresholds
    ]
    return {"verification": chosen} if chosen else {}


def _of_a_gallery(folder: Path | None) -> dict[str, Any]:
    """The threshold of the gallery in a folder, with what it promises."""
    if folder is None or not (folder / files.CONTENTS).is_file():
        return {}
    chosen = files.read(folder)[0].calibration
    if chosen.normalised:  # by images that the file does not have
        return {}
    return {
        "identification": {
            "distance": chosen.threshold,
            "by": chosen.by,
            "false_alarms": chosen.share,
            "up_to_classes": chosen.classes,
        }
    }
