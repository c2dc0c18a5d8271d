"""What is said of a dataset before it is trained on, and what stops a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metricforge.contracts import Dataset
from metricforge.data.images import open_images
from metricforge.data.split import split_dataset
from metricforge.errors import DataError, UsageError
from metricforge.inspection.data_check import DataCheck, check_data
from metricforge.inspection.examples import draw_examples
from metricforge.inspection.sampler_check import try_samplers
from metricforge.recipes.dataset_spec import dataset_spec
from metricforge.registry import Registry
from metricforge.spec import Spec

REGISTRY = Registry.installed()
CLASSES = "abcdefgh"
SPLIT = "classes:train=a-d,validation=e-f,test=g-h"


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((40, 40), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight classes of six pictures, no two alike."""
    for place in range(48):
        path = tmp_path / "photos" / CLASSES[place // 6] / f"{place:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(place).save(path)
    return tmp_path / "photos"


def check(photos: Path, split: str = SPLIT, *samplers: str) -> DataCheck:
    # As it was when this module was read: a plugin may be installed meanwhile.
    return check_data(str(photos), split, samplers, registry=REGISTRY)


def names(sets: list[dict[str, list[str]]]) -> list[list[str]]:
    return [[Path(image).name for image in each["images"]] for each in sets]


def test_nothing_is_held_against_good_images(photos: Path) -> None:
    found = check(photos)
    record = json.loads(json.dumps(found.to_json()))
    assert record["ok"] is True
    assert record["failures"] == record["warnings"] == record["broken"] == []
    assert record["identical"] == record["alike"] == record["leaks"] == []
    assert (record["images"], record["classes"], record["formats"]) == (48, 8, {"PNG": 48})
    assert record["class_sizes"] == {
        "smallest": 6, "median": 6.0, "largest": 6, "of_one_image": [], "of_no_image": [],
    }  # fmt: skip
    assert record["split"]["hash"] == split_dataset(found.dataset, Spec.parse(SPLIT)).hash
    assert record["split"]["parts"]["test"]["classes"] == ["g", "h"]


def test_copies_across_parts_are_leaks_and_those_of_two_classes_conflicts(photos: Path) -> None:
    picture(0).resize((20, 20)).save(photos / "g" / "leak.jpg", quality=80)
    picture(6).save(photos / "b" / "same.png")
    picture(12).save(photos / "d" / "other.png")
    record = check(photos).to_json()
    assert names(record["alike"]) == [["00.png", "leak.jpg"]]
    assert names(record["identical"]) == [["06.png", "same.png"], ["12.png", "other.png"]]
    assert names(record["leaks"]) == [["00.png", "leak.jpg"]]
    assert record["leaks"][0]["parts"] == ("train", "test")
    assert sorted(names(record["of_two_classes"])) == [["00.png", "leak.jpg"],
                                                       ["12.png", "other.png"]]  # fmt: skip
    assert record["ok"] is True, "they are warned of"
    assert [warning.split()[0] for warning in record["warnings"]] == ["1", "1", "1"]
    assert [warning.rpartition(": ")[2] for warning in record["warnings"]] == [
        "what is tested is not unseen.", "some labels are wrong.", "check the labels."
    ]  # fmt: skip


def test_broken_images_stop_a_training_and_the_first_is_named(photos: Path) -> None:
    for place in ("13", "31"):
        (next(photos.glob(f"*/{place}.png"))).write_bytes(b"nothing")
    found = check(photos)
    assert [Path(str(image)).name for image in found.broken] == ["13.png", "31.png"]
    (failure,) = found.failures
    assert f"'{photos}/c/13.png'" in failure
    assert "1 more can't be used either. With the option broken=skip all images" in failure
    for open_limit in (-1, 1 << 30):
        with pytest.raises(DataError, match=r"no image that can be read; .* broken=skip"):
            open_images(found.dataset, open_limit).take(torch.arange(48))


def test_a_dataset_that_can_not_be_split_says_so_and_is_looked_at_all_the_same(
    photos: Path,
) -> None:
    for name in CLASSES[3:]:
        for image in (photos / name).iterdir():
            image.rename(photos / "a" / image.name)
        (photos / name).rmdir()
    picture(4).save(photos / "a" / "again.png")
    found = check_data(str(photos))
    assert found.failures == [
        "'photos' has 3 classes; a split that tests on unseen classes needs at least 5: two to "
        "train, one to validate, two to test. --split images tests on other images of the same "
        "classes, a closed set."
    ]
    assert found.samplers == ()
    assert [copies.parts for copies in found.copies.identical] == [("", "")]
    assert found.copies.leaks == ()


def test_classes_that_can_not_be_tested_stop_a_training(photos: Path) -> None:
    for name in "gh":
        for image in sorted((photos / name).iterdir())[1:]:
            image.unlink()
    found = check(photos)
    assert found.class_sizes["of_one_image"] == ["g", "h"]
    assert "2 classes of one image, which no other can match." in found.warnings
    assert any(failure.startswith("test part: ") for failure in found.failures)


def test_only_the_samplers_that_are_named_decide(photos: Path) -> None:
    verdicts = {verdict.spec: verdict for verdict in check(photos).samplers}
    installed = {entry.name for entry in REGISTRY.entries("sampler")}
    assert set(verdicts) == installed
    assert [spec for spec, verdict in verdicts.items() if verdict.decides] == ["hard-triplet"]
    assert verdicts["grouped"].outcome == "refused"
    assert "groups" in verdicts["grouped"].why
    assert verdicts["schedule"].outcome == "incomplete"
    asked = check(photos, SPLIT, "random-pairs", "grouped")
    assert [verdict.spec for verdict in asked.samplers] == ["random-pairs", "grouped"]
    (failure,) = asked.failures
    assert failure.startswith("sampler grouped: ")


def test_a_sampler_that_draws_in_vain_is_refused_and_its_notes_are_told(photos: Path) -> None:
    for image in sorted((photos / "b").iterdir())[1:]:
        image.unlink()
    verdicts = {verdict.spec: verdict for verdict in check(photos).samplers}
    assert any("one image" in note for note in verdicts["hard-triplet"].notes)
    (crowded,) = check(photos, SPLIT, "hard-triplet:classes=5").failures
    assert crowded.startswith("sampler hard-triplet:classes=5: ")


@pytest.mark.parametrize(
    ("split", "samplers"),
    [(SPLIT, ["hard-triplett"]), (SPLIT, ["hard-triplet:clases=3"]), (SPLIT, ["schedule"]),
     ("randm", []), ("classes:train=a-z,validation=b,test=c", [])],
)  # fmt: skip
def test_what_is_mistyped_is_a_usage_error(photos: Path, split: str, samplers: list[str]) -> None:
    with pytest.raises(UsageError):
        check(photos, split, *samplers)


def test_samplers_are_tried_in_the_orientations_that_training_takes() -> None:
    found = check_data("digits")
    assert found.failures == []
    assert found.split is not None
    train = len(found.split.classes("train", found.dataset))

    def verdict(classes: int) -> str:
        named = [f"hard-triplet:classes={classes}"]
        return next(try_samplers(found.dataset, found.split, REGISTRY, named)).outcome  # type: ignore[arg-type]

    assert verdict(8 * train) == "ok"
    assert verdict(8 * train + 1) == "refused"


def test_what_is_no_dataset_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for what in ("empty", "nothing", "none.csv"):
        with pytest.raises(DataError, match=what):
            check_data(str(tmp_path / what))


GIVEN = [
    ("digits:size=8", "digits:size=8"),
    ("metricforge:digits", "metricforge:digits"),
    ("folder:path=a.csv", "folder:path=a.csv"),
    ("/data/photos", "folder:path=/data/photos"),
    ("./digits", "folder:path=digits"),
    ("../a=b", "folder:path=../a=b"),
    ("photos, old/", 'folder:path="photos, old"'),
    ("list.csv", "csv:path=list.csv"),
    ("there/LIST.CSV", "csv:path=there/LIST.CSV"),
    ("pixels.npz", "npz:path=pixels.npz"),
    ("photos.zip", "folder:path=photos.zip"),
    ("photos.tar.gz", "folder:path=photos.tar.gz"),
    ("glyphs", "glyphs"),
]


@pytest.mark.parametrize(("what", "spec"), GIVEN, ids=[what for what, _ in GIVEN])
def test_a_dataset_is_given_by_its_spec_or_by_a_path(what: str, spec: str) -> None:
    assert dataset_spec(what, REGISTRY) == Spec.parse(spec)


def test_what_is_neither_a_dataset_nor_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match="no folder or file 'photos' either"):
        dataset_spec("photos", REGISTRY)


