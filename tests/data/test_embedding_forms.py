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


@pytest.mark.fault(124)
@pytest.mark.parametrize("scale", [1.0, 1e-13, 1e-20, 1e-37, 1e18, 1e37])
def test_the_cosine_does_not_depend_on_the_length_of_rows(scale: float) -> None:
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(10), 10)
    rows = rng.normal(size=(10, 8))[names] + 0.3 * rng.normal(size=(100, 8))
    rows *= 10 ** rng.uniform(-1, 1, size=(100, 1))

    def recall(values: Any) -> float:
        found = evaluate(values.astype(np.float32), names, protocols=["retrieval"], cosine=True)
        assert not any("all zeros" in note for note in found.notes)
        return found.results["trained"]["recall@1"].value

    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    order = (unit @ unit.T - 2 * np.eye(100)).argmax(1)
    assert recall(rows * scale) == pytest.approx((names[order] == names).mean())


NAN = float("nan")


@pytest.mark.fault(125)
@pytest.mark.parametrize(
    "labels",
    [
        ["a", "a", "a", "b", "b", NAN],
        ["a", "a", "a", "b", "b", "nan"],
        ["a", "a", "a", "b", "b", " NaN "],
        ["a", "a", "a", "b", "b", None],
        ["1", 1, "1", "2", "2", "2"],
        ["1", 1.0, "1", "2", "2", "2"],
        ["a", "a\0", "a", "b", "b", "b"],
    ],
)
def test_a_label_that_is_missing_or_of_another_kind_is_no_class(labels: Any) -> None:
    for values in (labels, np.array(labels, dtype=object)):
        with pytest.raises(DataError, match="label"):
            evaluate(ROWS, values, protocols=["retrieval"])
    with pytest.raises(DataError, match="the groups"):
        evaluate(ROWS, Labels(NAMES, groups=labels), protocols=["retrieval"])


@pytest.mark.fault(125)
def test_a_missing_label_in_a_text_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "y.txt").write_text("\n".join(["a", "a", "NaN", "b"]))
    with pytest.raises(DataError, match=r"y\.txt:3 has no label"):
        read_labels(tmp_path / "y.txt")
    np.save(tmp_path / "y.npy", np.array(["a", "nan"]))
    with pytest.raises(DataError, match=r"y\.npy: row 1 has no label"):
        read_labels(tmp_path / "y.npy")


@pytest.mark.fault(126)
def test_what_was_done_to_labels_and_what_looks_alike_is_told(tmp_path: Path) -> None:
    found = evaluate(ROWS, ["Cat", "cat", "Cat ", "cat", "Dog", "Dog"], protocols=["retrieval"])
    assert found.classes == ("Cat", "Dog", "cat")
    assert any("differ only in case" in note for note in found.notes)
    assert any("blanks around them" in note for note in found.notes)
    (tmp_path / "labels.txt").write_text(" Cat\nCat\nCat\nDog\nDog \nDog\n")
    lines = evaluate(ROWS, read_labels(tmp_path / "labels.txt"), protocols=["retrieval"])
    assert any("blanks around them, which were taken off: 2" in note for note in lines.notes)
    slashed = evaluate(ROWS, ["a/b", "a/b/", "a/b", "c", "c", "c"], protocols=["retrieval"])
    assert slashed.classes == ("a/b", "c")
    assert any("a / too many" in note for note in slashed.notes)


@pytest.mark.fault(111)
def test_tensors_of_other_kinds_are_taken_or_refused_in_a_sentence() -> None:
    expected = evaluate(ROWS, [0, 0, 0, 1, 1, 1], protocols=["retrieval"]).results
    rows = [torch.tensor(row, requires_grad=True) for row in ROWS]
    for labels in (
        torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.bfloat16),
        torch.tensor([0.0, 0, 0, 1, 1, 1], requires_grad=True),
        [torch.tensor(0)] * 3 + [torch.tensor(1)] * 3,
    ):
        assert evaluate(rows, labels, protocols=["retrieval"]).results == expected
    with pytest.raises(DataError, match="sparse tensor"):
        evaluate(torch.tensor(ROWS).to_sparse(), NAMES, protocols=["retrieval"])
    flags = np.ones((6, 2), dtype=bool)
    with pytest.raises(DataError, match="flags of queries"):
        evaluate(ROWS, Labels(NAMES, queries=flags, gallery=flags), protocols=["retrieval"])


@pytest.mark.fault(127)
def test_episodes_within_a_group_need_classes_of_one_group_each() -> None:
    names = np.repeat(np.arange(4), 10)
    rows = np.random.default_rng(0).normal(size=(40, 3))
    across = Labels(names, groups=["A", "B"] * 20)
    with pytest.raises(DataError, match="4 of 4 classes have images of several groups"):
        evaluate(rows, across, protocols=["oneshot:way=2,within=group"])
    inside = Labels(names, groups=["A"] * 20 + ["B"] * 20)
    assert evaluate(rows, inside, protocols=["oneshot:way=2,within=group"]).results


@pytest.mark.fault(146)
def test_a_label_may_have_what_python_calls_the_end_of_a_line(tmp_path: Path) -> None:
    names = ["a\x0cb", "c\u2028d", "e\x85f", "g"]
    (tmp_path / "labels.txt").write_bytes("\r\n".join(names).encode())
    assert read_labels(tmp_path / "labels.txt").names.tolist() == names
