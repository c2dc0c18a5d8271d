"""The dataset `glyphs`: what it draws, which characters it tells apart, and that it stays."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from metricforge_standard.datasets._fonts import SIDE, Face, faces
from metricforge_standard.datasets._lookalikes import distinct
from metricforge_standard.datasets._scripts import SCRIPTS, TEST_SCRIPTS, Character, candidates
from metricforge_standard.datasets.glyphs import glyphs
from torch import Tensor

from metricforge.contracts import TEST, TRAIN, Dataset
from metricforge.data.split import split_dataset
from metricforge.errors import DataError, UsageError
from metricforge.testing import check_dataset

EACH = 4


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return glyphs(per_class=EACH)


@pytest.fixture(scope="module")
def fonts() -> list[Face]:
    return list(faces())


def pixels(dataset: Dataset) -> Tensor:
    assert isinstance(dataset.images, Tensor)
    return dataset.images


def test_glyphs_pass_the_kit() -> None:
    assert check_dataset("glyphs", per_class=2).passed


def test_every_class_has_its_images_and_a_name_in_its_script(dataset: Dataset) -> None:
    assert 400 <= len(dataset.classes) <= 700
    assert dataset.labels.bincount().unique().tolist() == [EACH]
    assert inspect.signature(glyphs).parameters["per_class"].default == 20
    assert dataset.shape == (1, 28, 28)
    assert dataset.turns_into_classes
    assert dataset.group_names == tuple(SCRIPTS)
    assert dataset.groups is not None
    assert len(set(dataset.classes)) == len(dataset.classes)
    for label, group in zip(dataset.labels.tolist(), dataset.groups.tolist(), strict=True):
        script, slash, name = dataset.classes[label].partition("/")
        assert script == dataset.group_names[group]
        assert slash
        assert name
        assert name.isascii()
        assert name.isprintable()
        assert " " not in name


def test_names_are_unicodes_without_what_the_script_says() -> None:
    named = {each.sign: each.name for each in candidates()}
    assert named["7"] == "Digits/seven"
    assert named["G"] == "Latin/capital_g"
    assert named["\u03b1"] == "Greek/small_alpha"
    assert named["\u05d0"] == "Hebrew/alef"
    assert named["\u07c3"] == "NKo/digit_three"
    assert named["\u1403"] == "Syllabics/i"
    assert named["\u2200"] == "Mathematics/for_all"
    assert named["\U00010300"] == "Old_Italic/a"
    # Neither letters with a mark, nor marks, nor what is not assigned.
    assert not {"\u0451", "\u05b0", "\u03a2"} & set(named)


def test_whole_scripts_are_tested_a_third_of_the_classes(dataset: Dataset) -> None:
    assert dataset.official is not None
    assert dataset.groups is not None
    tested = dataset.groups[dataset.official == TEST].unique().tolist()
    trained = dataset.groups[dataset.official == TRAIN].unique().tolist()
    assert {dataset.group_names[group] for group in tested} == TEST_SCRIPTS
    assert not set(tested) & set(trained)
    assert 0.28 < (dataset.official == TEST).float().mean() < 0.38
    split = split_dataset(dataset)
    assert split.rule.name == "official"
    assert not split.closed_set


LOOK_ALIKE = (
    ("Latin/capital_a", "Greek/capital_alpha", "Cyrillic/capital_a"),
    ("Latin/capital_c", "Latin/small_c", "Cyrillic/small_es"),
    ("Latin/capital_o", "Latin/small_o", "Digits/zero", "Armenian/capital_oh", "NKo/digit_zero"),
    ("Latin/capital_s", "Latin/small_s", "Digits/five", "Cyrillic/capital_dze"),
    ("Latin/capital_p", "Cyrillic/small_er", "Greek/capital_rho", "Greek/small_rho"),
    ("Latin/capital_v", "Latin/small_v", "Cyrillic/small_izhitsa", "Mathematics/logical_or"),
)


@pytest.mark.parametrize("names", LOOK_ALIKE, ids=lambda names: names[0])
def test_of_characters_that_look_the_same_the_first_is_a_class(
    names: tuple[str, ...], dataset: Dataset
) -> None:
    drawn = {each.name for each in candidates()}
    assert len(drawn & set(names)) > 1
    assert len(set(dataset.classes) & set(names)) == 1


def test_no_face_draws_two_classes_with_nearly_the_same_ink(
    dataset: Dataset, fonts: list[Face]
) -> None:
    """By another measure than the one that chose them: the share of ink that two have in common."""
    signs = {each.name: each.sign for each in candidates()}
    for font in fonts:
        drawn = (font.drawings(signs[name]) for name in dataset.classes)
        ink = torch.stack([torch.from_numpy(each[1] > 127) for each in drawn if each is not None])
        assert shared(ink).triu(1).max() < 0.9
    latin, greek = (fonts[0].drawings(sign) for sign in ("A", "\u0391"))
    assert latin is not None
    assert greek is not None
    assert shared(torch.from_numpy(latin[1:] > 127).expand(2, -1, -1))[0, 1] == 1
    assert (latin == greek).all()


def shared(ink: Tensor) -> Tensor:
    """The pixels that two drawings [M, S, S] both have, over those that either has, [M, M]."""
    flat = ink.flatten(1).float()
    both = flat @ flat.T
    return both / (flat.sum(1)[:, None] + flat.sum(1) - both)


def test_every_image_has_strokes_and_none_touches_the_border(dataset: Dataset) -> None:
    images = pixels(dataset)
    assert images.amax((1, 2, 3)).min() > 200
    covered = (images > 127).float().mean((1, 2, 3))
    assert covered.min() > 0.01
    assert covered.max() < 0.5
    for side in (images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]):
        assert side.max() == 0


def test_images_of_a_class_differ_and_resemble_each_other(dataset: Dataset) -> None:
    flat = pixels(dataset).flatten(1).double()
    flat = flat / flat.norm(dim=1, keepdim=True)
    likeness = (flat @ flat.T).fill_diagonal_(-1)
    assert likeness.max() < 1 - 1e-6
    right = (dataset.labels[likeness.argmax(1)] == dataset.labels).float().mean()
    # By pixels alone a fifth are told from 500 classes: far from chance, and from being enough.
    assert 0.1 < right < 0.6


def test_the_seed_and_nothing_else_decides_the_images(dataset: Dataset) -> None:
    again, other = glyphs(per_class=EACH), glyphs(per_class=EACH, seed=1)
    assert torch.equal(pixels(again), pixels(dataset))
    assert other.classes == dataset.classes
    same = (pixels(other) == pixels(dataset)).flatten(1).all(1)
    assert not same.any()


def test_the_size_changes_the_images_and_not_the_classes(dataset: Dataset) -> None:
    large = glyphs(per_class=1, size=41)
    assert pixels(large).shape == (len(dataset.classes), 1, 41, 41)
    assert large.classes == dataset.classes


def test_a_face_draws_what_its_font_has_and_no_box_for_the_rest(fonts: list[Face]) -> None:
    sans, stix = fonts[0], fonts[6]
    assert sans.drawings("\u2d30") is not None  # Tifinagh's
    assert stix.drawings("\u2d30") is None
    assert stix.drawings(" ") is None
    drawing = stix.drawings("l")
    assert drawing is not None
    height, width = ((drawing[0] > 0).any(axis).sum() for axis in (1, 0))
    wide = (drawing[1] > 0).any(0).sum()
    assert 60 <= height <= 64
    assert width < 30
    assert wide in range(2 * width - 2, 2 * width + 3)


def test_every_candidate_is_named_once_and_most_can_be_drawn(fonts: list[Face]) -> None:
    every = list(candidates())
    assert len({each.name for each in every}) == len(every)
    assert {each.script for each in every} == set(SCRIPTS)
    assert sum(ord(each.sign) in fonts[0].glyphs for each in every) > 0.8 * len(every)
    assert Character("\u10d0", "Georgian") in every


def square(left: int, right: int) -> Tensor:
    """A drawing of the outline of a square."""
    drawing = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    drawing[left:right, left:right] = 255
    drawing[left + 8 : right - 8, left + 8 : right - 8] = 0
    return drawing


def test_a_character_is_left_out_when_any_face_draws_it_like_one_that_is_kept() -> None:
    whole, cross = square(8, 72), torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    cross[36:44, 8:72] = cross[8:72, 36:44] = 255
    heavier = cross.clone()
    heavier[34:46, 8:72] = heavier[8:72, 34:46] = 255
    small = square(26, 54)
    faces_of = [(whole,), (cross,), (small, heavier), (small,), (whole, small)]
    # The third is like the second in one face; the fourth is like the third, which is not kept.
    assert distinct([torch.stack(each) for each in faces_of]) == [0, 1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_class": 0}, "'per_class' of dataset 'glyphs' is 1 image or more, not 0"),
        ({"seed": -1}, "'seed' of dataset 'glyphs' is 0 or more, not -1"),
        ({"size": 0}, "'size' of dataset 'glyphs' is 1 to 4,096 pixels, not 0"),
    ],
)
def test_options_that_mean_nothing_are_usage_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        glyphs(**options)


def test_fonts_that_are_missing_or_damaged_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"font '.*DejaVuSans\.ttf'.*install matplotlib again"):
        glyphs()
    folder = tmp_path / "fonts" / "ttf"
    folder.mkdir(parents=True)
    (folder / "DejaVuSans.ttf").write_bytes(b"no font")
    with pytest.raises(DataError, match=r"font '.*DejaVuSans\.ttf'.*install matplotlib again"):
        glyphs()
