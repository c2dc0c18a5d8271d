"""The dataset `npz`: arrays as people save them, and what is wrong with some."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile

import numpy as np
import pytest
import torch
from metricforge_standard.datasets import _npz_archive as archive_module
from metricforge_standard.datasets.npz import npz

from metricforge.contracts import TEST, TRAIN, VALIDATION, Dataset
from metricforge.data.split import split_dataset
from metricforge.errors import DataError, UsageError
from metricforge.recipes.components import make_dataset
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing import check_dataset

N = 8
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 5, 4), dtype=np.uint8)
LABELS = np.arange(N) // 2


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "photos.npz"
    np.savez_compressed(path, **arrays)
    return path


def read(folder: Path, **arrays: Any) -> Dataset:
    """The dataset of images and labels, of which some may be other ones, and further arrays."""
    return npz(path=save(folder, **{"images": IMAGES, "labels": LABELS, **arrays}))


def pixels(dataset: Dataset) -> torch.Tensor:
    assert isinstance(dataset.images, torch.Tensor)
    return dataset.images


# ---------------------------------------------------------------- what is read


def test_images_and_labels_are_those_of_the_arrays(tmp_path: Path) -> None:
    dataset = read(tmp_path)
    assert dataset.name == "photos"
    assert dataset.shape == (1, 5, 4)
    assert (pixels(dataset)[:, 0].numpy() == IMAGES).all()
    assert dataset.classes == ("0", "1", "2", "3")
    assert dataset.labels.tolist() == LABELS.tolist()
    assert (dataset.groups, dataset.group_names, dataset.official) == (None, (), None)
    assert (dataset.queries, dataset.gallery, dataset.notes) == (None, None, ())


def test_it_is_named_in_a_spec_and_passes_the_kit(tmp_path: Path) -> None:
    path = save(tmp_path, x=IMAGES, y=LABELS)
    dataset = make_dataset(Registry.installed(), Spec.parse(f"npz:path={path},size=9"), "nowhere")
    assert dataset.shape == (1, 9, 9)
    assert check_dataset("npz", path=path).passed


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((N, 5, 4), (1, 5, 4)),
        ((N, 5, 4, 1), (1, 5, 4)),
        ((N, 5, 4, 3), (3, 5, 4)),
        ((N, 1, 5, 4), (1, 5, 4)),
        ((N, 3, 5, 4), (3, 5, 4)),
        # Both fit: the channels are last.
        ((N, 3, 5, 1), (1, 3, 5)),
        ((N, 1, 5, 3), (3, 1, 5)),
        ((N, 3, 3, 3), (3, 3, 3)),
    ],
)
def test_channels_are_last_where_they_can_be(
    shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    dataset = read(tmp_path, images=images)
    assert dataset.shape == expected
    assert pixels(dataset).shape == (N, *expected)
    last = len(shape) == 4 and shape[3] in (1, 3)
    wanted = images.transpose(0, 3, 1, 2) if last else images.reshape(N, *expected)
    assert (pixels(dataset).numpy() == wanted).all()


def test_other_numbers_of_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"are \[8, 2, 5, 4\]; of channels there may be 1 or 3"):
        read(tmp_path, images=np.zeros((N, 2, 5, 4), np.uint8))


def test_size_resizes_each_channel(tmp_path: Path) -> None:
    images = np.zeros((N, 5, 4, 3), np.uint8)
    images[..., 1] = 90
    images[1:, ..., 2] = 7
    path = save(tmp_path, images=images, labels=LABELS)
    dataset = npz(path=path, size=3)
    assert dataset.shape == (3, 3, 3)
    assert pixels(dataset)[5].amax((1, 2)).tolist() == [0, 90, 7]
    assert pixels(dataset)[5].amin((1, 2)).tolist() == [0, 90, 7]
    with pytest.raises(UsageError, match="'size' of dataset 'npz' is 1 to 4,096 pixels, not 0"):
        npz(path=path, size=0)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([10, 10, -7, -7, 9, 9, 300, 300]), ("-7", "9", "10", "300")),
        (np.array([2**64 - 1] * 4 + [1] * 4, dtype=np.uint64), ("1", str(2**64 - 1))),
        (np.array([1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 4.0, 4.0]), ("1", "4")),
        (np.array(["b"] * 4 + ["ä, 1"] * 4), ("b", "ä, 1")),
        (np.array(["b"] * 4 + ["10"] * 4).astype("S"), ("10", "b")),
        (np.array([3] * 4 + [1] * 4, dtype=">i2"), ("1", "3")),
    ],
)
def test_label_gaps_and_strings_are_mapped(
    labels: np.ndarray, classes: tuple[str, ...], tmp_path: Path
) -> None:
    dataset = read(tmp_path, labels=labels)
    assert dataset.classes == classes
    text = [each.decode() if isinstance(each, bytes) else each for each in labels.tolist()]
    named = [dataset.classes[label] for label in dataset.labels.tolist()]
    assert named == [str(int(each)) if isinstance(each, float) else str(each) for each in text]


def test_groups_split_and_flags_are_read(tmp_path: Path) -> None:
    query = np.arange(N) % 2 == 0
    dataset = read(
        tmp_path,
        groups=np.array(["sea", "land"] * 4),
        split=np.array(["train"] * 4 + ["Val"] * 2 + ["test"] * 2),
        is_query=query,
        is_gallery=~query,
    )
    assert dataset.group_names == ("land", "sea")
    assert dataset.groups is not None
    assert dataset.groups.tolist() == [1, 0] * 4
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 4 + [VALIDATION] * 2 + [TEST] * 2
    assert dataset.queries is not None
    assert dataset.gallery is not None
    assert dataset.queries.tolist() == query.tolist()
    assert dataset.gallery.tolist() == (~query).tolist()
    assert split_dataset(dataset).rule.name == "official"
    assert read(tmp_path, groups=np.zeros(N, int)).groups is None


def test_without_a_test_part_validation_tests(tmp_path: Path) -> None:
    dataset = read(tmp_path, split=np.array(["train"] * 4 + ["val"] * 4))
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 4 + [TEST] * 4
    assert any("those of validation are the test part" in note for note in dataset.notes)


def test_the_arrays_of_keras_are_joined_and_split_as_they_are(tmp_path: Path) -> None:
    path = save(
        tmp_path, x_train=IMAGES[:5], y_train=LABELS[:5], x_test=IMAGES[5:], y_test=LABELS[5:]
    )
    dataset = npz(path=path)
    assert (pixels(dataset)[:, 0].numpy() == IMAGES).all()
    assert dataset.labels.tolist() == LABELS.tolist()
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 5 + [TEST] * 3
    # Class 2 has an image in either part.
    assert dataset.notes == (
        f"1 (2) of the classes of '{path}' are in more than one part of its split, which "
        "therefore is not the default: --split official takes it all the same, as a closed set.",
    )
    assert split_dataset(dataset, Spec.parse("official")).closed_set


def test_single_images_and_other_arrays_are_noted(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    notes = read(tmp_path, labels=labels, names=np.array(["a"]), taken=np.zeros(3)).notes
    assert notes == (
        "classes of one image, which no other can match: 1 (2).",
        f"arrays of '{tmp_path / 'photos.npz'}' that are not used: 2 (names, taken).",
    )


# ---------------------------------------------------------------- what is refused


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a NaN label": (
        {"labels": np.array([0, 0, 0, np.nan, 1, 1, 1, 1])},
        r"photos\.npz:labels\[3\] is 'nan'",
    ),
    "an infinite label": ({"labels": np.array([0.0] * 7 + [np.inf])}, r"labels\[7\] is 'inf'"),
    "half a label": ({"labels": np.array([0.0, 0.5] * 4)}, r"labels\[1\] is '0\.5'"),
    "an empty label": ({"labels": np.array(["a", "b", " "] + ["c"] * 5)}, r"labels\[2\] is ' '"),
    "labels that are no text": (
        {"labels": np.array([b"a", b"\xff"] * 4)},
        r"photos\.npz:labels is no text in UTF-8",
    ),
    "labels with half a character": (
        {"labels": np.array(["a", "b\ud800"] * 4)},
        r"photos\.npz:labels\[1\] is no text: it has 0xd800, which is no character",
    ),
    "labels beyond Unicode": (
        {"labels": np.array([97, 0x7FFFFFFF] * 4, np.uint32).view("U1")},
        r"labels\[1\] is no text: it has 0x7fffffff",
    ),
    "groups beyond Unicode, of another machine": (
        {"groups": np.array([97, 0x110000] * 4, ">u4").view(">U1")},
        r"groups\[1\] is no text: it has 0x110000",
    ),
    "complex labels": ({"labels": LABELS * 1j}, "labels is complex128; save whole numbers"),
    "labels one hot": ({"labels": np.eye(N)}, r"'labels' of .* is \[8, 8\], but there are 8 im"),
    "too few labels": ({"labels": LABELS[1:]}, r"'labels' of .* is \[7\], but there are 8 images"),
    "one class": ({"labels": LABELS * 0}, "has only one class, '0'; it needs two"),
    "float images": (
        {"images": IMAGES / 255},
        r"'images' of .* is float64 \[8, 5, 4\]; save images as uint8.*vectors as",
    ),
    "flat images": ({"images": IMAGES[0]}, r"'images' of .* is \[5, 4\]; images are \[N, H, W\]"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"'images' of .* is \[0, 5, 4\]"),
    "an unknown part": (
        {"split": np.array(["train"] * 7 + ["tset"])},
        r"photos\.npz:split\[7\] is 'tset'; choices: train, validation, val, test",
    ),
    "parts by number": ({"split": LABELS}, "split is int64, not strings; write train"),
    "one flag": ({"is_query": LABELS > 1}, "has the array 'is_query' alone; give both"),
    "flags that are numbers": (
        {"is_query": LABELS, "is_gallery": LABELS},
        "is_query is int64; save it as bool",
    ),
    "queries of nothing": (
        {"is_query": LABELS > 1, "is_gallery": LABELS > 9},
        "has queries to test and no gallery",
    ),
    "a group that lacks": (
        {"groups": np.array(["a", "nan"] * 4)},
        r"groups\[1\] is 'nan', which names nothing",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_array_that_can_not_be_used_is_named(case: str, tmp_path: Path) -> None:
    arrays, message = WRONG[case]
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path, **arrays)
    assert "\n" not in str(raised.value)


def test_arrays_that_lack_are_told_with_those_there_are(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=IMAGES, labels=LABELS)
    with pytest.raises(DataError, match=r"has the arrays 'x_train', 'labels', but needs one of"):
        npz(path=path)
    np.savez(path)
    with pytest.raises(DataError, match="has the arrays none, but needs one of these sets: images"):
        npz(path=path)
    with pytest.raises(DataError, match="does not exist"):
        npz(path=tmp_path / "gone.npz")
    with pytest.raises(DataError, match="is no file"):
        npz(path=tmp_path)


def test_parts_of_keras_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    parts = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
    path = save(tmp_path, **{**parts, "x_test": IMAGES[:, 1:]})
    with pytest.raises(DataError, match=r"'x_train' .* inputs of \(5, 4\) and 'x_test' of \(4, 4"):
        npz(path=path)
    path = save(tmp_path, **{**parts, "y_test": LABELS.astype(str)})
    with pytest.raises(DataError, match="one has strings and one numbers; label both alike"):
        npz(path=path)
    bad = np.array([0x7FFFFFFF] * N, np.uint32).view("U1")
    path = save(tmp_path, **{**parts, "y_train": LABELS.astype("U9"), "y_test": bad})
    with pytest.raises(DataError, match=r"photos\.npz:y_test\[0\] is no text"):
        npz(path=path)


def test_bytes_and_strings_of_keras_are_joined(tmp_path: Path) -> None:
    written = np.array(["é", "b"] * 4)
    path = save(tmp_path, x_train=IMAGES, y_train=np.char.encode(written, "utf-8"),
                x_test=IMAGES, y_test=written)  # fmt: skip
    assert npz(path=path).classes == ("b", "é")


# ---------------------------------------------------------------- what is hostile or damaged


class Canary:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "unpickled"
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists()
    canary.unlink()
    objects = np.array([Canary(canary)] * N, dtype=object)
    with pytest.raises(DataError, match=r"'labels' of .* holds Python objects, which are not"):
        read(tmp_path, labels=objects)
    # What is not used may be whatever it is.
    assert read(tmp_path, info=objects).notes
    assert not canary.exists()


def header(shape: str, descr: str = "|u1", version: int = 1) -> bytes:
    """The header of an array, as numpy writes it, of what shape it may be."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H", len(text)) + text


