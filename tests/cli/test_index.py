"""Images that are indexed and searched, and indexes that are not what they should be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from metricforge.atomic_files import read_folder, write_folder
from metricforge.contracts import Reading
from metricforge.errors import ArtefactError
from metricforge.image_index import Contents, ImageIndex
from metricforge.loading import load
from tests.cli.process import metricforge, wrapped
from tests.cli.small_run import make_files, words


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files, two runs on them, and an index of the files of four classes by the first."""
    place = tmp_path_factory.mktemp("indexed")
    files = make_files(place / "files")
    for seed in (0, 1):
        out = place / f"run{seed}"
        done = metricforge("train", *words(files), "--seed", seed, "--out", out)
        assert done.returncode == 0, done.stderr
    done = metricforge("index", place / "run0", *gallery(place), "--out", place / "index")
    assert done.returncode == 0, done.stderr
    assert "24 images" in done.stdout
    return place


def gallery(place: Path) -> list[Path]:
    return sorted(path for label in "5678" for path in (place / "files" / label).iterdir())


def search(
    place: Path, *given: object, run: str = "run0", index: str = "index"
) -> subprocess.CompletedProcess[str]:
    return metricforge("search", place / run, place / index, *given)


def test_what_is_nearest_comes_first_as_a_naive_search_finds_it(place: Path) -> None:
    asked = sorted((place / "files" / "9").iterdir())[:2]
    done = search(place, *asked, "-k", 3, "--json")
    assert done.returncode == 0, done.stderr
    model, names = load(place / "run0"), gallery(place)
    rows, queries = (model.encode(paths).astype(float) for paths in (names, asked))
    for path, query in zip(asked, queries, strict=True):
        distances = np.linalg.norm(rows - query, axis=1)
        found = json.loads(done.stdout)[str(path)]
        expected = np.argsort(distances)[:3]
        assert [one["name"] for one in found] == [str(names[row]) for row in expected]
        for one, row in zip(found, expected, strict=True):
            assert one["distance"] == pytest.approx(distances[row], abs=1e-3)


@pytest.mark.fault(52)
def test_an_image_of_the_index_finds_itself_and_k_is_clamped_and_said(place: Path) -> None:
    done = search(place, gallery(place)[3], "-k", 500)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 24
    assert lines[1].split(maxsplit=1) == ["0.000", str(gallery(place)[3])]
    assert done.stderr == "note: -k 500 is more than the 24 images of the index: all are listed.\n"
    assert search(place, gallery(place)[3], "-k", 24).stderr == ""


def index(place: Path, *given: object, **how: Path) -> subprocess.CompletedProcess[str]:
    return metricforge("index", place / "run0", *given, **how)


def test_an_index_replaces_nothing_but_an_index_or_an_empty_folder(
    place: Path, tmp_path: Path
) -> None:
    precious, file, empty = (tmp_path / name for name in ("precious", "file", "empty"))
    precious.mkdir()
    (precious / "thesis.txt").write_text("all of it")
    file.write_text("all of it")
    for out, told in ((precious, "no index"), (file, "is a file"), (place / "run0", "no index")):
        done = index(place, *gallery(place), "--out", out)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert told in done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {precious.name, file.name}
    assert (precious / "thesis.txt").read_text() == file.read_text() == "all of it"
    empty.mkdir()
    done = index(place, *gallery(place), "--out", ".", cwd=empty)
    assert done.returncode == 2, done.stderr
    assert "the current folder" in done.stderr
    for _ in range(2):
        done = index(place, *gallery(place)[:3], "--out", empty)
        assert done.returncode == 0, done.stderr


