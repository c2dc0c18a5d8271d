"""Omniglot: many classes of few images, and the usual test of one-shot learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import Omniglot
from torchvision.datasets.utils import download_url

from metricforge.contracts import TEST, TRAIN, Dataset, Reading
from metricforge.data.decode import read_image
from metricforge.errors import UsageError
from metricforge_standard.datasets._composed import compositions, images_of
from metricforge_standard.datasets._download import scratch
from metricforge_standard.datasets._drawings import Drawing, read_drawings
from metricforge_standard.datasets._omniglot_trials import official_trials
from metricforge_standard.datasets._pixels import check_size

_EVALUATION = "images_evaluation"
_BACKGROUND = {
    "all": "images_background",
    "small1": "images_background_small1",
    "small2": "images_background_small2",
}
_COUNTS = {
    "images_background": 19_280,
    "images_background_small1": 2_720,
    "images_background_small2": 3_120,
    _EVALUATION: 13_180,
}
_MOST_COMPOSED = 20
# torchvision knows the checksums of the two main archives only.
_MD5 = Omniglot.zips_md5 | {
    "images_background_small1": "e704a628b5459e08445c13499850abc4",
    "images_background_small2": "b75a71a51d3b13f821f212756fe481fd",
}


def omniglot(
    root: Path,
    *,
    size: int = 28,
    background: Literal["all", "small1", "small2"] = "all",
    composed: float = 0.0,
    margin: float | None = None,
) -> Dataset:
    """Omniglot's 32,460 handwritten characters: 1,623 classes of 20 images, in 50 alphabets.

    Light strokes on black (the originals are dark on white), 105 x 105 resized to [1, size, size],
    from `root/omniglot-py`: `images_background.zip` and `images_evaluation.zip`, or the folders
    that they unpack to. They are downloaded if they are missing (Lake et al. 2015). A class is
    "Alphabet/character01", a group its alphabet.

    The official split trains on the background alphabets, and tests on the evaluation alphabets.
    The 400 official one-shot trials are the trials "omniglot", for the protocol
    oneshot:official=omniglot. A model that was trained on these images takes files that are dark on
    white, too.

    Composed classes have images that are half one character and half another of the same alphabet.
    They are for training only, by any split: in the train part if both of these are.

    Args:
        root: Folder of the datasets.
        size: Side of the images, 1 to 4,096 pixels.
        background: Alphabets to train on: "all", or five of them, "small1" or "small2".
        composed: Composed classes of a background alphabet, as a multiple of its own classes, 0 to
            20.
        margin: Space around a character that is scaled to fill its image, as a fraction of a side,
            0 to 0.4; none: each is as large and lies where it was drawn.

    Reference: Lake et al., Human-level Concept Learning through Probabilistic Program Induction,
        2015.
    """
    check_size(size, "omniglot")
    if not 0 <= composed <= _MOST_COMPOSED:
        raise UsageError(
            f"option 'composed' of dataset 'omniglot' is from 0 to {_MOST_COMPOSED}, not "
            f"{composed:g}."
        )
    try:
        reading = Reading(margin=margin, inverted=True)
    except ValueError as error:
        raise UsageError(f"dataset 'omniglot': {error}") from error
    train, test = _part(root, _BACKGROUND[background]), _part(root, _EVALUATION)
    drawings = train + test
    labels, classes = _indexed([drawing.character for drawing in drawings])
    groups, alphabets = _indexed([drawing.alphabet for drawing in drawings])
    images = _decoded(drawings, size, reading)
    official = torch.tensor([TRAIN] * len(train) + [TEST] * len(test))
    known, of_known = labels[: len(train)], groups[: len(train)]
    pairs = compositions(known, of_known, composed)
    made = [images_of(pair, images[: len(train)], known) for pair in enumerate(pairs)]
    counts = torch.tensor([len(each) for each in made], dtype=torch.int64)
    alphabet_of = torch.zeros(len(classes), dtype=torch.int64).scatter(0, labels, groups)
    of_made = alphabet_of[torch.tensor([first for first, _ in pairs], dtype=torch.int64)]
    numbers = len(classes) + torch.arange(len(pairs))
    return Dataset(
        name="omniglot",
        images=torch.cat([images, *made]),
        labels=torch.cat([labels, numbers.repeat_interleave(counts)]),
        classes=(*classes, *_names(pairs, classes)),
        shape=(1, size, size),
        groups=torch.cat([groups, of_made.repeat_interleave(counts)]),
        group_names=alphabets,
        official=torch.cat([official, torch.full((int(counts.sum()),), TRAIN)]),
        made_of={int(number): pair for number, pair in zip(numbers, pairs, strict=True)},
        trials=official_trials(drawings),
        reading=reading,
        nouns=("characters", "alphabets"),
    )


def _names(pairs: Sequence[tuple[int, int]], classes: Sequence[str]) -> Iterator[str]:
    """The names of composed classes: their components and a number."""
    for number, (first, second) in enumerate(pairs):
        yield f"{classes[first]}+{classes[second].rpartition('/')[2]} ({number})"


def _part(root: Path, name: str) -> list[Drawing]:
    folder = root / "omniglot-py"
    archive, unpacked = folder / f"{name}.zip", folder / name
    if not archive.is_file() and not unpacked.is_dir():
        _download(root, archive)
    return read_drawings(archive if archive.is_file() else unpacked, _COUNTS[name])


def _download(root: Path, archive: Path) -> None:
    with scratch(root, "omniglot", archive) as folder:
        url = f"{Omniglot.download_url_prefix}/{archive.name}"
        download_url(url, folder, archive.name, _MD5[archive.stem])
        archive.parent.mkdir(exist_ok=True)
        (folder / archive.name).replace(archive)


def _indexed(names: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """An index for each name, and the distinct names in the order of their first use."""
    order = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names]), tuple(order)


def _decoded(drawings: Sequence[Drawing], size: int, reading: Reading) -> Tensor:
    """The drawings as uint8 [N, 1, size, size]."""
    # One thread takes about 5 s for all 32,460 and their archives; two were measured to take
    # twice as long, since of the 0.1 ms that a drawing needs most is spent under the GIL.
    shape = (1, size, size)
    return torch.stack([read_image(item.png, shape, str(item.path), reading) for item in drawings])