def archive(folder: Path, images: bytes, method: int = ZIP_DEFLATED) -> Path:
    """A file whose images are these bytes, and whose labels are sound."""
    labels, path = io.BytesIO(), folder / "photos.npz"
    np.save(labels, LABELS)
    with ZipFile(path, "w", method) as opened:
        opened.writestr("images.npy", images)
        opened.writestr("labels.npy", labels.getvalue())
    return path


BODY = IMAGES.tobytes()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (header("(9, 5, 4)") + BODY, "requires 180 bytes, and it holds 160"),
        (header("(7, 5, 4)") + BODY, "requires 140 bytes, and it holds 160"),
        (header("(8, -5, -4)") + BODY, "requires 160 bytes, and it holds 160"),
        (header(f"({2**40}, {2**40}, 4)") + BODY, "requires 4,835,703,278,458,516,698,824,704 by"),
        (header("(8, 5, 4)", version=3) + BODY, r"its format is 3\.0, not 1\.0 or 2\.0"),
        (header("(8, 5, 4)", "|q9") + BODY, "descr is not a valid dtype"),
        (header("__import__('os')") + BODY, "malformed node"),
        (header("{[]: 1}") + BODY, "unhashable type"),
        (b"no array", "magic string is not correct"),
        (b"", "can't be read"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_unread(
    images: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"array 'images' of '.*photos.npz' .*{message}") as raised:
        npz(path=archive(tmp_path, images))
    assert "\n" not in str(raised.value)


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, images=np.zeros((N, 400, 300), np.uint8), labels=LABELS)
    assert path.stat().st_size < 5000
    assert npz(path=path).shape == (1, 400, 300)
    monkeypatch.setattr(archive_module, "MAX_BYTES", 900_000)
    monkeypatch.setattr(archive_module.np, "load", None)  # it is not come to
    with pytest.raises(DataError, match=r"960,064 bytes, of which 'images' the most.* 900,000 are"):
        npz(path=path)


