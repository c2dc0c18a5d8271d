"""Printed characters of many scripts, drawn with the fonts that come with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import TEST, TRAIN, Dataset
from metricforge.errors import UsageError
from metricforge_standard.datasets._fonts import faces
from metricforge_standard.datasets._lookalikes import distinct
from metricforge_standard.datasets._pixels import check_size
from metricforge_standard.datasets._scripts import TEST_SCRIPTS, Character, candidates
from metricforge_standard.datasets._strokes import POSES, posed


def glyphs(*, per_class: int = 20, size: int = 28, seed: int = 0) -> Dataset:
    """Some 500 printed characters of 15 scripts, 20 images of each, drawn here: no download.

    Light strokes on black, [1, size, size], from the upright faces that come with matplotlib
    (DejaVu's sans, serif and mono, STIX; each in bold). The images of a class are drawn by turns in
    each face that has the character, then turned, slanted, stretched, moved and made heavier or
    lighter at random; the same bytes each time. A class is a letter, digit or sign,
    "Greek/small_alpha"; a group is its script.

    Characters that look the same are one class. To compare them, each is scaled to the same box, a
    narrow one at most doubled. One whose outline has a cosine of 0.82 or more to that of an earlier
    one, in any two faces, is dropped, so that C stands for c and for Cyrillic's. Syllabics may be
    others turned: train without further orientations.

    The official split tests on Armenian, Hebrew, Arabic, N'Ko, Lao, Georgian and Tifinagh, a third
    of the classes, and trains on the others.

    Args:
        per_class: Images of each class, 1 or more.
        size: Side of the images, 1 to 4,096 pixels.
        seed: Seed of the random changes, 0 or more.
    """
    check_size(size, "glyphs")
    _check(per_class, seed)
    chosen = _classes()
    scripts = tuple(dict.fromkeys(each.character.script for each in chosen))
    groups = torch.tensor([scripts.index(each.character.script) for each in chosen])
    tested = torch.tensor([script in TEST_SCRIPTS for script in scripts])
    labels = torch.arange(len(chosen)).repeat_interleave(per_class)
    return Dataset(
        name="glyphs",
        images=_images(chosen, per_class, size, seed),
        labels=labels,
        classes=tuple(each.character.name for each in chosen),
        shape=(1, size, size),
        groups=groups[labels],
        group_names=scripts,
        official=torch.where(tested, TEST, TRAIN)[groups][labels],
        turns_into_classes=True,
        nouns=("characters", "scripts"),
    )


@dataclass(frozen=True)
class Glyph:
    """A character and its drawing in each face that has it, uint8 [F, S, S]."""

    character: Character
    drawings: Tensor


def _classes() -> list[Glyph]:
    """The characters that differ from each other, script by script."""
    fonts, drawn, compared = list(faces()), [], []
    for character in candidates():
        drawings = [font.drawings(character.sign) for font in fonts]
        available = [drawing for drawing in drawings if drawing is not None]
        if available:
            plain, widened = torch.from_numpy(np.stack(available)).unbind(1)
            drawn.append(Glyph(character, plain))
            compared.append(widened)
    return [drawn[index] for index in distinct(compared)]


def _images(chosen: Sequence[Glyph], per_class: int, size: int, seed: int) -> Tensor:
    """The images of every class in turn, uint8 [C * per_class, 1, size, size]."""
    images = []
    for each in chosen:
        # By its own code point: its images don't change if another class is added or removed.
        rng = np.random.default_rng((seed, ord(each.character.sign)))
        poses = torch.from_numpy(rng.uniform(-1, 1, (per_class, POSES)))
        order = torch.from_numpy(rng.permutation(len(each.drawings)))
        faces_used = order[torch.arange(per_class) % len(order)]
        images.append(posed(each.drawings[faces_used], poses, size))
    return torch.cat(images)


def _check(per_class: int, seed: int) -> None:
    if per_class < 1:
        raise UsageError(
            f"option 'per_class' of dataset 'glyphs' is 1 image or more, not {per_class}."
        )
    if seed < 0:
        raise UsageError(f"option 'seed' of dataset 'glyphs' is 0 or more, not {seed}.")
