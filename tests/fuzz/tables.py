"""Targets: embeddings and labels of other programs, as .npy, text and CSV."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metricforge_standard.datasets.vectors import vectors
from numpy.typing import NDArray

from metricforge.contracts import Dataset
from metricforge.data.embedding_files import bare_dataset, read_embeddings, read_labels
from metricforge.errors import ArtefactError, DataError
from metricforge.scoring.pair_files import read_pairs
from tests.fuzz.documents import in_file
from tests.fuzz.target import Case, Target

_ROWS = 6


def as_npy(array: NDArray[Any]) -> bytes:
    """The content of an .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _labelled(path: Path) -> object:
    labels = read_labels(path)
    return bare_dataset(np.zeros((len(labels.names), 2), np.float32), labels)


def _embeddings(folder: Path) -> Case:
    rows = np.arange(2 * _ROWS).reshape(_ROWS, 2)
    seeds = [as_npy(rows.astype(kind)) for kind in ("<f4", ">f8", "<i2")]
    seeds.append(as_npy(np.asfortranarray(rows.astype("<f2"))))
    return Case(seeds, in_file(folder / "embeddings.npy", read_embeddings))


def _label_array(folder: Path) -> Case:
    numbers = np.arange(_ROWS)
    arrays = [numbers, numbers.astype(str), numbers.astype("S"), numbers.reshape(-1, 1) / 1]
    return Case([as_npy(each) for each in arrays], in_file(folder / "labels.npy", _labelled))


def _label_lines(folder: Path) -> Case:
    return Case(["a\nb\n10\né\n".encode()], in_file(folder / "labels.txt", _labelled))


def _label_table(folder: Path) -> Case:
    table = b'label,group,is_query,is_gallery\na,x,1,0\n"b, c",x,0,1\n10,y,true,false\n'
    seeds = [table, table.replace(b",", b";"), b"sep=;\nlabel;group\na;x\nb;y\n"]
    return Case(seeds, in_file(folder / "labels.csv", _labelled))


def _pairs(folder: Path) -> Case:
    files = [Path(f"{name}/{number}.png") for name in "ab" for number in range(3)]
    labels = torch.arange(6) // 3
    dataset = Dataset("pairs", files, labels, ("a", "b"), (1, 4, 4))
    seeds = [
        b"first,second,same\na/0.png,a/1.png,1\n0,b/2.png,0\n",
        b'second;first\n"b/0.png";2\n4;5\n',
    ]
    return Case(seeds, in_file(folder / "pairs.csv", lambda path: read_pairs(path, dataset)))


def _parquet(folder: Path) -> Case:
    pyarrow = pytest.importorskip("pyarrow", reason="requires metricforge[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet", reason="requires metricforge[parquet]")
    place, seeds = folder / "vectors.parquet", []
    rows = [[index, index / 2] for index in range(_ROWS)]
    names = list("aabbcc")
    flags = [index % 2 == 0 for index in range(_ROWS)]
    for columns in (
        {"features": rows, "label": names},
        {"vector": rows, "label": list(range(_ROWS)), "group": names, "split": ["train"] * _ROWS},
        {"features": rows, "label": names, "is_query": flags, "is_gallery": flags, "more": names},
    ):
        parquet.write_table(pyarrow.table(columns), place)
        seeds.append(place.read_bytes())
    return Case(seeds, in_file(place, lambda path: vectors(path=path)))


_REFUSALS = (ArtefactError, DataError)

TARGETS = {
    "embeddings": Target(_embeddings, _REFUSALS, 900),
    "labels-npy": Target(_label_array, _REFUSALS, 900),
    "labels-text": Target(_label_lines, _REFUSALS, 900),
    "labels-csv": Target(_label_table, _REFUSALS, 900),
    "pairs-csv": Target(_pairs, (DataError,), 900),
    "parquet": Target(_parquet, (DataError,), 900),
}
