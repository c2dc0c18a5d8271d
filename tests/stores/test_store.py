"""Stores of embeddings, which their own clients read and search as `search` does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metricforge.data.own_outputs import STORE, is_output
from metricforge.errors import ArtefactError, ResourceError, UsageError
from metricforge.image_index import ImageIndex, model_hash
from metricforge.loading import load
from metricforge.stores import qdrant_store
from metricforge.stores.store import STORES, refuse_used, store_of, write_store
from metricforge.stores.table import EmbeddingTable
from tests.cli.process import first_on_path, metricforge

for package in ("lancedb", "pyarrow", "qdrant_client"):
    pytest.importorskip(package, reason="requires metricforge[lancedb,parquet,qdrant]")

import faiss  # noqa: E402
import lancedb  # noqa: E402
import qdrant_client  # noqa: E402
from pyarrow import parquet  # noqa: E402

ROWS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
NAMES = ["a.png", "b\tc\nd.png", "c", "caf\udce9.png"]
LABELS = ["cat", "cat", "", "d\nog"]
READ = [("a.png", "cat"), ("b\tc\nd.png", "cat"), ("c", None), ("caf\\udce9.png", "d\nog")]
K = 5
Content = tuple[list[tuple[str, str | None]], np.ndarray, dict[str, Any]]


def table(labels: bool = True) -> EmbeddingTable:
    return EmbeddingTable(NAMES, ROWS, "0" * 64, LABELS if labels else ())


def pairs(read: Any) -> list[tuple[str, str | None]]:
    return list(zip(read["path"].to_pylist(), read["label"].to_pylist(), strict=True))


def of_arrow(read: Any) -> Content:
    assert read["id"].to_pylist() == list(range(len(read)))
    record = json.loads(read.schema.metadata[b"metricforge"])
    return pairs(read), np.stack(read["vector"].to_numpy()), record


def of_lancedb(folder: Path) -> Content:
    return of_arrow(lancedb.connect(folder).open_table("images").to_arrow())


def of_parquet(folder: Path) -> Content:
    return of_arrow(parquet.read_table(folder / "images.parquet"))


@contextmanager
def qdrant(folder: Path) -> Iterator[qdrant_client.QdrantClient]:
    client = qdrant_client.QdrantClient(path=str(folder))
    yield client
    client.close()


def of_qdrant(folder: Path) -> Content:
    with qdrant(folder) as client:
        config = client.get_collection("images").config
        assert config.params.vectors.distance == qdrant_client.models.Distance.EUCLID
        points, more = client.scroll("images", limit=1000, with_vectors=True)
    assert more is None
    assert [point.id for point in points] == list(range(len(points)))
    read = [(point.payload["path"], point.payload["label"]) for point in points]
    rows = np.array([point.vector for point in points], np.float32)
    return read, rows, config.metadata["metricforge"]


def of_faiss(folder: Path) -> Content:
    index = faiss.read_index(str(folder / "index.faiss"))
    names = json.loads((folder / "names.json").read_text())
    file = folder / "labels.json"
    labels = json.loads(file.read_text()) if file.exists() else [None] * len(names)
    rows = index.reconstruct_n(0, index.ntotal)
    return list(zip(names, labels, strict=True)), rows, json.loads((folder / STORE).read_text())


READERS = {
    "faiss": of_faiss, "lancedb": of_lancedb, "parquet": of_parquet, "qdrant": of_qdrant,
}  # fmt: skip


def nearest(store: str, query: list[str], vector: np.ndarray, folder: Path) -> Any:
    """The names and the distances that the printed lines find; their fields are the store's own."""
    names: dict[str, Any] = {"vector": vector}
    exec(query[0], names)
    hits = eval(query[1], names)
    if store == "lancedb":
        return [(hit["path"], hit["_distance"] ** 0.5) for hit in hits]
    if store == "qdrant":
        names["client"].close()
        return [(hit.payload["path"], hit.score) for hit in hits]
    read, rows, _ = READERS[store](folder)
    if store == "faiss":
        return [(read[row][0], d**0.5) for d, row in zip(hits[0][0], hits[1][0], strict=True)]
    return [(read[row][0], np.linalg.norm(rows[row] - vector)) for row in hits]


