"""What a plugin and the core promise each other; a component imports this and `errors`, no more.

Importing this module loads no torch, so that listing plugins stays instant.
Shapes: B images in a batch, N images in a dataset, F features, D embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

API_VERSION = 1
"""Raised when a plugin written for the previous version would break.

A plugin says which it was written for: `METRICFORGE_API = 1` in the module that its entry point
names, or in a package around it. It is read from the source, before anything is imported.
"""

COMMANDS = "metricforge.commands"
"""The entry-point group of click commands that a plugin adds to `metricforge`."""

SEARCHES = "metricforge.searches"
"""The entry-point group of what chooses the options of a suite's trials.

A name is that of a class, made of a seed, with `ask()`, whose answer picks values as optuna's
trials do, and `tell(answer, score)`.
"""


@dataclass(frozen=True)
class Kind:
    """One group of components: its entry-point group and what its factories may ask for."""

    name: str
    plural: str
    offers: tuple[str, ...]

    @property
    def group(self) -> str:
        return f"metricforge.{self.plural}"


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("sampler", "samplers", ("labels", "groups", "build")),
        Kind("miner", "miners", ("margin", "build")),
        Kind("loss", "losses", ("dim", "num_classes", "build")),
        Kind("head", "heads", ("in_features", "dim", "build")),
        Kind("backbone", "backbones", ("in_channels", "image_size", "build")),
        Kind("dataset", "datasets", ("root", "build")),
        Kind("augmentation", "augmentations", ("in_channels", "image_size", "build")),
        Kind("protocol", "protocols", ("build",)),
        Kind("hook", "hooks", ("folder", "step", "build")),
    )
}


InnerSpec: TypeAlias = Annotated[str, "the spec of a component of the same kind"]
"""The type of an option that is the spec of another component of the same kind, for `build`.

The record of a run then has the other's defaults written out as well.
"""


class Build(Protocol):
    """Makes another component of the same kind, so that one can wrap another; ask for `build`."""

    def __call__(self, spec: str) -> Any:
        """A spec, "hard-triplet:per_class=4", to the component, which is offered the same."""


class Pairs(NamedTuple):
    """Comparisons of two images; `anchor` and `other` index into the batch.

    Shapes: three 1-D tensors of one length, int64, int64 and bool.
    """

    anchor: Tensor
    other: Tensor
    same: Tensor

    def listed(self, labels: Tensor) -> Pairs:
        """These pairs themselves; see :meth:`AllPairs.listed`."""
        return self


class Triplets(NamedTuple):
    """Comparisons of an anchor with a positive and a negative, 1-D int64 indices into the batch."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor

    def listed(self, labels: Tensor) -> Triplets:
        """These triplets themselves; see :meth:`AllTriplets.listed`."""
        return self


@dataclass(frozen=True)
class AllPairs:
    """Every pair of a batch from either side, described; one with a closed form never lists them.

    `anchors`: only the first so many images are anchors (None: all); see `Sampler.remember`.
    """

    anchors: int | None = None

    def listed(self, labels: Tensor) -> Pairs:
        """The pairs (a, o) with a != o of a batch with these labels [B]: B(B-1) of them if all."""
        import torch

        images = torch.arange(len(labels), device=labels.device)
        anchor, other = (images[: self.anchors, None] != images).nonzero().unbind(1)
        return Pairs(anchor, other, labels[anchor] == labels[other])


@dataclass(frozen=True)
class AllTriplets:
    """Every valid triplet of a batch, described; listing them takes O(B^3) memory.

    `anchors`: only the first so many images are anchors (None: all); see `Sampler.remember`.
    """

    anchors: int | None = None

    def listed(self, labels: Tensor) -> Triplets:
        """The triplets (a, p, n) with a != p, label(a) = label(p) != label(n); labels is [B]."""
        same = labels[: self.anchors, None] == labels[None, :]
        positive = same.clone().fill_diagonal_(False)
        valid = positive[:, :, None] & ~same[:, None, :]
        return Triplets(*valid.nonzero().unbind(1))


Tuples: TypeAlias = Pairs | Triplets | AllPairs | AllTriplets
TupleKind: TypeAlias = type[Pairs] | type[Triplets] | None


