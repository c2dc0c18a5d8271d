"""Embeddings and labels of any program: what is read alike from memory and from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metricforge import Labels, evaluate
from metricforge.data.embedding_files import embedding_rows, read_labels
from metricforge.errors import DataError

ROWS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
NAMES = ["cat", "cat", "cat", "dog", "dog", "dog"]


@pytest.mark.fault(116)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_mark_at_the_begin_of_a_text_is_no_part_of_a_label(
    tmp_path: Path, encoding: str, newline: str
) -> None:
    (tmp_path / "labels.txt").write_bytes((newline.join(NAMES) + newline).encode(encoding))
    assert read_labels(tmp_path / "labels.txt").names.tolist() == NAMES


@pytest.mark.fault(116)
@pytest.mark.parametrize("name", ["labels.csv", "labels.CSV", "labels.tsv"])
def test_a_table_has_a_header_whatever_the_case_of_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n".join(["label", *NAMES]) + "\n")
    assert read_labels(tmp_path / name).names.tolist() == NAMES


@pytest.mark.fault(116)
@pytest.mark.parametrize(
    "labels",
    [
        np.array(NAMES),
        np.array([name.encode() for name in NAMES]),
        np.array(NAMES, dtype=object),
        tuple(NAMES),
    ],
)
def test_labels_of_one_meaning_give_one_result(labels: Any) -> None:
    expected = evaluate(ROWS, NAMES, protocols=["retrieval"])
    found = evaluate(ROWS, labels, protocols=["retrieval"])
    assert found.classes == expected.classes == ("cat", "dog")
    assert found.results == expected.results


@pytest.mark.fault(116)
@pytest.mark.parametrize("labels", [[0.5, 0.5, 1, 1, 1, 1], [None, *NAMES[1:]], np.eye(6)])
def test_labels_that_are_none_are_refused(labels: Any) -> None:
    with pytest.raises(DataError, match="labels"):
        evaluate(ROWS, labels, protocols=["retrieval"])


@pytest.mark.fault(116)
def test_embeddings_of_one_meaning_are_one() -> None:
    tensor = torch.tensor(ROWS, requires_grad=True)
    for rows in (ROWS, ROWS.tolist(), tensor, tensor.double(), ROWS.astype(">f4")):
        np.testing.assert_array_equal(embedding_rows(rows), ROWS)
    np.testing.assert_allclose(embedding_rows(tensor.bfloat16()), ROWS, rtol=0.01)


@pytest.mark.fault(116)
@pytest.mark.parametrize(
    "rows",
    [[[1, 2], [3]], [["a", "b"]], np.array([[1, None]]), np.ones(3), np.ones((2, 0)),
     np.ones((2, 2), complex), np.ones((2, 2), bool)],
)  # fmt: skip
def test_what_is_no_embeddings_is_refused(rows: Any) -> None:
    with pytest.raises(DataError, match=r"embeddings are( real numbers)? \[N, D\]"):
        embedding_rows(rows)


@pytest.mark.fault(116)
def test_flags_and_columns_of_other_types_are_read(tmp_path: Path) -> None:
    flags = np.array([True, False] * 3)
    expected = evaluate(ROWS, Labels(NAMES, queries=flags, gallery=~flags), protocols=["retrieval"])
    for queries in (flags.tolist(), flags.astype(int), flags.astype(object).tolist()):
        gallery = [not flag for flag in queries]
        labels = Labels(np.array(NAMES)[:, None], queries=queries, gallery=gallery)
        assert evaluate(ROWS, labels, protocols=["retrieval"]).results == expected.results
    with pytest.raises(DataError, match="flags of queries and gallery are true or false"):
        evaluate(ROWS, Labels(NAMES, queries=["yes"] * 6, gallery=["no"] * 6))


@pytest.mark.fault(116)
def test_a_mask_is_not_ignored() -> None:
    with pytest.raises(DataError, match="some embeddings are masked"):
        embedding_rows(np.ma.masked_array(ROWS, ROWS > 0))
    with pytest.raises(DataError, match="some labels are masked"):
        evaluate(ROWS, np.ma.masked_array([0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0]))
