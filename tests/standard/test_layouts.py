"""The benchmarks `cub`, `cars` and `sop`: small folders of the same layout, and spoilt ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from metricforge_standard.datasets import cars as cars_module
from metricforge_standard.datasets.cars import PUBLISHED, cars
from metricforge_standard.datasets.cub import cub
from metricforge_standard.datasets.sop import sop

import metricforge
from metricforge.contracts import TEST, TRAIN, Dataset
from metricforge.data.images import open_images
from metricforge.errors import DataError, UsageError
from metricforge.testing import check_dataset
from tests.standard.layouts import (
    CAR_NAMES,
    Annotation,
    lines,
    make_cars,
    make_cub,
    make_older_cars,
    make_sop,
    savecars,
)

MAKERS: Mapping[str, tuple[Callable[..., Dataset], Callable[[Path], Path]]] = {
    "cub": (cub, make_cub),
    "cars": (cars, make_cars),
    "sop": (sop, make_sop),
}
every = pytest.mark.parametrize("name", MAKERS)


@pytest.fixture(autouse=True)
def _published(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test publishes is not published after it."""
    monkeypatch.setattr(cars_module, "PUBLISHED", dict(PUBLISHED))


def named(dataset: Dataset) -> list[str]:
    """The class of each image."""
    return [dataset.classes[label] for label in dataset.labels.tolist()]


def parts(dataset: Dataset) -> dict[str, set[int]]:
    """The parts that each class is in."""
    assert dataset.official is not None
    found: dict[str, set[int]] = {}
    for name, part in zip(named(dataset), dataset.official.tolist(), strict=True):
        found.setdefault(name, set()).add(part)
    return found


# ---------------------------------------------------------------- all three


@every
def test_a_small_folder_of_the_layout_passes_the_kit(name: str, tmp_path: Path) -> None:
    _, make = MAKERS[name]
    make(tmp_path)
    assert check_dataset(name, root=tmp_path, size=16).passed


@every
def test_it_is_found_below_the_root_below_the_path_or_there(name: str, tmp_path: Path) -> None:
    component, make = MAKERS[name]
    folder, nowhere = make(tmp_path), tmp_path / "nowhere"
    dataset = component(tmp_path)
    assert dataset.name == name
    assert dataset.shape == (3, 224, 224)
    for other in (
        component(nowhere, path=tmp_path),
        component(nowhere, path=folder, size=9),
        component(folder),
    ):
        assert other.classes == dataset.classes
        assert list(other.images) == list(dataset.images)
    assert other.shape == (3, 224, 224)
    assert component(tmp_path, size=9).shape == (3, 9, 9)


@every
def test_one_that_is_not_there_is_looked_for_and_said_where_it_is_had(
    name: str, tmp_path: Path
) -> None:
    component, make = MAKERS[name]
    folder = tmp_path / make(tmp_path / "made").name
    with pytest.raises(DataError, match=f"dataset '{name}' is not in '{folder}', nor in") as raised:
        component(tmp_path)
    assert "fetch it yourself, from" in str(raised.value)
    assert "--data-root or the option 'path'" in str(raised.value)
    with pytest.raises(DataError, match=r"is not in '.*elsewhere'"):
        component(tmp_path / "made", path=tmp_path / "elsewhere")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cub", "image_class_labels.txt"),
        ("cars", "cars_test_annos_withlabels.mat"),
        ("sop", "Ebay_test.txt"),
    ],
)
def test_a_file_that_lacks_is_named(name: str, file: str, tmp_path: Path) -> None:
    component, make = MAKERS[name]
    folder = make(tmp_path)
    (folder / file).unlink()
    with pytest.raises(DataError, match=f"'{name}' is in '{folder}', but '{file}' is not; fetch"):
        component(tmp_path)


@every
@pytest.mark.parametrize("size", [0, 100_000])
def test_a_size_that_is_none_or_boundless_is_refused(name: str, size: int, tmp_path: Path) -> None:
    component, _ = MAKERS[name]
    with pytest.raises(UsageError, match=f"'size' of dataset '{name}' is 1 to 4,096 pixels, not "):
        component(tmp_path, size=size)


