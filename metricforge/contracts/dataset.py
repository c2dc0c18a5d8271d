"""What a dataset provides: images or vectors, labels, splits, official episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Trials:
    """Fixed few-shot episodes, so that every program that uses them answers the same questions.

    E episodes of W classes, each with S labelled images and Q queries of each class.

    Args:
        support: int64 [E, W, S], indices of the labelled images.
        queries: int64 [E, W * Q], indices of the queries, class by class in the order of the
            support.
        over: Name of the episodes in a report of each one's metric, e.g. "runs".
        measure: The metric that is usual for these episodes.
    """

    support: Tensor
    queries: Tensor
    over: str = "episodes"
    measure: Literal["accuracy", "error"] = "accuracy"


class EncodedImage(Protocol):
    """An encoded image that is no file of its own, e.g. a member of an archive.

    It may have an attribute `changed`, a number that differs once the image has changed.
    """

    @property
    def name(self) -> str:
        """Its name in errors and records, as a path: "photos.zip/cats/1.jpg"."""

    @property
    def size(self) -> int:
        """The number of bytes that `read` returns."""

    def read(self) -> bytes:
        """Read the encoded image; called from several threads.

        Returns:
            The bytes of the image.

        Raises:
            DataError: The image can't be read.
        """


FITS = ("squeeze", "crop", "pad")
"""The values of :attr:`Reading.fit`."""


@dataclass(frozen=True)
class Reading:
    """How a file becomes an image, apart from its size and channels.

    A model treats the files that it encodes like those that it was trained on.

    Args:
        margin: Space around the ink, as a fraction of a side, 0 to 0.4. The ink, the pixels darker
            than half, is scaled to fill the rest of the image, wherever and however large it was
            drawn; small ink is enlarged up to a limit. None: the drawing stays as it is.
        inverted: Whether dark on light becomes light on dark.
        depth: Bits that the grey levels of images of 16 or 32 bits use, 8 to 16: 12 for a scanner's
            0 to 4,095. The largest of them becomes 255.
        fit: How an image gets another shape: "squeeze" to it whatever its proportions, "crop" its
            middle, or "pad" it with black.

    Raises:
        ValueError: A value is out of range or of another type.
    """

    margin: float | None = None
    inverted: bool = False
    depth: int = 16
    fit: Literal["squeeze", "crop", "pad"] = "squeeze"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit is {' or '.join(FITS)}, not {self.fit!r}.")
        if isinstance(self.depth, bool) or self.depth not in range(8, 17):
            raise ValueError(f"depth is a whole number from 8 to 16, not {self.depth!r}.")
        if not isinstance(self.inverted, bool):
            raise ValueError(f"inverted is true or false, not {self.inverted!r}.")
        if self.margin is None:
            return
        if isinstance(self.margin, bool) or not 0 <= self.margin <= 0.4:
            raise ValueError(f"margin is from 0 to 0.4, not {self.margin!r}.")

    def hashed(self) -> dict[str, Any]:
        """The values that a hash of images covers: usual ones of later fields are left out."""
        later = {"depth": 16, "fit": "squeeze"}
        return {k: v for k, v in asdict(self).items() if k not in later or v != later[k]}


AS_IT_LIES = Reading()
"""Images are resized, and nothing else."""


@dataclass(frozen=True)
class Dataset:
    """Images, or vectors, with their classes, as a dataset plugin provides them.

    Args:
        name: Name in records and reports.
        images: One uint8 tensor [N, C, H, W], or N image files that the core decodes to `shape`. A
            sequence that makes them on demand keeps a million of them small. Or vectors: a tensor
            float16, float32 or float64 [N, F], which may be mapped from a file.
        labels: int64 [N], each an index into `classes`.
        classes: Class names, each a string.
        shape: (C, H, W) of every image, or (F,) of every vector.
        groups: int64 [N], each an index into `group_names` (an alphabet, a category), or None.
        group_names: Names of the groups.
        official: int64 [N] with TRAIN, VALIDATION or TEST if the dataset has a split of its own, or
            None. The split is class-disjoint if no class is in two parts; otherwise it is
            closed-set.
        turns_into_classes: Whether a turned or mirrored image shows another thing, as drawings of
            signs do, so that orientations may count as further classes if there are few.
        notes: Sentences for the user, e.g. on skipped files.
        trials: Official few-shot episodes by name, with indices of the images.
        pairs: int64 [P, 2], indices of pairs of images to verify, or None: all or drawn ones.
        queries: bool [N], the images that are queries in retrieval, or None.
        gallery: bool [N], the images that can be retrieved, or None. With both None all images of a
            part are queries, and each retrieves the others. An image may be both.
        cache: Folder in which the core stores decoded images, or None.
        advice: What the user may do about files that can't be read; the error ends with it.
        made_of: For each class that is made of images of others, these classes; all by index. It is
            a training class if all of these are, and is in no part of a split otherwise.
        reading: How the files were read, or are to be read by the core.
        nouns: The plurals of what a class and a group are, e.g. characters, alphabets.
        warnings: Sentences on what makes metrics less meaningful than they seem, e.g. class names
            that may mean one class.
    """

    name: str
    images: Tensor | Sequence[Path | EncodedImage]
    labels: Tensor
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    groups: Tensor | None = None
    group_names: tuple[str, ...] = ()
    official: Tensor | None = None
    turns_into_classes: bool = False
    notes: tuple[str, ...] = ()
    trials: Mapping[str, Trials] = field(default_factory=dict)
    pairs: Tensor | None = None
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

    @property
    def of_vectors(self) -> bool:
        """Whether there are vectors in place of images."""
        return len(self.shape) == 1


TRAIN, VALIDATION, TEST = 0, 1, 2
"""The values of :attr:`Dataset.official`."""
