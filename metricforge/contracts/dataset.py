"""What a dataset hands over: images, labels, splits, official episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Trials:
    """Few-shot episodes that are given, so that all who use them answer the same questions.

    E episodes of W classes; `support` int64 [E, W, S] holds the places of S labelled images of
    each, `queries` int64 [E, W * Q] those of Q images to be told of each, class by class in the
    order of the support. `over` names the episodes where numbers of each are shown: "runs".
    `measure` is the number that is usual for them.
    """

    support: Tensor
    queries: Tensor
    over: str = "episodes"
    measure: Literal["accuracy", "error"] = "accuracy"


class EncodedImage(Protocol):
    """An encoded image that is no file of its own, such as a member of an archive.

    It may have `changed`, a number that is another when the image has changed since.
    """

    @property
    def name(self) -> str:
        """What errors and records call it, as a path: "photos.zip/cats/1.jpg"."""

    @property
    def size(self) -> int:
        """How many bytes `read` gives."""

    def read(self) -> bytes:
        """The encoded image; called from several threads. DataError where it can't be read."""


@dataclass(frozen=True)
class Reading:
    """How a drawing in a file becomes an image, beside its size and channels.

    A model does the same with the files that it is given as was done with those it is trained on.

    - `margin`: the ink, what is darker than half, fills the image but for such a share of a side at
      every edge, wherever and however large it was drawn; what is small is not enlarged without
      end. None: as it lies.
    - `inverted`: dark on light becomes light on dark.
    """

    margin: float | None = None
    inverted: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.inverted, bool):
            raise ValueError(f"inverted is true or false, not {self.inverted!r}.")
        if self.margin is None:
            return
        if isinstance(self.margin, bool) or not 0 <= self.margin <= 0.4:
            raise ValueError(f"margin is from 0 to 0.4, not {self.margin!r}.")


AS_IT_LIES = Reading()
"""Resized, and no more."""


@dataclass(frozen=True)
class Dataset:
    """Images with their classes, as a dataset plugin hands them over.

    - `images`: one uint8 tensor [N, C, H, W], or N image files that the core decodes to `shape`.
      A sequence that makes them on demand keeps a million of them small.
    - `labels`: int64 [N], each an index into `classes`; every class name is a string.
    - `groups`: int64 [N], each an index into `group_names` (an alphabet, a category), or None.
    - `official`: int64 [N] with TRAIN, VALIDATION or TEST where the dataset has a split of its
      own, or None. It is class-disjoint if no class is in two parts; otherwise it is closed-set.
    - `turns_into_classes`: a turned or mirrored image shows another thing, as drawings of signs
      do, so that orientations may count as further classes where there are few.
    - `trials`: official few-shot episodes by name, of places among the images.
    - `queries` and `gallery`: bool [N] each, or None: the images that ask in retrieval, and those
      that are looked for. None: all of a part, each asking for the others. An image may be both.
    - `notes`: sentences the user should read, such as files that were passed over.
    - `warnings`: sentences on what makes numbers say less than they seem to, such as names of
      classes that may be one.
    - `cache`: a folder in which the core keeps what files were decoded to, or None.
    - `advice`: what the user may do about files that can't be read, said with the error, or "".
    - `made_of`: for each class that is made of images of others, which these are, all by their
      indices. It trains where all of these train, and is in no part of a split otherwise.
    - `reading`: what was done with its files, or is to be done by the core that decodes them.
    - `nouns`: what its classes and groups are called, in the plural, e.g. characters, alphabets.
    """

    name: str
    images: Tensor | Sequence[Path | EncodedImage]
    labels: Tensor
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    groups: Tensor | None = None
    group_names: tuple[str, ...] = ()
    official: Tensor | None = None
    turns_into_classes: bool = False
    notes: tuple[str, ...] = ()
    trials: Mapping[str, Trials] = field(default_factory=dict)
    queries: Tensor | None = None
    gallery: Tensor | None = None
    cache: Path | None = None
    advice: str = ""
    made_of: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    reading: Reading = AS_IT_LIES
    nouns: tuple[str, str] = ("classes", "groups")
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


TRAIN, VALIDATION, TEST = 0, 1, 2
"""The values of :attr:`Dataset.official`."""
