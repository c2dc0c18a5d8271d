"""The dataset `vectors` and vectors in .npz files: what is read, where it lies, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metricforge_standard.datasets import _npz_archive, _parquet
from metricforge_standard.datasets.npz import npz
from metricforge_standard.datasets.vectors import vectors

from metricforge import Labels, evaluate
from metricforge.contracts import TEST, TRAIN, VALIDATION, Dataset
from metricforge.data import images as images_module
from metricforge.data import vectors as vectors_module
from metricforge.data.images import MappedImages, MemoryImages, fingerprint, open_images
from metricforge.errors import DataError, MetricForgeError, UsageError
from metricforge.recipes.dataset_spec import dataset_spec, open_dataset
from metricforge.registry import Registry
from metricforge.testing import check_dataset

N, V = 12, 5
ROWS = np.random.default_rng(0).standard_normal((N, V))
LABELS = np.repeat(["ant", "bee", "cat"], 4)
PARTS = ["train"] * 4 + ["val"] * 4 + ["test"] * 4


def save_npy(folder: Path, rows: Any = ROWS, labels: Any = LABELS) -> dict[str, Path]:
    np.save(folder / "rows.npy", rows)
    np.save(folder / "labels.npy", labels)
    return {"path": folder / "rows.npy", "labels": folder / "labels.npy"}


def save_csv(folder: Path, header: str = "label,group,split") -> Path:
    rows = zip(LABELS, "xyzxyzxyzxyz", PARTS, strict=True)
    text = "\n".join([header, *(",".join(row) for row in rows)])
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def rows_of(dataset: Dataset) -> torch.Tensor:
    """All vectors as batches have them."""
    return open_images(dataset).take(torch.arange(len(dataset)))


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", "i1", "u2", "i8"])
def test_numbers_of_any_type_become_batches_of_float32(tmp_path: Path, kind: str) -> None:
    rows = (ROWS * 100).astype(kind)
    expected = rows.astype(np.float32)
    np.savez(tmp_path / "x.npz", features=rows, labels=LABELS)
    for dataset in (vectors(**save_npy(tmp_path, rows)), npz(path=tmp_path / "x.npz")):
        assert dataset.shape == (V,)
        assert dataset.of_vectors
        taken = rows_of(dataset)
        assert taken.dtype == torch.float32
        assert (taken.numpy() == expected).all()
        assert dataset.classes == ("ant", "bee", "cat")
        assert dataset.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_vectors_lie_in_the_arrays_of_keras(tmp_path: Path) -> None:
    parts = {"x_train": ROWS[:8], "y_train": LABELS[:8], "x_test": ROWS[8:], "y_test": LABELS[8:]}
    np.savez(tmp_path / "x.npz", **parts)
    dataset = npz(path=tmp_path / "x.npz")
    assert isinstance(dataset.images, torch.Tensor)
    assert dataset.official is not None
    np.testing.assert_array_equal(dataset.images.numpy(), ROWS)
    assert dataset.official.tolist() == [TRAIN] * 8 + [TEST] * (N - 8)


@pytest.mark.parametrize("names", [("features", "labels"), ("images", "labels"), ("x", "y")])
def test_an_npz_names_its_vectors_as_usual(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(
        tmp_path / "x.npz", **dict(zip(names, (ROWS, LABELS), strict=True)), split=PARTS,
        groups=list("xyzxyzxyzxyz"),
    )  # fmt: skip
    dataset = npz(path=tmp_path / "x.npz")
    np.testing.assert_allclose(rows_of(dataset), ROWS.astype(np.float32))
    assert dataset.group_names == ("x", "y", "z")
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 4 + [VALIDATION] * 4 + [TEST] * 4


def test_a_csv_of_labels_has_groups_and_a_split(tmp_path: Path) -> None:
    path = save_npy(tmp_path)["path"]
    dataset = vectors(path=path, labels=save_csv(tmp_path))
    assert dataset.name == "rows"
    assert dataset.group_names == ("x", "y", "z")
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 4 + [VALIDATION] * 4 + [TEST] * 4
    check_dataset(vectors, path=path, labels=tmp_path / "labels.csv")


def test_a_split_that_divides_classes_is_noted(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=ROWS, labels=LABELS, split=PARTS[::-1][2:] + PARTS[-2:])
    assert any("more than one part" in note for note in npz(path=tmp_path / "x.npz").notes)
    rows = zip(LABELS, PARTS[::-1][2:] + PARTS[-2:], strict=True)
    (tmp_path / "labels.csv").write_text("\n".join(["label,split", *map(",".join, rows)]))
    dataset = vectors(path=save_npy(tmp_path)["path"], labels=tmp_path / "labels.csv")
    assert any("more than one part" in note for note in dataset.notes)


def test_a_file_is_found_by_its_name(tmp_path: Path) -> None:
    registry = Registry.installed()
    paths = save_npy(tmp_path)
    assert str(dataset_spec(str(paths["path"]), registry)) == f"vectors:path={paths['path']}"
    assert dataset_spec("rows.parquet", registry).name == "vectors"
    spec = f"vectors:path={paths['path']},labels={paths['labels']}"
    assert len(open_dataset(spec, registry)) == N


# ---------------------------------------------------------------- where it lies


def file_of(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory is mapped from, or an empty string."""
    place = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, *_, name = line.split(maxsplit=5)
        begin, end = (int(each, 16) for each in addresses.split("-"))
        if begin <= place < end:
            return name if name.startswith("/") else ""
    return ""