class Miner(Protocol):
    """Chooses the tuples of one batch, called without gradient.

    Pure, but for a state that it saves (`state_dict`, as a sampler may have).

    `kind` is Pairs, Triplets or None; None says that the loss sees the whole batch. A miner that
    draws takes a third argument by the name `rng`, a numpy Generator that is a function of
    (seed, epoch, step), and draws from nothing else. One whose attribute `margin` is None is given
    that of the loss before it is called. NaN embeddings must not make it raise:
    the core reports them.

    It may have `left_to(loss)`: the miner of its kind to ask in its place, where the loss makes
    the same choice itself and needs it not listed, or None.
    """

    @property
    def kind(self) -> TupleKind: ...

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tuples | None:
        """Embeddings [B, D] and labels [B] to tuples; none may be found, never a self-pair."""


class Sampler(Protocol):
    """Decides which images meet in a batch, and brings the miner that suits.

    `epoch` may take a second argument by the name `number`, that of the epoch, from 0. A sampler
    may also have

    - `miner_at(epoch, step)`, both from 0: the miner of that step, for a sampler that changes it.
      All are of the kind of `miner`, the first; what they save, the sampler saves. Where the user
      names a miner, it is not asked;
    - `refresh(embeddings [N, D])`, called between epochs with the embeddings of the train set;
    - `remember(embeddings [B, D], labels [B], images [B])`, called at each step, after the
      network, with the batch's embeddings without gradient and its images as `epoch` gave them.
      It returns further embeddings [M, D] and labels [M] to compare the batch with: the miner
      and the loss see [B + M, D], and only tuples whose anchor is in the batch are kept. A loss
      that sees whole batches takes the M for further images of it;
    - `state_dict()` and `load_state_dict(state)`, named tensors for the checkpoint, if the next
      epoch or step depends on more than the train set and `rng`. A miner or a loss may, too;
    - `default_loss`, the spec of the loss to use when the user names none;
    - `notes`, sentences the user should know of this train set.
    """

    @property
    def miner(self) -> Miner: ...

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [B] into the train set; together they show every image."""


class Loss(Protocol):
    """Scores the tuples of a batch; an `nn.Module` when it learns.

    A loss may also have `accepts`, the tuple kinds it takes (absent: all of them), and
    `margin`, which is then given to a miner that asks for it. Without tuples it is zero, with a
    graph. And `active`, read after each call: how many of the tuples have a share in the loss (of
    a smooth one: violate the margin), an int or a 0-d tensor (which spares a GPU the wait), or
    None. It is shown while training. One that learns a classifier may have
    `predict(embeddings [B, D])`, the class 0 .. num_classes - 1 of each, int64 [B]: where images of
    the training classes validate, its accuracy is shown.
    """

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
        """Embeddings [B, D], labels [B] and what the miner chose, to a scalar with a graph."""


class Head(Protocol):
    """An `nn.Module` from features to the embedding.

    The core scales embeddings to unit length unless the head has `unit_length = False`.
    """

    def __call__(self, features: Tensor) -> Tensor:
        """Features [B, F] to [B, D]; in evaluation each row depends on its own image alone."""


class Backbone(Protocol):
    """An `nn.Module` from images to features.

    A backbone may also have `preprocessing`, what it was trained to be given; `rebuild`, the
    spec that makes the same network without fetching weights, for a model that was saved with
    its own; and `pretrained`, true where it starts from learned weights: its own features then
    are the baseline.
    """

    @property
    def out_features(self) -> int: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images [B, C, H, W] to [B, F]; in evaluation each row by its image alone."""