def test_where_there_are_no_images_index_and_search_say_so(place: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    for done in (
        index(place, tmp_path / "none", "--out", tmp_path / "index"),
        search(place, tmp_path / "none"),
        search(place, tmp_path / "none", "--json"),
    ):
        assert (done.returncode, done.stdout) == (3, "")
        assert "there are no images in what was given" in done.stderr
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("env", [{"RANK": "1"}, {"RANK": "x", "WORLD_SIZE": "2"}], ids=str)
def test_a_rank_that_torchrun_did_not_start_does_its_work(place: Path, env: dict[str, str]) -> None:
    done = metricforge("search", place / "run0", place / "index", place / "none", env=env)
    assert done.returncode == 3
    assert "check its path" in done.stderr
    done = metricforge("train", env={**env, "WORLD_SIZE": "2"})
    assert done.returncode == 2
    assert "start it with torchrun, or unset WORLD_SIZE" in done.stderr


def test_of_several_ranks_the_first_indexes_and_searches(place: Path, tmp_path: Path) -> None:
    given = [place / "run0", *gallery(place)[:3], "--json", "--out", tmp_path / "index"]
    done = wrapped("none", "index", *given, ranks=2)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 3
    given = [place / "run0", tmp_path / "index", gallery(place)[1], "--json"]
    done = wrapped("none", "search", *given, ranks=2)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)[str(gallery(place)[1])]) == 3


@pytest.mark.fault(49)
def test_another_model_is_refused(place: Path) -> None:
    done = search(place, gallery(place)[0], run="run1")
    assert done.returncode == 5
    assert "another model" in done.stderr


def test_the_same_weights_that_read_files_otherwise_are_another_model(
    place: Path, tmp_path: Path
) -> None:
    model = load(place / "run0", device="cpu")
    for name, reading in (("as-before", model.card.reading), ("otherwise", Reading(inverted=True))):
        model.card = replace(model.card, reading=reading)
        model.save(tmp_path / name)
    asked = (place / "index", gallery(place)[0])
    assert metricforge("search", tmp_path / "as-before", *asked).returncode == 0
    refused = metricforge("search", tmp_path / "otherwise", *asked)
    assert refused.returncode == 5
    assert "another model" in refused.stderr


Files = dict[str, bytes]


def contents(**changes: object) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        told = json.loads(files["contents.json"]) | changes
        return files | {"contents.json": json.dumps(told).encode()}

    return change


def of_inner_products(files: Files) -> Files:
    index = faiss.IndexFlatIP(4)
    index.add(np.ones((24, 4), np.float32))
    return files | {"index.faiss": faiss.serialize_index(index).tobytes()}


def of_a_size_that_is_not_there(files: Files) -> Files:
    """Which faiss would allocate."""
    content = bytearray(files["index.faiss"])
    content[37:45] = (2**40).to_bytes(8, "little")
    return files | {"index.faiss": bytes(content)}


@pytest.mark.fault(49)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (contents(dim=5), "does not fit together"),
        (contents(names=["one"]), "does not fit together"),
        (contents(metric="cosine"), "does not fit together"),
        (contents(format=4), "upgrade metricforge"),
        (contents(extra=1), "not an index of images"),
        (of_inner_products, "does not fit together"),
        (lambda files: files | {"index.faiss": b"IxF2 and no more"}, "holds no faiss index"),
        (of_a_size_that_is_not_there, "holds no faiss index"),
        (lambda files: {"contents.json": files["contents.json"]}, "holds no faiss index"),
    ],
)
def test_an_index_that_does_not_fit_together_is_refused(
    place: Path, tmp_path: Path, change: Callable[[Files], Files], told: str
) -> None:
    write_folder(tmp_path / "index", change(read_folder(place / "index")))
    done = search(place, gallery(place)[0], index=str(tmp_path / "index"))
    assert done.returncode == 5, done.stderr
    assert told in done.stderr


@pytest.mark.parametrize("asked", [1, 40])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_embeddings_at_no_distance_are_refused(value: float, asked: int) -> None:
    index = faiss.IndexFlatL2(2)
    index.add(np.array([[0, 0], [value, 0]], np.float32))
    with pytest.raises(ArtefactError, match="at no distance"):
        ImageIndex(Contents(("a", "b"), 2, ""), index).nearest(np.zeros((asked, 2), np.float32))


