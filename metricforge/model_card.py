"""The description of a model that is saved with it, for programs and for readers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metricforge.contracts import AS_IT_LIES, Reading
from metricforge.decoding import Size, of_format
from metricforge.errors import ArtefactError
from metricforge.hub.address import is_address
from metricforge.markdown import code, table, text

PASSES_ON = "identity"
"""The backbone that passes vectors on as they are."""

PLACE = "path/to/this/folder"
"""Where a reader of the text has the model; `push` writes the name that it has on a hub."""

FORMAT = 7
"""Raised when an older metricforge could not read a model that this one saves."""


@dataclass(frozen=True)
class PairThreshold:
    """Up to which distance two images are taken for one class, by pairs of validation images.

    Args:
        far: At most this fraction of the pairs of two classes is accepted, 0 to 1.
        distance: The euclidean distance of the embeddings up to which a pair is accepted.
        tar: The fraction of the pairs of one class that is accepted.
        low: Lower end of the 95 % interval of FAR at that distance, over classes.
        high: Its upper end.
    """

    far: float
    distance: float
    tar: float
    low: float
    high: float

    def __post_init__(self) -> None:
        fractions = (self.far, self.tar, self.low, self.high)
        if not all(0 <= each <= 1 for each in fractions) or not 0 <= self.distance < math.inf:
            raise ValueError("a fraction is beyond 0 to 1, or distance is negative or infinite")


@dataclass(frozen=True)
class Card:
    """The description of a model, which is saved with it.

    Args:
        backbone: Spec of the backbone.
        head: Spec of the head.
        dim: Dimensions of the embedding.
        shape: (C, H, W) of the images that it takes, or (V,) of the vectors.
        mean: Mean of each channel, for pixels of 0 to 1; (0,) for vectors.
        std: Standard deviation of each channel; for vectors the one number that divides them.
        input_size: Height and width of the backbone's input. Default: those of `shape`.
        interpolation: Method of resizing to `input_size`.
        reading: How files are read, apart from size and channels.
        trained_on: Name of the dataset.
        seen_classes: Its classes used in training or selection, on which no held-out metric may be
            measured.
        split: Hash of the split.
        adapters: Specs of the adapters of the backbone, in order.
        base: The `weights_hash` of the backbone before it got adapters; empty without any.
        pair_thresholds: When two images are taken for one class, by descending FAR; empty without
            validation classes.
        format: Version of the file format.
    """

    backbone: str
    head: str
    dim: Size
    shape: tuple[Size, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[Size, Size] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    reading: Reading = AS_IT_LIES
    trained_on: str = ""
    seen_classes: tuple[str, ...] = ()
    split: str = ""
    adapters: tuple[str, ...] = ()
    base: str = ""
    pair_thresholds: tuple[PairThreshold, ...] = ()
    format: int = FORMAT

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 3):
            raise ValueError("shape is neither that of images nor of vectors")
        # A model of vectors may divide them by nothing, and then has neither.
        channels = min(1, len(self.mean)) if self.of_vectors else self.shape[0]
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError("mean and std have other channels than shape")

    @property
    def of_vectors(self) -> bool:
        """Whether the model takes vectors in place of images."""
        return len(self.shape) == 1

    @property
    def passes_on(self) -> bool:
        """Whether the backbone passes vectors on as they are."""
        return self.of_vectors and self.backbone.rpartition(":")[2] == PASSES_ON

    @property
    def offers(self) -> dict[str, Any]:
        """What the backbone may ask for when it is built."""
        return offers_of(self.shape)


def offers_of(shape: tuple[int, ...]) -> dict[str, Any]:
    """What backbones and augmentations may ask for, for images (C, H, W) or vectors (V,)."""
    if len(shape) == 1:
        return {"in_features": shape[0]}
    return {"in_channels": shape[0], "image_size": shape[1:]}


def model_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder of a model: `model/` of a run's folder, or the folder itself.

    The model at an address `hub:OWNER/NAME` is downloaded first, as by
    :func:`metricforge.hub.download.downloaded`: only a user may name one, never a file.
    """
    if is_address(folder):
        from metricforge.hub.download import downloaded

        return downloaded(os.fspath(folder))
    inside = Path(folder) / "model"
    return inside if inside.is_dir() else Path(folder)


def read_card(folder: Path, files: dict[str, bytes]) -> Card:
    try:
        return of_format(files.get("model.json", b""), Card, FORMAT, f"{folder} has model")
    except ValueError as error:
        raise ArtefactError(
            f"{folder} is not a saved model: model.json can't be read ({error})."
        ) from error


def _read_how(reading: Reading) -> Iterator[str]:
    """How files are read, where arrays are not."""
    if reading.inverted:
        yield "files: dark on light, as they are inverted; arrays are light on dark already"
    if reading.depth != AS_IT_LIES.depth:
        yield f"files of 16 or 32 bits: grey levels of {reading.depth} bits"
    if reading.fit != AS_IT_LIES.fit:
        yield f"files of other proportions: {reading.fit}"
    if reading.margin is not None:
        share = f"{reading.margin:g} of a side"
        yield f"files: drawings, which are made to fill the image but for {share} at every edge"


def _input(card: Card) -> str:
    if card.of_vectors:
        scale = f"; the network divides them by {card.std[0]:g}" if card.std else ""
        return f"vectors of {card.shape[0]} numbers, float32{scale}"
    channels, height, width = card.shape
    seen = card.input_size or (height, width)
    plural = "s" if channels > 1 else ""
    return (
        f"{height} x {width} pixels, {channels} channel{plural}, uint8; the network sees "
        f"{seen[0]} x {seen[1]}"
    )


def pair_lines(card: Card) -> list[str]:
    """Up to which distance two images are of one class, a table in Markdown, or nothing."""
    if not card.pair_thresholds:
        return []
    one = "vectors" if card.of_vectors else "images"
    return [
        "",
        f"Distances that say whether two {one} are of one class, chosen on validation classes:",
        "",
        *table(
            ["distance up to", "pairs of two classes", "pairs of one class"],
            [
                [
                    f"{each.distance:.6g}",
                    f"at most {100 * each.far:.3g} % [{100 * each.low:.2g}, {100 * each.high:.2g}]",
                    f"{100 * each.tar:.3g} %",
                ]
                for each in card.pair_thresholds
            ],
        ),
    ]


def network_lines(card: Card) -> list[str]:
    """What the network is, what it takes and what it gives, in Markdown."""
    return [
        f"network: backbone {code(card.backbone)}, head {code(card.head)}",
        *(f"adapter: {code(each)}" for each in card.adapters),
        f"input: {_input(card)}",
        *_read_how(card.reading),
        f"output: {card.dim} dimensions, float32",
    ]


def readme(card: Card) -> str:
    """The text that is saved with a model of which no run is known."""
    inputs = "vectors" if card.of_vectors else "images"
    return "\n".join([
        f"# An embedding of {inputs} by MetricForge",
        "",
        *(f"- {line}" for line in network_lines(card)),
        f"- trained on: {text(card.trained_on)}, split {text(card.split[:16])}",
        f"- classes it has seen ({len(card.seen_classes)}): held-out numbers are measured on "
        "others",
        *pair_lines(card),
        "",
        "```python",
        "import metricforge",
        f'embeddings = metricforge.load("{PLACE}").encode({inputs})  # float32 [N, D]',
        "```",
        "",
    ])  # fmt: skip
