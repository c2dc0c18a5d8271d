"""Splits by group, in folds, by image, and as a file records them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metricforge.contracts import Dataset
from metricforge.data.images import places_hash
from metricforge.data.split import Split, split_dataset
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.spec import Spec


def dataset(classes: int = 12, each: int = 6, groups: int | None = 4, name: str = "set") -> Dataset:
    labels = torch.arange(classes).repeat_interleave(each)
    return Dataset(
        name=name,
        images=torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8),
        labels=labels,
        classes=tuple(f"class {n}" for n in range(classes)),
        shape=(1, 2, 2),
        groups=None if groups is None else labels % groups,
        group_names=tuple(f"group {n}" for n in range(groups or 0)),
    )


def split(of: Dataset, spec: str) -> Split:
    return split_dataset(of, Spec.parse(spec))


def parts(found: Split) -> list[torch.Tensor]:
    return [found.train, found.validation, found.test]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("groups", [3, 4, 12])
def test_groups_are_held_out_whole(groups: int, seed: int) -> None:
    of = dataset(groups=groups)
    found = split(of, f"groups:seed={seed}")
    assert of.groups is not None
    held = [set(of.groups[part].tolist()) for part in parts(found)]
    assert all(held)
    assert sum(map(len, held)) == groups == len(set.union(*held))
    assert not found.closed_set
    assert len(torch.cat(parts(found)).unique()) == len(of)


def test_groups_need_groups_that_hold_their_classes() -> None:
    with pytest.raises(DataError, match="has no groups"):
        split(dataset(groups=None), "groups")
    with pytest.raises(DataError, match="has 2 groups"):
        split(dataset(groups=2), "groups")
    mixed = dataset()
    assert mixed.groups is not None
    mixed.groups[0] = 3
    with pytest.raises(DataError, match="'class 0' of 'set' is in more than one group"):
        split(mixed, "groups")


@pytest.mark.parametrize("k", [3, 4, 6])
def test_over_all_folds_each_class_is_tested_once_and_validates_once(k: int) -> None:
    of = dataset()
    found = [split(of, f"folds:k={k},fold={fold}") for fold in range(k)]
    for role in ("test", "validation"):
        held = [name for each in found for name in each.classes(role, of)]
        assert sorted(held) == sorted(of.classes)
    for each in found:
        assert not each.closed_set
        assert len(torch.cat(parts(each)).unique()) == len(of)
    assert len({each.hash for each in found}) == k


@pytest.mark.parametrize(
    ("spec", "error", "told"),
    [
        ("folds:k=2", UsageError, "k of 3 or more"),
        ("folds:k=4,fold=4", UsageError, "a fold from 0 to 3"),
        ("folds:k=7", DataError, "has 12 classes; 7 folds of two or more take 14"),
        ("images:test=1", UsageError, "between 0 and 1"),
        ("random:test=0.85", UsageError, "validation=0.2 and test=0.85 sum to 1.05; take less"),
    ],
)
def test_what_can_not_be_split_so_says_why(spec: str, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        split(dataset(), spec)


@pytest.mark.parametrize("each", [6, 7, 9, 14])
def test_images_of_small_classes_leave_each_part_two_that_can_be_compared(each: int) -> None:
    of = dataset(each=each)
    for part in parts(split(of, "images")):
        assert int(of.labels[part].bincount().min()) >= 2
    with pytest.raises(DataError, match="no class of 'set' has 6 images, two each"):
        split(dataset(each=5), "images")


def test_images_of_each_class_are_a_closed_set() -> None:
    of = dataset(each=20)
    found = split(of, "images:validation=0.1,test=0.25")
    assert found.closed_set
    for part, count in zip(parts(found), (13, 2, 5), strict=True):
        assert of.labels[part].bincount().tolist() == [count] * 12
    assert len(torch.cat(parts(found)).unique()) == len(of)


@pytest.mark.parametrize("spec", ["random:seed=3", "groups", "folds:fold=2", "images"])
def test_a_saved_split_is_the_same_split(spec: str, tmp_path: Path) -> None:
    of = dataset()
    found = split(of, spec)
    path = tmp_path / "split.json"
    path.write_text(json.dumps(found.to_json(of)))
    again = split(of, f"saved:path={path}")
    assert (again.hash, again.closed_set) == (found.hash, found.closed_set)


def record(tmp_path: Path, **changes: object) -> Path:
    of = dataset()
    written = split(of, "random").to_json(of) | changes
    path = tmp_path / "split.json"
    path.write_text(json.dumps(written))
    return path


def test_a_saved_split_fits_a_dataset_with_more_images_and_classes(tmp_path: Path) -> None:
    path = record(tmp_path)
    more = dataset(classes=14, each=9, name="more")
    found, first = split(more, f"saved:path={path}"), split(dataset(), "random")
    for part in ("train", "validation", "test"):
        assert found.classes(part, more) == first.classes(part, dataset())
    with pytest.raises(DataError, match=r"lacks 2 of the classes in .*split\.json, e\.g\."):
        split(dataset(classes=8), f"saved:path={path}")


def test_a_saved_split_that_overlaps_is_refused_by_name(tmp_path: Path) -> None:
    names = {"train": ["class 0", "class 1"], "validation": ["class 2"], "test": ["class 1"]}
    path = record(tmp_path, parts={part: {"classes": given} for part, given in names.items()})
    with pytest.raises(DataError, match="'class 1' in train and test"):
        split(dataset(), f"saved:path={path}")
    places = {"train": [0, 6], "validation": [7], "test": [6]}
    held = {"train": ["class 0", "class 1"], "validation": ["class 1"], "test": ["class 9"]}
    closed = {part: {"classes": held[part], "places": places[part]} for part in places}
    images: dict[str, object] = {"closed_set": True, "places_hash": places_hash(dataset())}
    with pytest.raises(DataError, match="an image in more than one part"):
        split(dataset(), f"saved:path={record(tmp_path, parts=closed, **images)}")
    closed["test"]["places"] = [8]
    with pytest.raises(DataError, match="are of other classes in 'set'"):
        split(dataset(), f"saved:path={record(tmp_path, parts=closed, **images)}")
    closed["test"]["places"] = [72]
    with pytest.raises(DataError, match="names images that 'set' does not have"):
        split(dataset(), f"saved:path={record(tmp_path, parts=closed, **images)}")


def in_files(folder: Path) -> Dataset:
    """The images of a folder, by name: of each class one after the other, as `folder` has them."""
    paths = sorted(folder.iterdir())
    labels = torch.tensor(["ab".index(path.name[0]) for path in paths])
    return Dataset("files", paths, labels, ("a", "b"), (3, 8, 8))


def test_a_saved_closed_set_fits_the_images_that_it_was_made_of_alone(tmp_path: Path) -> None:
    for place in range(20):
        (tmp_path / f"{'ab'[place // 10]}{place}").write_bytes(bytes(place))
    of = in_files(tmp_path)
    path = tmp_path.with_suffix(".json")
    path.write_text(json.dumps(split(of, "images").to_json(of)))
    smaller = replace(of, shape=(1, 4, 4))
    assert split(smaller, f"saved:path={path}").hash == split(of, "images").hash
    # In the middle of the last class all places keep their class, and mean other images.
    (tmp_path / "b15b").write_bytes(b"one more")
    with pytest.raises(DataError, match=r"are not those that .* was made of"):
        split(in_files(tmp_path), f"saved:path={path}")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"parts": 3}', '{"parts": {"train": {}}, "closed_set": false}',
     '{"closed_set": false, "parts": {"train": {"classes": "abc"}, "validation": {"classes": []}, '
     '"test": {"classes": []}}}'],
)  # fmt: skip
def test_what_is_no_record_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(ArtefactError, match="is no record of a split"):
        split(dataset(), f"saved:path={path}")
    with pytest.raises(DataError, match="No such file"):
        split(dataset(), f"saved:path={tmp_path / 'none.json'}")