@every
@pytest.mark.parametrize("what", ["the image", "its folder", "the folder of images"])
def test_a_link_may_not_lead_out(name: str, what: str, tmp_path: Path) -> None:
    component, make = MAKERS[name]
    folder = make(tmp_path)
    image = component(tmp_path).images[1]
    assert isinstance(image, Path)
    of_images = folder / image.relative_to(folder).parts[0]
    moved = {"the image": image, "its folder": image.parent, "the folder of images": of_images}
    outside = tmp_path / "outside"
    moved[what].rename(outside)
    moved[what].symlink_to(outside)
    with pytest.raises(DataError, match=r":\d names '.*', which a link leads out of '.*'; copy"):
        component(tmp_path)
    # The folder itself may lie elsewhere.
    moved[what].unlink()
    outside.rename(moved[what])
    folder.rename(outside)
    folder.symlink_to(outside)
    component(tmp_path)


@every
def test_an_image_that_is_not_there_is_named_with_its_row(name: str, tmp_path: Path) -> None:
    component, make = MAKERS[name]
    make(tmp_path)
    image = component(tmp_path).images[1]
    assert isinstance(image, Path)
    image.unlink()
    with pytest.raises(DataError, match=rf":\d names the image '.*{image.name}', which is not in"):
        component(tmp_path)
    # Nor is a folder by its name an image.
    image.mkdir()
    with pytest.raises(DataError, match=rf":\d names the image '.*{image.name}', which is not in"):
        component(tmp_path)


def test_training_on_the_first_half_measures_the_second(tmp_path: Path) -> None:
    folder = make_cub(tmp_path, (1, 2, 3, 4, 5, 101, 102, 103), each=6)
    run = metricforge.train(
        dataset=f"cub:path={folder},size=16", sampler="hard-triplet:classes=2,per_class=3",
        epochs=1, protocols=("retrieval",), backbone="conv4", progress=False, out=tmp_path / "run",
    )  # fmt: skip
    assert run.results["trained"]["recall@1"].n == 18
    text = (run.path / "split.json").read_text()
    assert '"official' in text
    assert text.index("101.Bird_101") > text.index('"test"')


# ---------------------------------------------------------------- CUB


def test_cub_halves_its_classes_by_number(tmp_path: Path) -> None:
    make_cub(tmp_path, (1, 7, 100, 101, 200))
    dataset = cub(tmp_path, size=8)
    names = [f"{number:03}.Bird_{number}" for number in (1, 7, 100, 101, 200)]
    assert dataset.classes == tuple(names)
    assert parts(dataset) == dict(zip(names, [{TRAIN}] * 3 + [{TEST}] * 2, strict=True))
    assert named(dataset) == [path.parent.name for path in dataset.images]  # type: ignore[union-attr]
    taken = open_images(dataset).take(torch.tensor([0, 1, 9]))
    assert torch.equal(taken[0], taken[1])
    assert not torch.equal(taken[0], taken[2])


def test_a_class_that_has_no_images_is_none(tmp_path: Path) -> None:
    folder = make_cub(tmp_path)
    with (folder / "classes.txt").open("a") as file:
        file.write("150 150.Bird_150\n")
    assert len(cub(tmp_path).classes) == 6
    lines(folder / "images.txt")
    with pytest.raises(DataError, match=r"'cub' lists no images in '.*images'"):
        cub(tmp_path)


def test_classes_of_one_image_are_noted(tmp_path: Path) -> None:
    make_cub(tmp_path, each=1)
    assert cub(tmp_path).notes[0].startswith("classes of one image, which no other can match: 6 (")


