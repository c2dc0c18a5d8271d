"""Trees of folders: what is taken for an image, and an index that spares reading them again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from metricforge.data.folder_walk import walk
from metricforge.data.image_files import Chosen, Paths, names_below, names_of, sizes_of
from metricforge.data.skipped_files import asides
from metricforge.errors import ArtefactError, DataError


def image(path: Path, kind: str = "PNG", size: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), "red").save(path, kind)
    return path


def found(root: Path, index: Path | None = None) -> list[tuple[str, list[str]]]:
    return [
        (folder.path.relative_to(root).as_posix(), list(folder.names))
        for folder in walk(root, index)
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("1.PGM", "PPM"), ("1.pcx", "PCX"), ("1.tga", "TGA"), ("1.sgi", "SGI"),
     ("subject01.happy", "GIF"), ("scan", "TIFF"), ("photo.jpg.bak", "JPEG")],
)  # fmt: skip
def test_old_formats_and_images_without_an_extension_are_images(
    name: str, kind: str, tmp_path: Path
) -> None:
    image(tmp_path / "a" / name, kind)
    assert found(tmp_path) == [(".", []), ("a", [name])]


def test_a_document_is_no_image_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "drawing").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(DataError, match=r"1 file is neither images, .*: '.*drawing'; take"):
        found(tmp_path)


def test_a_very_deep_tree_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1_200):
        # Relative, since the whole path is longer than the system takes at once.
        Path("d").mkdir()
        monkeypatch.chdir("d")
    folders = found(tmp_path)
    # What is so deep, pytest could not clear away.
    for _ in range(1_200):
        monkeypatch.chdir("..")
        Path("d").rmdir()
    assert len(folders) == 1_201


def tree(root: Path) -> Path:
    for name in ("a/1.png", "a/2.png", "b/c/3.png", "b/c/4.png"):
        image(root / name)
    return root


def settled(root: Path) -> None:
    """Make all folders look as if they had not changed for a while."""
    for folder in (root, *[path for path in root.rglob("*") if path.is_dir()]):
        os.utime(folder, (1_000_000_000, 1_000_000_000))


def test_an_index_gives_the_same_and_reads_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, index = tree(tmp_path / "root"), tmp_path / "index.json"
    settled(root)
    first = list(walk(root, index))
    assert [list(each.names) for each in first] == [list(each.names) for each in walk(root)]
    sizes = [size for each in first for size in each.sizes or ()]
    assert sizes == [(folder.path / n).stat().st_size for folder in first for n in folder.names]
    monkeypatch.setattr(os, "scandir", None)
    assert [(e.path, list(e.names), list(e.sizes or ())) for e in walk(root, index)] == [
        (e.path, list(e.names), list(e.sizes or ())) for e in first
    ]


def test_an_index_notices_what_is_added_and_removed(tmp_path: Path) -> None:
    root, index = tree(tmp_path / "root"), tmp_path / "index.json"
    settled(root)
    found(root, index)
    image(root / "b" / "c" / "5.png")
    (root / "a" / "1.png").unlink()
    image(root / "new" / "6.png")
    assert found(root, index) == found(root)
    # Folders that changed a moment ago are read again: a second change would not show.
    assert '["b/c", 0,' in index.read_text()
    image(root / "b" / "c" / "7.png")
    assert found(root, index) == found(root)


def test_links_are_looked_at_each_time(tmp_path: Path) -> None:
    root, index = tree(tmp_path / "root"), tmp_path / "index.json"
    (root / "a" / "link.png").symlink_to(root / "b" / "c" / "3.png")
    settled(root)
    assert found(root, index) == found(root)
    (root / "b" / "c" / "3.png").rename(root / "b" / "c" / "8.png")
    settled(root)
    with pytest.raises(DataError, match=r"link\.png' leads nowhere"):
        found(root, index)


@pytest.mark.parametrize("content", ["", "{}", "[]\n", "\x00", '{"format": "other"}\n'])
def test_what_is_no_index_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ArtefactError, match="is no index of a folder"):
        found(tree(tmp_path / "root"), tmp_path / "index.json")


@pytest.mark.parametrize(
    "line",
    [
        '["a", 9, [], ["1.png"], [1180591620717411303424]]', '["a", 9, [], ["1.png"], [Infinity]]',
        '["a", Infinity, [], [], []]', '["a", null, [], [], []]', '["a", 9, [], ["1.png"], [1.5]]',
        '["a", 9, [], ["\\ud800"], [7]]', '["a", 9, [], ["a\\u0000"], [7]]',
        '["a", 9, ["\\udcff"], [], []]', '["a", 9, [], "12", [7, 7]]', '["a", 9, {}, [], []]',
        '["a", 9, [], []]', '["a", 9, [], [7], [7]]', "[" * 200_000,
    ],
)  # fmt: skip
def test_an_index_with_a_malformed_line_is_refused(line: str, tmp_path: Path) -> None:
    root, index = tree(tmp_path / "root"), tmp_path / "index.json"
    settled(root)
    found(root, index)
    index.write_text(index.read_text() + line + "\n")
    with pytest.raises(ArtefactError, match="is no index of a folder"):
        found(root, index)


STRAY_FOLDERS = ("@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "__MACOSX", "lost+found",
                 "System Volume Information", "__pycache__", ".ipynb_checkpoints")  # fmt: skip
STRAY_FILES = (
    "Icon\r", "ehthumbs.db", "1.cr3", "1.docx", "1.xlsx", "1.py", "1.ipynb", "1.pkl", "1.pth",
    "1.npy", "1.npz", "1.svg", "1.psd", "1.part", "1.crdownload", "1.lnk", "1.mkv", "1.mp4",
)  # fmt: skip


@pytest.mark.fault(102)
@pytest.mark.parametrize("name", [*STRAY_FOLDERS, *STRAY_FILES])
def test_what_systems_and_programs_leave_beside_images_is_skipped(
    name: str, tmp_path: Path
) -> None:
    image(tmp_path / "a" / "1.png")
    if name in STRAY_FOLDERS:
        image(tmp_path / "a" / name / "2.png")
        image(tmp_path / name / "b" / "3.png")
    else:
        (tmp_path / "a" / name).write_bytes(b"?")
    assert found(tmp_path) == [(".", []), ("a", ["1.png"])]
    if not name.startswith("."):
        assert any("skipped" in note or "not read" in note for note in asides(tmp_path))


@pytest.mark.fault(102)
def test_all_unknown_files_are_named_at_once_or_collected(tmp_path: Path) -> None:
    image(tmp_path / "a" / "1.png")
    for name in ("a/x.exe", "a/y.zip", "b/z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    names = [f"'{tmp_path / name}'" for name in ("a/x.exe", "a/y.zip", "b/z")]
    with pytest.raises(DataError, match=f"^3 files are .*: {', '.join(names)}; take them away"):
        found(tmp_path)
    unknown: list[Path] = []
    folders = list(walk(tmp_path, unknown=unknown))
    assert [list(folder.names) for folder in folders] == [[], ["1.png"], []]
    assert [f"'{path}'" for path in unknown] == names
    for number in range(9):
        (tmp_path / "a" / f"{number}.exe").write_bytes(b"?")
    with pytest.raises(DataError, match=r"^12 files are .*4\.exe', \.\.\.; take them"):
        found(tmp_path)
    # An index holds no such folder, so that they are found each time.
    for _ in range(2):
        unknown = []
        list(walk(tmp_path, tmp_path.parent / "index", unknown=unknown))
        assert len(unknown) == 12


@pytest.mark.parametrize("kind", ["README", "license", "Copying", "Thumbs.db"])
def test_a_folder_may_be_called_as_a_by_file_is(kind: str, tmp_path: Path) -> None:
    image(tmp_path / kind / "1.png")
    (tmp_path / kind / "LICENSE").write_text("mine")
    (tmp_path / kind / "readme").symlink_to("/nowhere")
    assert found(tmp_path) == [(".", []), (kind, ["1.png"])]


def test_a_pipe_or_a_socket_is_refused_and_not_opened(tmp_path: Path) -> None:
    for name in ("pipe", "pipe.png"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match=f"1 file is neither images, .*: '{tmp_path / name}'"):
            found(tmp_path)
        (tmp_path / name).unlink()


def test_of_two_ways_to_a_folder_none_is_taken(tmp_path: Path) -> None:
    tree(tmp_path)
    for link, target in (("z", "a"), ("0", "b/c"), ("b/c/up", "a")):
        (tmp_path / link).symlink_to(tmp_path / target)
        with pytest.raises(DataError, match="is reached again through a link"):
            found(tmp_path)
        (tmp_path / link).unlink()
    # Two links each to the next folder, which was walked twice as often as the one before.
    for number in range(40):
        (tmp_path / f"x{number}").mkdir()
        for name in "pq":
            (tmp_path / f"x{number}" / name).symlink_to(tmp_path / f"x{number + 1}")
    (tmp_path / "x40").mkdir()
    with pytest.raises(DataError, match="is reached again through a link"):
        found(tmp_path)


def test_an_index_does_not_lead_out_and_is_of_one_folder(tmp_path: Path) -> None:
    root, index = tree(tmp_path / "root"), tmp_path / "index.json"
    settled(root)
    found(root, index)
    whole = index.read_text()
    index.write_text(whole.replace('"2.png"', '"../../evil.png"'))
    with pytest.raises(ArtefactError):
        found(root, index)
    index.write_text(whole)
    other = tmp_path / "other"
    image(other / "z" / "9.png")
    assert found(other, index) == [(".", []), ("z", ["9.png"])]


def test_paths_are_a_sequence_of_paths(tmp_path: Path) -> None:
    paths = Paths()
    paths.add(tmp_path / "a", ["1.png", "ü 2.png"])
    paths.add(tmp_path / "none", [])
    paths.add(tmp_path / "b", ["3.png"])
    wanted = [tmp_path / "a/1.png", tmp_path / "a/ü 2.png", tmp_path / "b/3.png"]
    assert list(paths) == wanted
    assert paths[-1] == wanted[-1]
    assert paths[1:] == wanted[1:]
    assert list(names_of(paths)) == list(map(str, wanted))
    assert list(names_below(paths)) == ["a/1.png", "a/ü 2.png", "b/3.png"]
    with pytest.raises(IndexError):
        paths[3]
    assert list(Chosen(paths, [2, 0])) == [wanted[2], wanted[0]]
    with pytest.raises(DataError, match="can't be opened"):
        list(sizes_of(paths))


def test_paths_may_be_added_one_by_one(tmp_path: Path) -> None:
    wanted = [tmp_path / name for name in ("b/1.png", "b/2.png", "a/3.png", "b/4.png")]
    paths = Paths()
    for path in wanted:
        paths.append(path)
    assert list(paths) == wanted
    assert list(names_of(paths)) == list(map(str, wanted))


def test_a_known_size_is_taken_as_it_is(tmp_path: Path) -> None:
    paths = Paths()
    paths.add(tmp_path, ["gone.png"], [17])
    assert list(sizes_of(paths)) == [17]