class Draws(Protocol):
    """Random numbers for the B images of a batch, each image its own.

    What an image is given depends on the seed, the epoch, the image and the number of calls
    before; not on the batch around it, nor on the device. All are on the device of the images.
    """

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 [B, *shape], evenly in [low, high)."""

    def normal(self, *shape: int) -> Tensor:
        """float32 [B, *shape] of mean 0 and deviation 1."""

    def seeds(self) -> list[int]:
        """B numbers of 62 bits, for what has a random generator of its own."""


class Augmentation(Protocol):
    """Changes each image of a batch, in training only, by draws of its own and nothing else.

    What an image becomes does not depend on the others of its batch. An augmentation that only
    moves pixels has, in the place of the call,

    - `warp(grid, draws)`: float32 places [B or 1, H, W, 2] to look at, (x, y) from -1 at the left
      and upper edge to 1, to others [B, H, W, 2]. Several that follow each other cost one
      interpolation.

    `orientations`, 4 or 8: images turned (and mirrored) by right angles count as further classes.
    """

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """float32 images [B, C, H, W] in 0 .. 255 to images of the same shape."""


class Hook(Protocol):
    """Watches a training from its first rank, and changes nothing: a logger, for one.

    It may ask for `folder`, the run's, and `step`, how many steps the run has behind it where it
    goes on. It has one of these, or more:

    - `on_step(record, embeddings)`: after each step, with the embeddings [B, D] of its batch;
    - `on_epoch(record)`: after each epoch, its scores on validation classes in `validation`;
    - `on_end()`: when the training is over, was stopped, or failed.

    A record is what the line of metrics.jsonl says, by name; it and the embeddings are copies.
    Labels are told to none.
    """


@dataclass(frozen=True)
class Preprocessing:
    """What a backbone wants to be given; what it leaves None, the core decides.

    - `size`: height and width that the core resizes images to, on the device. Default: as they are.
    - `mean` and `std` of each channel, pixels being 0 to 1. Default: those of the train set.
    - `interpolation` of the resizing, antialiased.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


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


@dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval.

    `n` counts what the interval is over, and `over` names it: "queries", "classes", "episodes".
    """

    value: float
    low: float
    high: float
    n: int
    over: str


@dataclass(frozen=True)
class Labelled:
    """What a protocol may know of the images that were embedded: one row for each of them.

    `labels` int64 [N], `classes` their names, `groups` int64 [N] or None; of the dataset's
    `trials`, as rows of these images, those that are whole among them. `places` int64 [N] are
    those of the images in the dataset; None: in order. `queries` and `gallery` are bool [N], or
    both None where nothing is flagged.
    """

    labels: Tensor
    classes: tuple[str, ...]
    groups: Tensor | None = None
    trials: Mapping[str, Trials] = field(default_factory=dict)
    places: Tensor | None = None
    queries: Tensor | None = None
    gallery: Tensor | None = None


class Validation(NamedTuple):
    """The same model's embeddings [M, D] of other classes, to choose a threshold or the like by."""

    embeddings: Tensor
    images: Labelled


@dataclass(frozen=True)
class Scored:
    """The scores that an estimate is the mean of, so that two models can be compared in pairs.

    `values` float64 [U], one for each query or episode, the same in the same order for any model;
    `classes` int64 [U] where those of one class succeed or fail together, as queries do; else
    `over` says what the values are of.
    """

    values: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None
    over: str = "episodes"


@dataclass(frozen=True)
class Answers:
    """What each query was answered with, so that a report can show where a model fails.

    By row: `queries` int64 [Q], and `nearest` int64 [Q] the image found first; `scores` float64
    [Q], 1 for a query that went as well as can be.
    """

    queries: NDArray[np.int64]
    nearest: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What a protocol measured: named numbers, their definitions, and what to know of them.

    `scores` has, by the names of estimates, what these are the means of; see :class:`Scored`.
    `trials` are the episodes that were drawn, by what follows the @ in the name of the number, as
    rows of the images; the user may keep them and have another model answer the same.
    """

    estimates: Mapping[str, Estimate]
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Scored] = field(default_factory=dict, repr=False, compare=False)
    answers: Answers | None = field(default=None, repr=False, compare=False)
    trials: Mapping[str, Trials] = field(default_factory=dict, repr=False, compare=False)


class EvaluationProtocol(Protocol):
    """A way to test embeddings; the same input gives the same bytes.

    One whose `evaluate` takes a third argument by the name `validation` is given a
    :class:`Validation` of the same model, or None where there are no classes to validate on.
    """

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] of labelled images to named numbers with intervals."""