SPOILT_CUB = {
    "a path that goes up": ("images.txt", "1 ../classes.txt", r"images\.txt:1 names '\.\./class"),
    "an absolute path": ("images.txt", "1 /etc/passwd", "which leads out of '.*images'; paths are"),
    "a path of Windows": ("images.txt", r"1 a\b.jpg", "which leads out of '.*images'"),
    "an escape of terminals": (
        "images.txt",
        "1 a\x1b[2J.jpg",
        r"names 'a\\x1b\[2J.jpg', which is no",
    ),
    "an unknown image": ("images.txt", "1 none/1.jpg", "'none/1.jpg', which is not in '.*images'"),
    "a row too short": ("images.txt", "1", r"images\.txt:1 has 1 cells, not 2; mend the row"),
    "an id that is none": ("images.txt", "x 1.jpg", r"images\.txt:1 has 'x', not a number from 1"),
    "an image without class": ("images.txt", "99 a.jpg", r"images\.txt:1 has no class in '.*label"),
    "a number of many digits": ("images.txt", f"{'9' * 5000} a.jpg", "not a number from 1"),
    "a class beyond the last": ("image_class_labels.txt", "1 201", "not a number from 1 to 200"),
    "a class of no name": ("image_class_labels.txt", "12 9", r"txt:1 is of class 9, which '.*cla"),
    "a class of number 0": ("classes.txt", "0 none", r"classes\.txt:1 has '0', not a number from"),
    "no text": ("images.txt", "1 \udcff", "images.txt' can't be read as text in UTF-8"),
}