def test_a_folder_that_is_there_needs_no_slash_unless_a_dataset_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my photos", "digits"):
        (tmp_path / name).mkdir()
    assert dataset_spec("my photos", REGISTRY) == Spec("folder", {"path": "my photos"})
    assert dataset_spec("digits", REGISTRY) == Spec("digits")


def test_examples_are_of_the_images_among_which_they_are_drawn(photos: Path) -> None:
    dataset = check(photos).dataset
    among = split_dataset(dataset, Spec.parse(SPLIT)).train
    drawn = draw_examples(dataset, among, classes=3, per_class=2, seed=1)
    assert len(drawn.classes) == 3
    assert set(drawn.classes) < set("abcd")
    assert [images.shape for images in drawn.images] == [(2, 3, 64, 64)] * 3
    again = draw_examples(dataset, among, classes=3, per_class=2, seed=1)
    assert all(map(np.array_equal, drawn.images, again.images))
    everything = draw_examples(dataset, torch.arange(48), classes=99, per_class=99)
    assert everything.classes == tuple(CLASSES)
    assert all(len(images) == 6 for images in everything.images)


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"per_class": 0}, {"seed": -1}])
def test_no_examples_and_no_seed_are_usage_errors(wrong: dict[str, int]) -> None:
    dataset = Dataset("t", torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2), ("a", "b"),
                      (1, 4, 4))  # fmt: skip
    draw: Callable[..., object] = draw_examples
    with pytest.raises(UsageError):
        draw(dataset, torch.arange(2), **wrong)
