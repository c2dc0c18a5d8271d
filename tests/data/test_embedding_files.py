"""Embeddings and labels of other programs, as they might be damaged, or written otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metricforge.data.embedding_files import bare_dataset, read_embeddings, read_labels
from metricforge.errors import ArtefactError, DataError


def saved(folder: Path, array: object) -> Path:
    np.save(folder / "a.npy", np.asarray(array))
    return folder / "a.npy"


def test_labels_of_bytes_are_text_in_utf_8(tmp_path: Path) -> None:
    labels = read_labels(saved(tmp_path, ["é".encode(), b"a", b"a"]))
    dataset = bare_dataset(np.zeros((3, 2), np.float32), labels)
    assert dataset.classes == ("a", "é")
    with pytest.raises(DataError, match=r"a\.npy is no text in UTF-8"):
        read_labels(saved(tmp_path, [b"\xff", b"a"]))


def test_what_is_no_character_is_named_by_its_row(tmp_path: Path) -> None:
    path = saved(tmp_path, ["a", "b"])
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x7f")
    with pytest.raises(DataError, match=r"a\.npy\[1\] is no text: it has 0x7f000062"):
        read_labels(path)


@pytest.mark.parametrize("value", [np.inf, 2.0**53, -1e300, np.nan])
def test_floats_that_are_no_whole_numbers_are_no_labels(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match="labels are whole numbers or strings"):
        read_labels(saved(tmp_path, [0.0, value]))


def test_whole_floats_of_any_size_are_labels(tmp_path: Path) -> None:
    for kind in ("f2", "f4", "f8"):
        labels = read_labels(saved(tmp_path, np.array([0, 7], kind)))
        assert labels.names.tolist() == [0, 7]


def test_embeddings_beyond_float32_are_infinite(tmp_path: Path) -> None:
    assert np.isinf(read_embeddings(saved(tmp_path, [[1e300, 1.0]]))[0, 0])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b": False,", b"( False,"),  # a TokenError of Python's
        lambda content: content.replace(b"(2, 1)", b"(-2,1)"),
        lambda content: b"PK\x03\x04" + content,
        lambda content: content[:-1],
        lambda content: b"",
    ],
)
def test_a_damaged_array_is_refused(tmp_path: Path, change: object) -> None:
    path = saved(tmp_path, [[1.0], [2.0]])
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ArtefactError, match=r"a\.npy is no \.npy file of numbers or strings"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x" * 140_000 + ",label\n,a\n", r"has no header of a CSV \(field larger than"),
        ('sep="\nlabel\na\n', "has no column 'label'"),
    ],
)
def test_a_table_without_a_header_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_labels(tmp_path / "labels.csv")