def test_a_file_that_is_packed_far_too_well_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, images=np.zeros((N, 2_000, 1_500), np.uint8), labels=LABELS)
    monkeypatch.setattr(archive_module, "_header", None)  # it is not come to
    with pytest.raises(DataError, match=r"all that it holds unpacks to .* decompression bomb"):
        npz(path=path)


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
def test_a_directory_that_lies_about_a_size_is_not_believed(method: int, tmp_path: Path) -> None:
    path = archive(tmp_path, header("(8, 5, 4)") + bytes(64 << 20), method)
    content = bytearray(path.read_bytes())
    size = len(header("(8, 5, 4)")) + 160
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, size)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"its directory says|Bad CRC|not by deflate"):
            npz(path=path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_damaged_or_no_archive_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, images=IMAGES, labels=LABELS)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    with pytest.raises(DataError, match=r"photos\.npz' can't be read as an \.npz file"):
        npz(path=path)
    np.save(path.with_suffix(".npy"), IMAGES)
    with pytest.raises(DataError, match=r"photos\.npy' can't be read as an \.npz file"):
        npz(path=path.with_suffix(".npy"))
    place = content.index(b"images.npy") + 140
    flipped = bytes(value ^ 0xFF for value in content[place : place + 4])
    path.write_bytes(content[:place] + flipped + content[place + 4 :])
    with pytest.raises(DataError, match=r"array 'images' of '.*photos\.npz' can't be read"):
        npz(path=path)


def test_no_flipped_byte_does_more_than_be_refused(tmp_path: Path) -> None:
    path = save(tmp_path, images=IMAGES, labels=LABELS)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            npz(path=path)
        except DataError as error:
            refused.append(str(error))
    assert 200 < len(refused) < 300
    assert not any("\n" in message for message in refused)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, header("(8, 5, 4)") + BODY)
    with ZipFile(path, "a") as opened:
        opened.writestr("images.npy", header("(8, 5, 4)") + BODY)
    with pytest.raises(DataError, match="has an array twice"):
        npz(path=path)