@pytest.mark.parametrize("case", SPOILT_CUB)
def test_a_spoilt_row_of_cub_is_named(case: str, tmp_path: Path) -> None:
    folder = make_cub(tmp_path)
    file, row, message = SPOILT_CUB[case]
    (folder / file).write_bytes(row.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(DataError, match=message) as raised:
        cub(tmp_path)
    assert "\n" not in str(raised.value)


def test_an_image_that_is_listed_twice_is_named(tmp_path: Path) -> None:
    folder = make_cub(tmp_path)
    rows = (folder / "images.txt").read_text().split("\n")
    lines(folder / "images.txt", rows[0], rows[1], f"3 ./{rows[0].partition(' ')[2]}")
    with pytest.raises(DataError, match=r"images\.txt:3 names the image of .*images\.txt:1 again"):
        cub(tmp_path)


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = make_cub(tmp_path)
    lines(folder / "classes.txt", *(f"{number} same" for number in (1, 2, 3, 101, 102, 103)))
    with pytest.raises(DataError, match="'cub' has two classes by the name 'same'"):
        cub(tmp_path)


# ---------------------------------------------------------------- Cars


@pytest.mark.parametrize("where", ["", "devkit/"])
def test_cars_joins_both_parts_and_halves_the_classes(where: str, tmp_path: Path) -> None:
    folder = make_cars(tmp_path, f"{where}cars_test_annos_withlabels.mat")
    dataset = cars(tmp_path)
    assert dataset.classes == tuple(f"Car {number} C/V" for number in (1, 2, 98, 99, 101))
    assert list(parts(dataset).values()) == [{TRAIN}, {TEST}, {TRAIN}, {TRAIN}, {TEST}]
    assert named(dataset)[:3] == ["Car 1 C/V", "Car 99 C/V", "Car 2 C/V"]
    assert named(dataset)[:6] == named(dataset)[6:]
    assert dataset.images[0] == folder / "cars_train" / "00001.jpg"
    assert dataset.images[6] == folder / "cars_test" / "00001.jpg"


def test_cars_is_read_from_its_older_layout(tmp_path: Path) -> None:
    folder = make_older_cars(tmp_path)
    dataset = cars(tmp_path / "nowhere", path=folder)
    assert parts(dataset) == {
        "Car 1 C/V": {TRAIN}, "Car 2 C/V": {TRAIN}, "Car 99 C/V": {TEST}, "Car 100 C/V": {TEST},
    }  # fmt: skip
    assert dataset.images[0] == folder / "car_ims" / "000001.jpg"


SPOILT_CARS: Mapping[str, tuple[Annotation, str]] = {
    "a path that goes up": (("../x.jpg", 1), r"cars_annos\.mat:2 names '\.\./x\.jpg', which leads"),
    "a path of the system": (("/x.jpg", 1), r"cars_annos\.mat:2 names '/x\.jpg', which leads out"),
}


@pytest.mark.parametrize("case", SPOILT_CARS)
def test_a_spoilt_annotation_of_cars_is_named(case: str, tmp_path: Path) -> None:
    row, message = SPOILT_CARS[case]
    make_older_cars(tmp_path)
    rows = [("car_ims/000001.jpg", 1), row]
    savecars(tmp_path / "cars_annos.mat", rows, "relative_im_path", **CAR_NAMES)
    with pytest.raises(DataError, match=message):
        cars(tmp_path)


def test_a_path_may_not_leave_the_folder_of_its_part(tmp_path: Path) -> None:
    folder = make_cars(tmp_path)
    rows = [("00001.jpg", 1), ("../../x.jpg", 1)]
    savecars(folder / "devkit" / "cars_train_annos.mat", rows, "fname")
    with pytest.raises(DataError, match=r"annos\.mat:2 names 'cars_train/\.\./\.\./x\.jpg', which"):
        cars(tmp_path)


def test_a_file_that_was_not_published_is_refused_unread(tmp_path: Path) -> None:
    """Some of them end the process in scipy's reader."""
    path = make_older_cars(tmp_path) / "cars_annos.mat"
    content = path.read_bytes()
    for damaged in (b"", content[:300], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"annos\.mat' is not the published file: its MD5 is"):
            cars(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"annos\.mat' can't be read \(Is a directory\); fetch"):
        cars(tmp_path)


# ---------------------------------------------------------------- SOP


def test_sop_is_split_by_its_files_and_grouped_by_its_folders(tmp_path: Path) -> None:
    make_sop(tmp_path)
    dataset = sop(tmp_path)
    assert parts(dataset) == {
        "bicycle/1": {TRAIN}, "toaster/2": {TRAIN}, "bicycle/11319": {TEST},
        "toaster/22634": {TEST},
    }  # fmt: skip
    assert dataset.group_names == ("bicycle", "toaster")
    assert dataset.groups is not None
    assert dataset.groups.tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert dataset.notes == ("classes of one image, which no other can match: 1 (toaster/22634).",)


SPOILT_SOP = {
    "a train class to test": ("Ebay_test.txt", "9 1 1 a_final/1.JPG", "test.txt:2 has class 1, wh"),
    "a test class to train": ("Ebay_train.txt", "9 11319 1 a_final/1.JPG", "from 1 to 11318"),
    "a class beyond the last": ("Ebay_test.txt", "9 22635 1 a_final/1.JPG", "from 1 to 22634"),
    "no folder": (
        "Ebay_train.txt",
        "9 3 1 a.JPG",
        "names 'a.JPG', which is in no folder of a kind",
    ),
    "a path that goes up": ("Ebay_train.txt", "9 3 1 ../x/1.JPG", "which leads out of"),
    "an absolute path": ("Ebay_train.txt", "9 3 1 /x/1.JPG", "which is in no folder of a kind"),
    "an unknown image": ("Ebay_train.txt", "9 3 1 a_final/1.JPG", "is not in '.*Products'; fetch"),
    "a row too short": ("Ebay_train.txt", "9 3 1", r"Ebay_train\.txt:2 has 3 cells, not 4"),
}


@pytest.mark.parametrize("case", SPOILT_SOP)
def test_a_spoilt_row_of_sop_is_named(case: str, tmp_path: Path) -> None:
    folder = make_sop(tmp_path)
    file, row, message = SPOILT_SOP[case]
    lines(folder / file, "image_id class_id super_class_id path", row)
    with pytest.raises(DataError, match=message):
        sop(tmp_path)


def test_a_product_of_two_kinds_is_refused(tmp_path: Path) -> None:
    folder = make_sop(tmp_path)
    with (folder / "Ebay_train.txt").open("a") as file:
        file.write("9 1 2 chair_final/1.JPG\n")
    with pytest.raises(
        DataError, match=r"txt:6 has class 1 in 'chair', and .* has it in 'bicycle'"
    ):
        sop(tmp_path)