@pytest.fixture(scope="module")
def searched(
    run: Path, held: Path, queries: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> list[list[tuple[str, float]]]:
    """What `metricforge search` finds for each query."""
    out = tmp_path_factory.mktemp("searched") / "index"
    assert metricforge("index", run, "--dataset", held, "--out", out).returncode == 0
    done = metricforge("search", run, out, *queries, "-k", K + 1, "--json")
    assert done.returncode == 0, done.stderr
    found = [
        [(hit["name"], hit["distance"]) for hit in json.loads(done.stdout)[str(query)]]
        for query in queries
    ]
    distances = np.array([[distance for _, distance in hits] for hits in found])
    # Else their order would be chance.
    assert (np.diff(distances) > 1e-5 * distances[:, 1:]).all()
    return [hits[:K] for hits in found]


@pytest.mark.parametrize("store", STORES)
def test_a_store_is_searched_as_an_index_is(
    store: str,
    run: Path,
    held: Path,
    queries: list[Path],
    searched: list[list[tuple[str, float]]],
    tmp_path: Path,
) -> None:
    # Characters that have a meaning in an address, in Python and in a shell.
    out = tmp_path / "a b#c%20d?é'"
    words = ("index", run, "--dataset", held, "--to", store, "--out", out)
    done = metricforge(*words)
    assert done.returncode == 0, done.stderr
    first, *query = done.stdout.splitlines()
    assert first == f"{out}: 40 images in {store}; search it in Python:"
    files = sorted(held.glob("*/*.png"))
    model = load(run, device="cpu")
    read, rows, record = READERS[store](out)
    assert read == [(str(file), file.parent.name) for file in files]
    np.testing.assert_allclose(rows, model.encode(files), atol=1e-6)
    expected = {
        "kind": store, "model": model_hash(run, model.card), "dim": 16, "images": 40,
        "distance": "euclidean", "format": 1,
    }  # fmt: skip
    assert record == expected == json.loads((out / STORE).read_text())
    for vector, hits in zip(model.encode(queries), searched, strict=True):
        found = nearest(store, query, vector, out)
        assert [name for name, _ in found] == [name for name, _ in hits]
        np.testing.assert_allclose([d for _, d in found], [d for _, d in hits], rtol=1e-5)
    # Its own client may have written to it, and yet it is a store.
    again = metricforge(*words, "--json")
    assert again.returncode == 0, again.stderr
    told = {"out": str(out), "store": store, "images": 40, "dim": 16, "query": query, "skipped": {}}
    assert json.loads(again.stdout) == told
    assert list(tmp_path.iterdir()) == [out]
    assert is_output([path.name for path in out.iterdir()])


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("store", STORES)
def test_odd_names_and_missing_labels_are_stored(store: str, labels: bool, tmp_path: Path) -> None:
    write_store(store_of(store), tmp_path / "store", table(labels))
    read, rows, record = READERS[store](tmp_path / "store")
    assert read == [(name, label if labels else None) for name, label in READ]
    np.testing.assert_array_equal(rows, ROWS)
    assert record["model"] == "0" * 64


def test_more_images_than_are_sent_at_once_are_stored_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).standard_normal((10, 2)).astype(np.float32)
    names = [f"{number}.png" for number in range(10)]
    monkeypatch.setattr(qdrant_store, "_BATCH", 4)
    write_store(store_of("qdrant"), tmp_path / "store", EmbeddingTable(names, rows, ""))
    read, stored, _ = of_qdrant(tmp_path / "store")
    assert [name for name, _ in read] == names
    np.testing.assert_array_equal(stored, rows)


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_store_replaces_a_store_and_nothing_else(
    run: Path, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, empty = tmp_path / "store", tmp_path / "empty"
    empty.mkdir()
    write_store(store_of("faiss"), empty, table())
    for store in (*STORES, *reversed(STORES)):
        write_store(store_of(store), out, table())
        assert len(READERS[store](out)[0]) == 4
        assert {path.name for path in tmp_path.iterdir()} == {"empty", "store"}
    index, file, precious = (tmp_path / name for name in ("index", "file", "precious"))
    assert metricforge("index", run, held, "--out", index).returncode == 0
    file.write_text("all of it")
    precious.mkdir()
    (precious / "thesis.txt").write_text("all of it")
    before = content(tmp_path)
    for folder, told in ((index, "no store"), (file, "is a file"), (precious, "no store")):
        done = metricforge("index", run, held, "--to", "faiss", "--out", folder)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert told in done.stderr
    done = metricforge("index", run, held, "--out", out)
    assert (done.returncode, "no index" in done.stderr) == (2, True)
    monkeypatch.chdir(out)
    with pytest.raises(UsageError, match="the current folder"):
        refuse_used(".")
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("store", "further"),
    [
        ("faiss", "thesis.txt"),
        ("lancedb", "mine.lance/data"),
        ("parquet", "other.parquet"),
        ("qdrant", "collection/mine/storage.sqlite"),
        ("qdrant", "index.faiss"),
    ],
)
def test_a_store_with_something_of_another_is_not_replaced(
    store: str, further: str, tmp_path: Path
) -> None:
    out = tmp_path / "store"
    write_store(store_of(store), out, table())
    refuse_used(out)
    (out / further).parent.mkdir(parents=True, exist_ok=True)
    (out / further).write_text("all of it")
    with pytest.raises(UsageError, match="holds files that are no store"):
        write_store(store_of(store), out, table())
    assert (out / further).read_text() == "all of it"


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"kind": "faiss"}', "\udcff"])
def test_a_folder_with_another_record_is_no_store(record: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / STORE).write_bytes(os.fsencode(record))
    with pytest.raises(UsageError, match="holds files that are no store"):
        refuse_used(tmp_path / "out")