def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the bound from which vectors stay in their file."""
    for module in (vectors_module, _npz_archive):
        monkeypatch.setattr(module, "MEMORY_LIMIT", 100)


def test_large_vectors_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = vectors(**save_npy(tmp_path))
    assert isinstance(small.images, torch.Tensor)
    assert not file_of(small.images)
    assert isinstance(open_images(small), MemoryImages)
    few_bytes(monkeypatch)
    for rows in (ROWS, np.asfortranarray(ROWS)):
        np.savez(tmp_path / "x.npz", features=rows, labels=LABELS)
        for large in (vectors(**save_npy(tmp_path, rows)), npz(path=tmp_path / "x.npz")):
            assert isinstance(large.images, torch.Tensor)
            assert file_of(large.images) in (str(tmp_path / "rows.npy"), str(tmp_path / "x.npz"))
            opened = open_images(large, memory_limit=100)
            assert isinstance(opened, MappedImages)
            indices = torch.tensor([3, 0, 3])
            assert (opened.take(indices).numpy() == ROWS[[3, 0, 3]].astype(np.float32)).all()
            assert fingerprint(large) == fingerprint(small)
            large.images[0] = 0  # of memory, not of the file
    assert (np.load(tmp_path / "rows.npy") == ROWS).all()
    assert (np.load(tmp_path / "x.npz")["features"] == ROWS).all()


def test_small_vectors_do_not_change_with_their_file(tmp_path: Path) -> None:
    dataset = vectors(**save_npy(tmp_path))
    before = rows_of(dataset).clone()
    with (tmp_path / "rows.npy").open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\0" * 8)
    assert rows_of(dataset).equal(before)


def test_a_compressed_array_is_read_and_a_damaged_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_bytes(monkeypatch)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, features=ROWS, labels=LABELS)
    assert (rows_of(npz(path=path)).numpy() == ROWS.astype(np.float32)).all()
    np.savez(path, features=ROWS, labels=LABELS)
    content = bytearray(path.read_bytes())
    place = content.index(ROWS.tobytes()) + 20
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        npz(path=path)


def test_the_checksum_of_a_mapped_array_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_bytes(monkeypatch)
    rows, path = np.tile(ROWS, 300), tmp_path / "x.npz"
    np.savez(path, features=rows, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[content.index(rows.tobytes()) + rows.nbytes - 5] ^= 1  # far behind the header
    path.write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        npz(path=path)


def test_a_large_part_of_vectors_is_hashed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.from_numpy(ROWS)
    dataset = Dataset("x", rows, torch.arange(N) % 2, ("a", "b"), (V,))
    whole = fingerprint(dataset)
    monkeypatch.setattr(images_module, "_CHUNK", 5)
    assert fingerprint(dataset) == whole


# ---------------------------------------------------------------- .parquet


def save_parquet(folder: Path, **columns: Any) -> Path:
    pa = pytest.importorskip("pyarrow", reason="requires metricforge[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet", reason="requires metricforge[parquet]")
    usual = {"features": ROWS.astype(np.float32).tolist(), "label": LABELS.tolist()}
    merged = {name: each for name, each in {**usual, **columns}.items() if each is not None}
    parquet.write_table(pa.table(merged), folder / "rows.parquet", row_group_size=5)
    return folder / "rows.parquet"


def lists_of(kind: str) -> Any:
    """The rows as a column of lists of a type, of a fixed length or of any."""
    pa = pytest.importorskip("pyarrow", reason="requires metricforge[parquet]")
    rows = (ROWS * 100).astype({"halffloat": "f2", "double": "f8", "int16": "i2"}.get(kind, "f4"))
    element = pa.from_numpy_dtype(rows.dtype)
    types = {"fixed": pa.list_(element, V), "large": pa.large_list(element)}
    flat = types.get(kind, pa.list_(element))
    return pa.array(list(rows), type=flat), rows


@pytest.mark.parametrize("kind", ["float", "double", "halffloat", "int16", "fixed", "large"])
def test_a_parquet_column_of_lists_is_read(tmp_path: Path, kind: str) -> None:
    column, rows = lists_of(kind)
    path = save_parquet(
        tmp_path, features=column, group=list("xyzxyzxyzxyz"), split=PARTS, url=["u"] * N
    )
    dataset = vectors(path=path)
    assert (rows_of(dataset).numpy() == rows.astype(np.float32)).all()
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.group_names == ("x", "y", "z")
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 4 + [VALIDATION] * 4 + [TEST] * 4
    assert any("not used: url" in note for note in dataset.notes)


def test_columns_of_a_parquet_file_have_names_of_their_own(tmp_path: Path) -> None:
    rows = ROWS.astype(np.float32).tolist()
    path = save_parquet(tmp_path, features=None, label=None, clip=rows, species=LABELS.tolist())
    with pytest.raises(DataError, match=r"no column 'features'.*columns=features:NAME"):
        vectors(path=path)
    dataset = vectors(path=path, columns="features:clip+label:species")
    assert dataset.classes == ("ant", "bee", "cat")
    path = save_parquet(tmp_path, features=None, embedding=rows)
    assert (rows_of(vectors(path=path)).numpy() == ROWS.astype(np.float32)).all()


def test_a_parquet_file_takes_queries_and_a_gallery(tmp_path: Path) -> None:
    queries = [True, False] * 6
    path = save_parquet(tmp_path, is_query=queries, is_gallery=[not each for each in queries])
    dataset = vectors(path=path)
    assert dataset.queries is not None
    assert dataset.queries.tolist() == queries
    path = save_parquet(tmp_path, is_query=queries)
    with pytest.raises(DataError, match="give both"):
        vectors(path=path)


def test_a_parquet_of_many_batches_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parquet, "_BATCH", 3)
    assert (rows_of(vectors(path=save_parquet(tmp_path))).numpy() == ROWS.astype("f4")).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"features": [*[[1.0]] * 11, [1.0, 2.0]]}, r"features\[1\d\] has . numbers"),
        ({"features": [*[[1.0]] * 7, None, *[[1.0]] * 4]}, r"features\[7\] is missing"),
        ({"features": [[1.0, None]] * 12}, "lack numbers"),
        ({"features": [["a"]] * 12}, "vectors are numbers"),
        ({"features": [1.0] * 12}, "not lists"),
        ({"features": [[float("nan")]] * 12}, "row 0 has a number that is NaN"),
        ({"features": [[1e300]] * 12}, "too large for float32"),
        ({"features": [[]] * 12}, "lists of null"),
        ({"label": [*LABELS[:11], None]}, r"label\[11\] is missing"),
        ({"split": ["train"] * 11 + ["dev"]}, r"split\[11\].*choices"),
    ],
)
def test_what_a_parquet_file_lacks_is_named_by_its_row(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        vectors(path=save_parquet(tmp_path, **columns))


def test_a_parquet_file_that_is_damaged_or_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_parquet(tmp_path)
    monkeypatch.setattr(_parquet, "MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"save them as \.npy"):
        vectors(path=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"can't be read as a \.parquet file"):
        vectors(path=path)


@pytest.mark.fault(131)
def test_a_file_that_lacks_rows_is_refused(tmp_path: Path) -> None:
    content = bytearray(save_parquet(tmp_path).read_bytes())
    refused = []
    # One of the bytes of this value is the number of rows.
    for place in (index for index, byte in enumerate(content) if byte == 2 * N):
        damaged = content.copy()
        damaged[place] += 4
        (tmp_path / "damaged.parquet").write_bytes(damaged)
        try:
            assert len(vectors(path=tmp_path / "damaged.parquet")) == N
        except DataError as error:
            refused.append(str(error))
    assert any(f"it has {N} of its {N + 2} rows" in each for each in refused)


def test_without_pyarrow_a_sentence_tells_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"")

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{name}'", name="pyarrow")

    monkeypatch.setattr("metricforge.extras.importlib.import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'metricforge\[parquet\]'"):
        vectors(path=tmp_path / "x.parquet")


# ---------------------------------------------------------------- what is refused


def with_nan() -> np.ndarray:
    rows = ROWS.copy()
    rows[7, 2] = np.nan
    return rows


def test_a_row_is_named_beyond_the_first_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "_CHUNK", 3)
    with pytest.raises(DataError, match="row 7 has a number that is NaN"):
        vectors(**save_npy(tmp_path, with_nan()))


def test_without_a_test_part_validation_tests(tmp_path: Path) -> None:
    rows = zip(LABELS, ["train"] * 8 + ["val"] * 4, strict=True)
    (tmp_path / "labels.csv").write_text("\n".join(["label,split", *map(",".join, rows)]))
    dataset = vectors(path=save_npy(tmp_path)["path"], labels=tmp_path / "labels.csv")
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 8 + [TEST] * 4
    assert any("those of validation are the test part" in note for note in dataset.notes)


@pytest.mark.fault(136)
def test_flags_that_mark_nothing_to_test_are_told(tmp_path: Path) -> None:
    nothing = np.zeros(N, dtype=bool)
    path = save_parquet(tmp_path, is_query=nothing.tolist(), is_gallery=nothing.tolist())
    flags = {"is_query": nothing, "is_gallery": nothing}
    np.savez(tmp_path / "x.npz", features=ROWS, labels=LABELS, **flags)
    for dataset in (vectors(path=path), npz(path=tmp_path / "x.npz")):
        assert any("marks no row to test as query or gallery" in each for each in dataset.notes)
    for dataset in (vectors(path=path), npz(path=tmp_path / "x.npz")):
        assert sum("query or gallery" in each for each in dataset.notes) == 1
    told = evaluate(ROWS, Labels(LABELS, queries=nothing, gallery=nothing), protocols="retrieval")
    assert any("no row is flagged as query or gallery" in each for each in told.notes)
    some = np.arange(N) < 4
    flags = {"is_query": some, "is_gallery": some}
    np.savez(tmp_path / "x.npz", features=ROWS, labels=LABELS, **flags)
    assert any(f"and not used: {N - 4}." in each for each in npz(path=tmp_path / "x.npz").notes)


def test_one_group_of_all_is_none(tmp_path: Path) -> None:
    dataset = vectors(path=save_parquet(tmp_path, group=["a"] * N))
    assert (dataset.groups, dataset.group_names) == (None, ())


def test_queries_without_a_gallery_to_test_are_refused(tmp_path: Path) -> None:
    flags = np.arange(N) < N
    path = save_parquet(tmp_path, is_query=flags.tolist(), is_gallery=(~flags).tolist())
    with pytest.raises(DataError, match="has queries to test and no gallery"):
        vectors(path=path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (with_nan(), "row 7 has a number that is NaN"),
        (ROWS * 1e300, "row 0 has a number that is NaN, infinite or too large"),
        (ROWS[:, 0], r"float64 \[12\]: vectors are real numbers"),
        (ROWS > 0, "bool"),
        (ROWS[:, :0], r"float64 \[12, 0\]"),
        (ROWS[:0], r"float64 \[0, 5\]"),
        (ROWS[0, 0], r"float64 \[\]"),
        (ROWS.astype(complex), "complex128"),
        (ROWS[:11], "11 embeddings have 12 labels"),
    ],
)
def test_vectors_that_are_none_are_refused(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        vectors(**save_npy(tmp_path, rows))


def test_options_of_other_files_are_refused(tmp_path: Path) -> None:
    paths = save_npy(tmp_path)
    with pytest.raises(UsageError, match=r"vectors:path=.*rows\.npy,labels=FILE"):
        vectors(path=paths["path"])
    with pytest.raises(UsageError, match=r"columns are those of a \.parquet file"):
        vectors(**paths, columns="label:x")
    (tmp_path / "x.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match="leave the option labels out"):
        vectors(path=tmp_path / "x.parquet", labels=paths["labels"])
    with pytest.raises(UsageError, match="takes features:NAME"):
        vectors(path=save_parquet(tmp_path), columns="features")
    np.savez(tmp_path / "x.npz", features=ROWS, labels=LABELS)
    with pytest.raises(UsageError, match="vectors, which have no size"):
        npz(path=tmp_path / "x.npz", size=8)


def test_an_npz_without_vectors_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=ROWS[:0], labels=LABELS[:0])
    with pytest.raises(DataError, match=r"\[0, 5\]"):
        npz(path=tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["nothing.npy", "."])
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="option 'path' of dataset 'vectors'"):
        vectors(path=tmp_path / name)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    paths = save_npy(tmp_path)
    paths["path"].write_text("1 2 3")
    with pytest.raises(MetricForgeError, match=r"is no \.npy file"):
        vectors(**paths)


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has only one class, 'ant'"):
        vectors(**save_npy(tmp_path, labels=np.array(["ant"] * N)))
