"""Files of embeddings that `encode` writes, as their own readers have them."""

from __future__ import annotations

import json
import os
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard.datasets import _npz_archive
from metricforge_standard.datasets.npz import npz
from metricforge_standard.datasets.vectors import vectors

from metricforge.errors import DataError, ResourceError, UsageError
from metricforge.image_index import model_hash
from metricforge.loading import load
from metricforge.stores import projector
from metricforge.stores.embedding_file import EmbeddingFile
from metricforge.stores.table import EmbeddingTable
from tests.cli.process import first_on_path, metricforge, wrapped

pa = pytest.importorskip("pyarrow", reason="requires metricforge[parquet]")
parquet = pytest.importorskip("pyarrow.parquet", reason="requires metricforge[parquet]")

ROWS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
NAMES = ["a.png", "b\tc\nd.png", "back\\slash.png", "caf\udce9.png"]
LABELS = ["cat", "cat", "dog", "d\nog"]
ESCAPED = "caf\\udce9.png"


def table(labels: list[str] | None = None) -> EmbeddingTable:
    return EmbeddingTable(NAMES, ROWS, "0" * 64, LABELS if labels is None else labels)


def write(path: Path, content: EmbeddingTable) -> Path:
    EmbeddingFile.of(path).write(content)
    return path


def test_encode_writes_a_parquet_file_that_dataset_reads(
    run: Path, held: Path, tmp_path: Path
) -> None:
    out = tmp_path / "e.parquet"
    done = metricforge("encode", run, "--dataset", held, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"out": str(out), "shape": [40, 16], "skipped": {}}
    read = parquet.read_table(out)
    assert read.schema.names == ["id", "path", "label", "vector"]
    vector = pa.list_(pa.float32(), 16)
    assert read.schema.types == [pa.int64(), pa.string(), pa.string(), vector]
    files = sorted(held.glob("*/*.png"))
    assert read["id"].to_pylist() == list(range(40))
    assert read["path"].to_pylist() == [str(file) for file in files]
    assert read["label"].to_pylist() == [file.parent.name for file in files]
    model = load(run, device="cpu")
    np.testing.assert_allclose(np.stack(read["vector"].to_numpy()), model.encode(files), atol=1e-6)
    assert json.loads(read.schema.metadata[b"metricforge"]) == {
        "kind": "parquet", "model": model_hash(run, model.card), "dim": 16, "images": 40,
        "distance": "euclidean", "format": 1,
    }  # fmt: skip
    # As a dataset of vectors it is measured, split and trained on.
    shown = metricforge("data", "split", out, "--json")
    assert shown.returncode == 0, shown.stderr
    counts = [part["images"] for part in json.loads(shown.stdout)["parts"].values()]
    assert sum(counts) == 40
    dataset = vectors(path=out)
    np.testing.assert_array_equal(np.asarray(dataset.images), np.stack(read["vector"].to_numpy()))
    assert [dataset.classes[label] for label in dataset.labels] == read["label"].to_pylist()


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".tsv"])
def test_files_without_labels_are_written_and_an_earlier_one_is_replaced(
    run: Path, held: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"e{suffix}"
    for images in ("12", "13"):
        done = metricforge("encode", run, held / images, "--out", out)
        assert done.returncode == 0, done.stderr
        beside = f"; metadata in {tmp_path / 'e.metadata.tsv'}" if suffix == ".tsv" else ""
        assert done.stdout == f"{out}: 5 embeddings of 16 dimensions{beside}\n"
    expected = [str(file) for file in sorted((held / "13").iterdir())]
    if suffix == ".npz":
        with np.load(out) as arrays:
            assert sorted(arrays) == ["features", "names"]
            assert arrays["names"].tolist() == expected
        with pytest.raises(DataError, match="needs one of these sets"):
            npz(path=out)
    elif suffix == ".parquet":
        assert parquet.read_table(out)["path"].to_pylist() == expected
        assert parquet.read_table(out)["label"].to_pylist() == [None] * 5
        with pytest.raises(DataError, match=r"label\[0\] is missing"):
            vectors(path=out)
    else:
        lines = (tmp_path / "e.metadata.tsv").read_text().splitlines()
        assert lines == ["path\tlabel", *(f"{name}\t" for name in expected)]
        model = load(run, device="cpu")
        rows = model.encode(expected)
        np.testing.assert_allclose(np.loadtxt(out, np.float32, delimiter="\t"), rows, atol=1e-6)
    beside = {"e.metadata.tsv"} if suffix == ".tsv" else set()
    assert {path.name for path in tmp_path.iterdir()} == {out.name, *beside}


def test_an_npz_file_is_read_as_a_dataset_and_mapped_to_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write(tmp_path / "e.npz", table())
    with np.load(out) as arrays:
        assert arrays["names"].tolist() == [*NAMES[:3], ESCAPED]
        assert arrays["labels"].tolist() == LABELS
    dataset = npz(path=out)
    np.testing.assert_array_equal(np.asarray(dataset.images), ROWS)
    assert [dataset.classes[label] for label in dataset.labels] == LABELS
    monkeypatch.setattr(_npz_archive, "MEMORY_LIMIT", 0)
    mapped = _npz_archive.Archive.open(out).mapped("features")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, ROWS)