@pytest.mark.fault(50)
def test_a_corrupt_index_is_refused_by_its_hash(place: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "index", read_folder(place / "index"))
    file = tmp_path / "index" / "index.faiss"
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    done = search(place, gallery(place)[0], index=str(tmp_path / "index"))
    assert done.returncode == 5
    assert "sha256" in done.stderr


@pytest.mark.fault(106)
def test_an_image_that_is_named_more_than_once_is_indexed_once(place: Path, tmp_path: Path) -> None:
    one = gallery(place)[2]
    (tmp_path / "link.png").symlink_to(one)
    done = index(place, one, one.parent, one.parent / ".." / "5", tmp_path / "link.png",
                 "--out", tmp_path / "index", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 6
    assert "note: 8 files are named more than once and count once." in done.stderr
    names = json.loads((tmp_path / "index" / "contents.json").read_text())["names"]
    assert names[0] == str(one)
    assert len(names) == 6
    # In embeddings that are asked for, each has its row.
    done = metricforge("encode", place / "run0", one, one, "--out", tmp_path / "e.npy", "--json")
    assert json.loads(done.stdout)["shape"] == [2, 4]


@pytest.mark.fault(142)
def test_the_neighbours_of_an_image_do_not_depend_on_how_many_are_asked_for() -> None:
    """faiss expands |x - y|^2 for many at once, which loses the digits of dense groups."""
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((600, 128))
    dense = rng.standard_normal((4, 128)).repeat(100, 0) + 2e-5 * rng.standard_normal((400, 128))
    rows = np.concatenate([spread, dense]).astype(np.float32)
    index = faiss.IndexFlatL2(128)
    index.add(rows)
    held = ImageIndex(Contents(tuple(map(str, range(1000))), 128, ""), index)
    for asked in (held.nearest(rows, 5), [held.nearest(row[None], 5)[0] for row in rows[::50]]):
        step = 1000 // len(asked)
        assert [hits[0].name for hits in asked] == [str(n) for n in range(0, 1000, step)]
        assert all(hits[0].distance == 0 for hits in asked)


@pytest.mark.fault(138)
def test_one_row_far_out_takes_no_other_rows_neighbours() -> None:
    """Nor does it help that all are far from the origin."""
    rows = np.random.default_rng(0).standard_normal((200, 16)) + 1e4
    rows[7] = 1e9
    rows = rows.astype(np.float32)
    index = faiss.IndexFlatL2(16)
    index.add(rows)
    squared = np.square(rows[:, None].astype(np.float64) - rows).sum(2)
    found = ImageIndex(Contents(tuple(map(str, range(200))), 16, ""), index).nearest(rows, 5)
    expected = squared.argsort(1)[:, :5].astype(str)
    others = [n for n in range(200) if n != 7]
    assert [[hit.name for hit in found[n]] for n in others] == expected[others].tolist()


def test_images_come_and_go_without_the_others_being_embedded_again(
    place: Path, tmp_path: Path
) -> None:
    out, files = tmp_path / "index", gallery(place)
    assert index(place, *files[:10], "--out", out).returncode == 0
    added = index(place, *files[8:14], "--out", out, "--add")
    assert added.returncode == 0, added.stderr
    assert added.stdout.startswith(f"{out}: 14 images; ")
    assert "note: 2 of these names were in the index already" in added.stderr
    held = ImageIndex.open(out)
    assert held.contents.names == tuple(map(str, [*files[:8], *files[8:14]]))
    expected = load(place / "run0", device="cpu").encode(files[:14])
    np.testing.assert_allclose(held.rows, expected, atol=1e-6)
    gone = files[3]
    assert index(place, gone, files[9], "--out", out, "--remove").returncode == 0
    left = ImageIndex.open(out)
    kept = [row for row in range(14) if row not in (3, 9)]
    np.testing.assert_array_equal(left.rows, held.rows[kept])
    assert str(gone) not in left.contents.names
    for given, code, told in (
        ((gone, "--remove"), 2, "holds no image"),
        ((gone, "--add", "--remove"), 2, "not both"),
        (("--remove",), 2, "takes the names"),
        (("--remove", "--part", "test"), 2, "takes the names"),
    ):
        refused = index(place, *given, "--out", out)
        assert (refused.returncode, told in refused.stderr) == (code, True)
    assert ImageIndex.open(out).contents == left.contents
    none = index(place, gone, "--out", tmp_path / "none" / "deep", "--add")
    assert (none.returncode, (tmp_path / "none").exists()) == (5, False)
    other = metricforge("index", place / "run1", gone, "--out", out, "--add")
    assert (other.returncode, "another model" in other.stderr) == (5, True)


def test_a_dataset_is_indexed_with_its_labels(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    done = index(place, "--part", "test", "--out", out)
    assert done.returncode == 0, done.stderr
    held = ImageIndex.open(out)
    assert held.contents.labels == ("8",) * 6 + ("9",) * 6
    query = sorted((place / "files" / "9").iterdir())[0]
    found = json.loads(
        metricforge("search", place / "run0", out, query, "-k", "1", "--json").stdout
    )
    assert (found[str(query)][0]["label"], found[str(query)][0]["name"]) == ("9", str(query))
    shown = metricforge("search", place / "run0", out, query, "-k", "1").stdout
    assert shown.splitlines()[1] == f"  0.000  9  {query}"
    listing = place / "some.csv"
    other = gallery(place)[0]
    paths = [path.relative_to(place) for path in (query, other)]
    listing.write_text(f"path,label\n{paths[0]},nine\n{paths[1]},five\n")
    assert index(place, listing, "--out", out, "--add").returncode == 0
    labels = dict(zip(*(lambda c: (c.names, c.labels))(ImageIndex.open(out).contents), strict=True))
    # The newer label of the file counts.
    assert (len(labels), labels[str(query)], labels[str(other)]) == (13, "nine", "five")
    # Files have none.
    assert index(place, gallery(place)[1], "--out", out, "--add").returncode == 0
    assert ImageIndex.open(out).contents.labels[-1] == ""


def test_images_in_memory_have_names_of_their_dataset(place: Path, tmp_path: Path) -> None:
    images = np.zeros((6, 16, 16), np.uint8)
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(6) // 2)
        words = ["--dataset", f"npz:path={tmp_path / name}.npz", "--out", tmp_path / "index"]
        done = index(place, *words, *(["--add"] if name == "two" else []))
        assert done.returncode == 0, done.stderr
    names = ImageIndex.open(tmp_path / "index").contents.names
    assert names == tuple(f"{name}[{n}]" for name in ("one", "two") for n in range(6))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name the images"),
        (["FILE", "FILE2", "--part", "test"], "and not both"),
        (["FILE", "--dataset", "glyphs"], "and not both"),
        (["--part", "test", "--broken", "skip"], "broken=skip"),
    ],
)
def test_images_and_a_dataset_do_not_go_together(
    place: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    files = dict(zip(("FILE", "FILE2"), gallery(place), strict=False))
    given = [files.get(word, word) for word in words]
    refused = index(place, *given, "--out", tmp_path / "index")
    assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "index").exists()


def test_an_index_of_an_earlier_format_has_no_labels(place: Path, tmp_path: Path) -> None:
    files = read_folder(place / "index")
    contents = json.loads(files["contents.json"])
    assert contents.pop("labels") == []
    files["contents.json"] = json.dumps(contents | {"format": 2}).encode()
    write_folder(tmp_path / "old", files)
    assert ImageIndex.open(tmp_path / "old").contents.labels == ()
    files["contents.json"] = json.dumps(contents | {"labels": ["a"]}).encode()
    write_folder(tmp_path / "odd", files)
    with pytest.raises(ArtefactError, match="24 names and 1 labels"):
        ImageIndex.open(tmp_path / "odd")
