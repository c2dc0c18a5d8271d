"""Each check of datasets finds a dataset that is broken in just that way."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metricforge.contracts import Dataset, Reading
from metricforge.testing import ContractBroken, check, check_dataset
from tests.kit.breaking import assert_all_are_broken, assert_ends

_turn = itertools.count()


def dataset(**changes) -> Dataset:
    """Twelve images of four classes in two groups, with changes."""
    images = torch.arange(12 * 16).view(12, 1, 4, 4).to(torch.uint8)
    whole = {
        "name": "tiny",
        "images": images,
        "labels": torch.arange(12) % 4,
        "classes": ("a", "b", "c", "d"),
        "shape": (1, 4, 4),
        "groups": torch.arange(12) % 2,
        "group_names": ("odd", "even"),
        "official": torch.arange(12) % 3,
        "made_of": {3: (0, 1)},
    }
    return Dataset(**whole | changes)


def sound(root: Path):
    assert isinstance(root, Path)
    return dataset()


def asks_for_labels(labels):
    return dataset()


def fails():
    raise RuntimeError("no network")


def gives_a_tuple():
    return torch.zeros(1), torch.zeros(1)


def without_images():
    return dataset(images=torch.zeros(0, 1, 4, 4, dtype=torch.uint8), labels=torch.zeros(0).long())


def notes_as_text():
    return dataset(notes="one sentence")


def float_images():
    return dataset(images=torch.zeros(12, 1, 4, 4))


def another_shape():
    return dataset(shape=(1, 5, 5))


def read_anyhow():
    return dataset(reading="inverted")


def missing_files():
    return dataset(images=[Path("nowhere") / f"{n}.png" for n in range(12)])


def labels_from_one():
    return dataset(labels=torch.arange(12) % 4 + 1)


def int_labels():
    return dataset(labels=(torch.arange(12) % 4).int())


def twin_names():
    return dataset(classes=("a", "b", "a", "d"))


def numbers_for_names():
    return dataset(classes=(0, 1, 2, 3))


def too_few_groups():
    return dataset(group_names=("odd",))


def names_without_groups():
    return dataset(groups=None)


def codes_of_its_own():
    return dataset(official=torch.full((12,), 3))


def made_of_nothing():
    return dataset(made_of={3: ()})


def made_of_strangers():
    return dataset(made_of={3: (0, 4)})


def made_of_the_made():
    return dataset(made_of={3: (0, 2), 2: (0, 1)})


def another_each_time():
    return dataset(labels=(torch.arange(12) + next(_turn)) % 4)


def by_the_global_seed():
    state = np.random.get_state()
    order = torch.from_numpy(np.random.permutation(12))
    np.random.set_state(state)
    return dataset(labels=(torch.arange(12) % 4)[order])


def seeds():
    torch.manual_seed(0)
    return dataset()


def all_black():
    return dataset(images=torch.zeros(12, 1, 4, 4, dtype=torch.uint8))


def one_class():
    return dataset(labels=torch.zeros(12, dtype=torch.int64))


BROKEN = {
    "builds": [asks_for_labels, fails],
    "is-a-dataset": [gives_a_tuple, without_images, notes_as_text],
    "images-have-the-shape": [float_images, another_shape, missing_files, read_anyhow],
    "labels-index-the-classes": [labels_from_one, int_labels],
    "class-names-are-unique": [twin_names, numbers_for_names],
    "groups-agree": [too_few_groups, names_without_groups],
    "official-split-is-coded": [codes_of_its_own],
    "made-classes-are-made-of-others": [made_of_nothing, made_of_strangers, made_of_the_made],
    "same-each-time": [another_each_time, by_the_global_seed],
    "global-generators-stay": [seeds],
    "images-differ": [all_black],
    "classes-can-be-compared": [one_class],
}
CASES = [(name, each) for name, broken in BROKEN.items() for each in broken]


@pytest.mark.parametrize(("name", "component"), CASES)
def test_a_broken_dataset_fails_just_that_check(name, component):
    assert_ends("dataset", name, component, "failed")


def test_every_check_has_its_broken_dataset():
    assert_all_are_broken("dataset", BROKEN)


def test_a_sound_dataset_passes():
    report = check_dataset(sound)
    assert report.passed
    assert {note.check for note in report.notes} == {"growth"}


def test_files_are_looked_at_as_the_dataset_reads_them(tmp_path):
    places = [tmp_path / f"{place:02}.png" for place in range(12)]
    for place, path in enumerate(places):
        pixels = np.full((32, 32), 255, np.uint8)
        pixels[4 : 8 + 8, place : place + 12] = 0
        Image.fromarray(pixels).save(path)

    def alike(margin):
        return lambda: dataset(images=places, shape=(1, 8, 8), reading=Reading(margin))

    assert check_dataset(alike(None)).passed
    with pytest.raises(ContractBroken, match="images-differ"):
        check_dataset(alike(0.1))


def test_the_root_is_the_given_one_or_the_environments(tmp_path, monkeypatch):
    seen = []

    def looks(root):
        seen.append(root)
        return dataset()

    monkeypatch.setenv("METRICFORGE_DATA", "elsewhere")
    check_dataset(looks)
    check_dataset(looks, root=tmp_path)
    check("dataset", looks, root=str(tmp_path))
    monkeypatch.delenv("METRICFORGE_DATA")
    check_dataset(looks)
    assert list(dict.fromkeys(seen)) == [Path("elsewhere"), tmp_path, Path("data")]


def test_classes_of_one_image_and_of_none_are_noted():
    def lopsided():
        return dataset(labels=torch.tensor([0] * 11 + [1]))

    noted = {note.check: note.says for note in check_dataset(lopsided).notes}
    assert noted["classes-can-be-compared"] == (
        "of 4 classes, 1 classes have one image and 2 classes have none."
    )