def test_names_are_escaped_where_a_format_can_not_have_them(tmp_path: Path) -> None:
    read = parquet.read_table(write(tmp_path / "e.parquet", table()))
    assert read["path"].to_pylist() == [*NAMES[:3], ESCAPED]
    assert read["label"].to_pylist() == LABELS
    write(tmp_path / "e.tsv", table())
    lines = (tmp_path / "e.metadata.tsv").read_bytes().decode().split("\n")
    assert lines == [
        "path\tlabel", "a.png\tcat", "b\\tc\\nd.png\tcat", "back\\\\slash.png\tdog",
        "caf\\\\udce9.png\td\\nog", "",
    ]  # fmt: skip
    read = np.loadtxt(tmp_path / "e.tsv", np.float32, delimiter="\t")
    np.testing.assert_array_equal(read, ROWS)
    # As it was: .npy has all of them.
    write(tmp_path / "e.npy", table())
    assert json.loads((tmp_path / "e.json").read_text()) == NAMES


@given(st.text())
def test_a_cell_is_one_and_has_all_of_its_text(text: str) -> None:
    cell = projector.cell(text)
    assert "\t" not in cell
    assert len(f"{cell}.".splitlines()) == 1
    spelled = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}

    def read(match: re.Match[str]) -> str:
        return spelled.get(match[1]) or chr(int(match[1][1:], 16))

    assert re.sub(r"\\([tnr\\]|x..|u....)", read, cell) == text


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_name_comes_back_from_a_parquet_file(names: list[str]) -> None:
    names = [*names, "\ud800", "\udcff"]
    rows = np.ones((len(names), 2), np.float32)
    file = BytesIO()
    from metricforge.stores.arrow import write_parquet

    write_parquet(EmbeddingTable(names, rows, "", names), file)
    read = parquet.read_table(file)
    expected = [*names[:-2], "\\ud800", "\\udcff"]
    assert read["path"].to_pylist() == expected
    assert read["label"].to_pylist() == [name or None for name in expected]


def test_a_note_tells_of_names_that_are_escaped(run: Path, held: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9 \t\n.png")
    (tmp_path / odd).write_bytes(next((held / "12").iterdir()).read_bytes())
    for suffix, count in ((".parquet", 1), (".npz", 1), (".tsv", 1), (".npy", 0)):
        done = metricforge("encode", run, odd, "--out", f"e{suffix}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("1 names and labels are no valid Unicode") == count
    read = parquet.read_table(tmp_path / "e.parquet")
    assert read["path"].to_pylist() == ["caf\\udce9 \t\n.png"]


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".tsv"])
def test_a_file_that_encode_did_not_write_is_not_replaced(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"mine{suffix}"
    if suffix == ".npz":
        np.savez(out, features=ROWS, labels=np.array(LABELS))
    elif suffix == ".parquet":
        parquet.write_table(pa.table({"label": LABELS}), out)
    else:
        out.write_text("1\t2\n")
    for content in (out.read_bytes(), b"anything"):
        out.write_bytes(content)
        with pytest.raises(UsageError, match="encode did not write it"):
            EmbeddingFile.of(out)
        assert out.read_bytes() == content
    assert list(tmp_path.iterdir()) == [out]


def test_what_lies_beside_a_new_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "e.metadata.tsv").write_text("precious")
    with pytest.raises(UsageError, match=r"e\.metadata\.tsv exists, and is not of an earlier"):
        EmbeddingFile.of(tmp_path / "e.tsv")


@pytest.mark.parametrize(
    ("name", "path"),
    [("e", "e.npy"), ("e.NPY", "e.NPY.npy"), ("e.v2", "e.v2.npy"), ("E.PARQUET", "E.PARQUET")],
)
def test_the_suffix_selects_the_format(tmp_path: Path, name: str, path: str) -> None:
    assert EmbeddingFile.of(tmp_path / name).path == tmp_path / path


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".json", ".pkl", ".PT", ".txt"])
def test_another_format_is_an_error_with_those_that_are_written(
    tmp_path: Path, suffix: str
) -> None:
    told = rf"would be no {suffix} file: .* \.npy, \.npz, \.parquet, \.tsv; give --out .*e\.npy"
    with pytest.raises(UsageError, match=told):
        EmbeddingFile.of(tmp_path / f"e{suffix}")


@pytest.mark.parametrize("name", ["e.npz", "e.parquet", "e.tsv"])
def test_a_file_that_can_not_be_written_is_an_error_before_any_work(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="can't write"):
        EmbeddingFile.of(tmp_path / "file" / name)
    (tmp_path / "folder" / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="is a folder"):
        EmbeddingFile.of(tmp_path / "folder" / name)


def test_without_pyarrow_a_sentence_tells_what_to_install(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'pyarrow'\", name='pyarrow')"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "pyarrow.py").write_text(missing)
    env = first_on_path(tmp_path / "modules")
    # The run does not exist: it is not looked for.
    done = metricforge("encode", "none", "none.png", "--out", tmp_path / "e.parquet", env=env)
    assert (done.returncode, done.stderr) == (
        2,
        "error: a .parquet file requires the package pyarrow: "
        "pip install 'metricforge[parquet]'.\n",
    )
    assert not (tmp_path / "e.parquet").exists()


@pytest.mark.parametrize("name", ["e.npz", "e.parquet", "e.tsv"])
def test_on_a_full_disk_the_earlier_files_stay(
    run: Path, held: Path, tmp_path: Path, name: str
) -> None:
    words = ("encode", run, "--out", tmp_path / name)
    assert metricforge(*words, held / "12").returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = wrapped("full=1", *words, held / "13")
    assert done.returncode == 6, done.stdout
    assert "No space left on device." in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