@pytest.mark.parametrize("error", [RuntimeError("lance: no space"), OSError(28, "No space left")])
def test_a_store_that_fails_leaves_the_earlier_one(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    write_store(store_of("lancedb"), out, table())
    before = content(tmp_path)
    store = store_of("faiss")

    def write(folder: Path, table: EmbeddingTable) -> None:
        (folder / "index.faiss").touch()
        raise error

    monkeypatch.setattr(store, "write", write)
    with pytest.raises(ResourceError, match=r"can't write .*store: "):
        write_store(store, out, table())
    assert content(tmp_path) == before


def test_a_path_that_is_no_utf_8_is_an_error_for_lancedb(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(UsageError, match="no UTF-8"):
        write_store(store_of("lancedb"), folder, table())
    write_store(store_of("qdrant"), folder, table())
    assert of_qdrant(folder)[0] == READ


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--to", "lance"], 2, "unknown store 'lance'; did you mean 'lancedb'? Choices: faiss, "),
        (["--to", ""], 2, "unknown store ''"),
        (["--to", "faiss", "--add"], 2, "--add and --remove change an index"),
        (["--to", "faiss", "--remove"], 2, "--add and --remove change an index"),
    ],
)
def test_what_does_not_go_together_is_an_error_before_any_work(
    words: list[str], code: int, told: str, tmp_path: Path
) -> None:
    done = metricforge("index", "none", "none.png", *words, "--out", "out", cwd=tmp_path)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("store", "package"),
    [("lancedb", "lancedb"), ("parquet", "pyarrow"), ("qdrant", "qdrant_client")],
)
def test_without_its_package_a_sentence_tells_what_to_install(
    store: str, package: str, tmp_path: Path
) -> None:
    missing = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
    (tmp_path / f"{package}.py").write_text(missing)
    words = ("index", "none", "none.png", "--to", store, "--out", tmp_path / "out")
    done = metricforge(*words, env=first_on_path(tmp_path))
    assert done.returncode == 2
    assert f"requires the package {package}: pip install 'metricforge[{store}]'." in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_images_or_a_place_there_is_no_store(run: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "file").touch()
    for out, code, told in (
        ("out", 3, "there are no images in what was given"),
        ("file/out", 6, "can't write"),
    ):
        words = ("index", run, "none", "--to", "faiss", "--out", out)
        done = metricforge(*words, cwd=tmp_path)
        assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"none", "file"}


def test_an_image_that_is_named_twice_is_stored_once(run: Path, held: Path, tmp_path: Path) -> None:
    one = next(held.glob("*/0.png"))
    done = metricforge("index", run, one, one, "--to", "faiss", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert of_faiss(tmp_path / "out")[0] == [(str(one), None)]
    assert "note: 1 files are named more than once and count once." in done.stderr
    with pytest.raises(ArtefactError, match=r"a store .* without --to"):
        ImageIndex.open(tmp_path / "out")
