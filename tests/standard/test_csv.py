"""The dataset `csv`: files as users and other programs write them, and what is wrong with some."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from metricforge_standard.datasets._listing import read_listing
from metricforge_standard.datasets.csv_file import csv
from PIL import Image

from metricforge.contracts import TEST, TRAIN, VALIDATION, Dataset
from metricforge.data.images import open_images
from metricforge.errors import DataError, UsageError
from metricforge.recipes.components import make_dataset
from metricforge.registry import Registry
from metricforge.spec import Spec
from tests.cli.process import metricforge

REGISTRY = Registry.installed()
OML = "label,path,split,is_query,is_gallery,category,x_1,x_2,y_1,y_2"


def draw(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with images 1.png to 6.png."""
    for number in range(1, 7):
        draw(tmp_path / f"{number}.png", number)
    return tmp_path


def write(root: Path, *lines: str) -> Path:
    path = root / "photos.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def opened(path: Path, options: str = "") -> Dataset:
    return make_dataset(REGISTRY, Spec.parse(f"csv:path={path}{options}"), "nowhere")


def read(root: Path, *lines: str) -> Dataset:
    return opened(write(root, *lines))


def names(dataset: Dataset) -> list[str]:
    return [path.name for path in dataset.images]  # type: ignore[union-attr]


# ---------------------------------------------------------------- what is read


def test_images_and_labels_are_those_of_the_rows(root: Path) -> None:
    dataset = read(root, "path,label", "2.png,dog", "1.png,cat", "4.png,dog", "3.png,cat")
    assert dataset.name == "photos"
    assert names(dataset) == ["2.png", "1.png", "4.png", "3.png"]
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    assert dataset.shape == (3, 64, 64)
    assert (dataset.groups, dataset.group_names, dataset.official) == (None, (), None)
    assert (dataset.queries, dataset.gallery) == (None, None)
    assert dataset.notes == ("images (PNG RGB; 8 x 8 pixels) become RGB, 64 x 64.",)
    assert open_images(dataset).shape == (3, 64, 64)
    assert opened(root / "photos.csv", ",size=8,color=false").shape == (1, 8, 8)


def test_labels_stay_as_they_are_written_in_natural_order(root: Path) -> None:
    dataset = read(root, "label,path", "3.0,1.png", "10,2.png", "3,3.png", '"a, ü",4.png')
    assert dataset.classes == ("3", "10", "3.0", "a, ü")
    assert dataset.labels.tolist() == [2, 1, 0, 3]
    assert dataset.notes[:-1] == (
        "classes of one image, which no other can match: 4 (3, 10, 3.0, a, ü).",
    )


def test_paths_are_below_the_file_or_a_folder_that_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(root / "list" / "a b" / "ü 1.png", 7)
    lines = ("path,label", "a b/ü 1.png,x", "../2.png,x", f"{root / '3.png'},y", "./../4.png,y")
    path = write(root / "list", *lines)
    monkeypatch.chdir(root)
    (root / "list" / "3.png").symlink_to(root / "3.png")
    with pytest.raises(DataError, match=r"csv:3 names the image '\.\./2\.png', which lies outside"):
        opened(path)
    lines = ("path,label", "list/a b/ü 1.png,x", "list/../2.png,x", f"{root / '3.png'},y",
             "list/3.png,y", "./4.png,y")  # fmt: skip
    dataset = opened(write(root / "list", *lines).relative_to(root), ',images="."')
    assert names(dataset) == ["ü 1.png", "2.png", "3.png", "3.png", "4.png"]
    assert len(open_images(dataset)) == 5


LEADING_OUT = ["../secret.png", "/{above}/secret.png", "link.png", "up/secret.png", "up/1.png"]


@pytest.mark.parametrize("cell", LEADING_OUT)
def test_no_path_leads_out_of_the_folder(root: Path, cell: str) -> None:
    inner = root / "inner"
    draw(inner / "1.png", 1)
    draw(root / "secret.png", 2)
    (inner / "link.png").symlink_to(root / "secret.png")
    (inner / "up").symlink_to(root)
    path = write(inner, "path,label", "1.png,a", f"{cell.format(above=str(root)[1:])},b")
    with pytest.raises(DataError, match=r":3 names the image .* (lies outside|is no file)"):
        opened(path)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_spreadsheets_semicolons_and_tabs_are_read(root: Path, separator: str) -> None:
    lines = ["path,label,group", "1.png,a,x", '2.png,"b, c",x', "3.png,a,y"]
    path = root / "list.csv"
    text = "\r\n".join(line.replace(",", separator) for line in lines)
    path.write_bytes(text.encode("utf-8-sig"))
    assert csv(path=path).classes == ("a", f"b{separator} c")


def test_another_encoding_is_named(root: Path) -> None:
    path = root / "list.csv"
    path.write_text("path,label\n1.png,a\n2.png,b\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"is no text in UTF-8 \(it is in UTF-16\); save it"):
        csv(path=path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_any_line_end_and_blank_lines_are_read(root: Path, end: str) -> None:
    lines = ["path,label", "1.png,a", "", '"2.png","b', 'c"', "3.png,a", ""]
    path = root / "of a spreadsheet.csv"
    path.write_bytes(end.join(lines).encode("utf-8-sig"))
    dataset = csv(path=path)
    assert dataset.classes == ("a", f"b{end}c")
    assert dataset.labels.tolist() == [0, 1, 0]


def test_the_split_is_the_official_one(root: Path) -> None:
    rows = [
        f"{n}.png,{n % 2},{part}"
        for n, part in enumerate(("train", "Val", "validation", "test"), 1)
    ]
    dataset = read(root, "path,label,split", *rows)
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN, VALIDATION, VALIDATION, TEST]
    # Both classes are in two parts: the default split holds classes out, and the file does not.
    assert len(dataset.notes) == 2
    assert dataset.notes[0].startswith("2 (0, 1) of the classes of ")
    assert "--split official takes it all the same, as a closed set" in dataset.notes[0]


def test_without_test_rows_those_of_validation_are_the_test_part(root: Path) -> None:
    rows = [
        f"{n}.png,{'abc'[(n - 1) // 2]},{'train' if n < 5 else 'validation'}" for n in range(1, 7)
    ]
    dataset = read(root, "path,label,split", *rows)
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 4 + [TEST] * 2
    note, _ = dataset.notes
    assert note == (
        f"no row of '{root / 'photos.csv'}' is of the split test, so those of validation are "
        "the test part."
    )


def test_groups_are_those_of_their_column_or_of_omls(root: Path) -> None:
    dataset = read(root, "path,label,group", "1.png,a,z", "2.png,a,y", "3.png,b,z")
    assert dataset.group_names == ("y", "z")
    assert dataset.groups is not None
    assert dataset.groups.tolist() == [1, 0, 1]
    both = read(root, "path,label,category,group", "1.png,a,k,y", "2.png,b,l,z", "3.png,b,l,z")
    assert both.group_names == ("y", "z")
    assert f"columns of '{root / 'photos.csv'}' that are not used: category." in both.notes
    for value in ("all", "", "nan"):
        alone = read(root, "path,label,category", f"1.png,a,{value}", f"2.png,b,{value}")
        assert (alone.groups, alone.group_names) == (None, ())


def test_flags_are_read_as_pandas_and_people_write_them(root: Path) -> None:
    cells = [("True", "0"), ("1.0", "FALSE"), ("false", "1"), ("", "true"), ("nan", "NaN")]
    rows = [f"{n}.png,{n % 2},{ask},{found}" for n, (ask, found) in enumerate(cells, 1)]
    dataset = read(root, "path,label,is_query,is_gallery", *rows, "6.png,0,0.0,0")
    assert dataset.queries is not None
    assert dataset.gallery is not None
    assert dataset.queries.tolist() == [True, True, False, False, False, False]
    assert dataset.gallery.tolist() == [False, False, True, True, False, False]
    assert dataset.notes[:-1] == ("test rows that are neither query nor gallery, and not used: 2.",)


def test_without_flags_to_test_each_image_asks_for_all_others(root: Path) -> None:
    dataset = read(root, "path,label,is_query,is_gallery", "1.png,a,,", "2.png,a,,", "3.png,b,,")
    assert dataset.notes[1:-1] == (
        f"'{root / 'photos.csv'}' marks no row to test as query or gallery: every row queries all "
        "others.",
    )


def test_other_columns_are_named(root: Path) -> None:
    dataset = read(root, ",path,label,sequence,sequence", "0,1.png,a,s,t", "1,2.png,b,s,t")
    assert dataset.notes[1:-1] == (
        f"columns of '{root / 'photos.csv'}' that are not used: one without a name, sequence, "
        "sequence.",
    )


def test_omls_format_is_read(root: Path) -> None:
    dataset = read(
        root, OML, "3,1.png,train,,,shirts,,,,", "3,2.png,train,,,shirts,nan,nan,nan,nan",
        "5,3.png,train,,,hats,,,,", "5,4.png,train,,,hats,,,,",
        "4,5.png,validation,True,False,hats,,,,", "4,6.png,validation,False,True,hats,,,,",
    )  # fmt: skip
    assert dataset.classes == ("3", "4", "5")
    assert dataset.group_names == ("hats", "shirts")
    assert dataset.queries is not None
    assert dataset.queries.nonzero().flatten().tolist() == [4]
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 4 + [TEST] * 2
    # The rows of the train part are neither query nor gallery, which is as it should be.
    assert len(dataset.notes) == 2


# ---------------------------------------------------------------- what is refused

ROWS = [
    ("path,label", "3.png,", "has no label"),
    ("path,label", "3.png,  ", "has no label"),
    ("path,label", "3.png,NaN", "has no label"),
    ("path,label", ",c", "has no path"),
    ("path,label", "9.png,c", r"names the image '9\.png', which is no file .*begin at '/.*'"),
    ("path,label", ".,c", r"names the image '\.', which is no file"),
    ("path,label", "x" * 300 + ",c", "names the image 'x+', which can't be reached"),
    ("path,label", "./1.png,c", "names the image of row 2 again"),
    ("path,label", "3.png", "has 1 cells, but the header 2"),
    ("path,label", '3.png,"c', r"is no row of a CSV \(unexpected end of data\); mend its quotes"),
    ("path,label", '3.png,"c"d', "is no row of a CSV"),
    ("path,label", "3.png,a,b", "has 3 cells, but the header 2"),
    ("path,label,split", "3.png,c,dev", "has 'dev' for split; choices: train, validation, val"),
    ("path,label,split", "3.png,c,", "has '' for split"),
    ("path,label,group", "3.png,c,", "has no group, as other rows have"),
    ("path,label,is_query,is_gallery", "3.png,c,maybe,1", "has 'maybe' for is_query; choices: t"),
    ("path,label,is_query,is_gallery", "3.png,c,1,2", "has '2' for is_gallery"),
    ("path,label,x_1", "3.png,c,0", "has a bounding box: crops aren't supported yet"),
    ("path,label,y_2", "3.png,c,12.0", "has a bounding box: crops aren't supported yet"),
]
FILL = {"split": "train", "group": "g", "is_query": "1", "is_gallery": "1", "x_1": "", "y_2": ""}


@pytest.mark.fault(32)
@pytest.mark.parametrize(("header", "row", "told"), ROWS)
def test_a_row_that_can_not_be_used_is_named(root: Path, header: str, row: str, told: str) -> None:
    more = "".join(f",{FILL[column]}" for column in header.split(",")[2:])
    path = write(root, header, f"1.png,a{more}", "", f"2.png,b{more}", row, f"4.png,d{more}")
    with pytest.raises(DataError, match=f"^{path}:5 {told}"):
        opened(path)


def test_the_row_is_the_line_it_begins_in(root: Path) -> None:
    path = write(root, "path,label", '1.png,"a', 'b"', '9.png,"a', 'b"')
    with pytest.raises(DataError, match=f"^{path}:4 names the image"):
        opened(path)


def test_an_image_of_another_spelling_is_the_same(root: Path) -> None:
    path = write(root, "path,label", "1.png,a", "2.png,b", f"{root}/../{root.name}/1.png,b")
    with pytest.raises(DataError, match=r":4 names the image of row 2 again, '.*1\.png'; keep one"):
        opened(path)


def test_a_row_takes_little_memory(root: Path) -> None:
    for number in range(10_000):
        (root / f"the image number {number:08d}.png").hardlink_to(root / "1.png")
    rows = [f"the image number {n:08d}.png,the class {n % 100}" for n in range(10_000)]
    path = write(root, "path,label", *rows)

    def most() -> int:
        tracemalloc.start()
        try:
            assert len(read_listing(path).columns["path"]) == 10_000
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # The first time Python's table of interned names may grow, which is of the process: by 4 MB.
    assert min(most(), most()) < 150 * 10_000


HEADERS = [
    ("path,Label,other", "has no column 'label'; it has 'path', 'Label', 'other'"),
    ("file;label", "has no column 'path' and no 'label'; it has 'file;label'"),
    ("path,label,path", "has the column 'path' twice"),
    ("path,label,category,category", "has the column 'category' twice"),
    ("path,label,is_query", "has the column 'is_query' alone; give both or neither"),
    ("path,label,is_gallery", "has the column 'is_gallery' alone; give both or neither"),
]


@pytest.mark.parametrize(("header", "told"), HEADERS)
def test_a_header_that_can_not_be_used_tells_what_it_has(
    root: Path, header: str, told: str
) -> None:
    path = write(root, header)
    with pytest.raises(DataError, match=f"^'{path}' {told}"):
        opened(path)


FILES = [
    (b"", "has no column 'path' and no 'label'; it has none"),
    (b"path,label\n", "has no images; it needs images of two classes or more"),
    (b"path,label\n1.png,a\n2.png,a\n", "has images of one class only, 'a'; it needs"),
    ("path,label\n1.png,ü\n2.png,b\n".encode("latin-1"), "is no text in UTF-8"),
    (b"path,label,is_query,is_gallery\n1.png,a,1,\n2.png,b,1,\n", "has queries to test and no gal"),
    (b"path,label,is_query,is_gallery\n1.png,a,,1\n2.png,b,,1\n", "has a gallery to test and no q"),
]


@pytest.mark.parametrize(("content", "told"), FILES)
def test_a_file_that_can_not_be_used_says_why(root: Path, content: bytes, told: str) -> None:
    path = root / "photos.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^'{path}' {told}"):
        opened(path)


def test_the_options_are_checked(root: Path) -> None:
    with pytest.raises(DataError, match=r"'path' of dataset 'csv': '.*gone' does not exist"):
        opened(root / "gone")
    with pytest.raises(DataError, match=r"'path' of dataset 'csv': '.*' is no file"):
        opened(root)
    with pytest.raises(UsageError, match=r"'size' of dataset 'csv' is 1 to 4,096 pixels, not 0"):
        opened(root / "gone", ",size=0")


# ---------------------------------------------------------------- the command


def of_oml(root: Path) -> Path:
    """Eight classes of six images as OML lists them, the last three in its validation part."""
    rows = []
    for number in range(48):
        draw(root / "images" / f"{number}.png", number)
        kind, turn = divmod(number, 6)
        part = "train,," if kind < 5 else f"validation,{turn < 2},{turn >= 2}"
        rows.append(f"{kind}.0,images/{number}.png,{part},c{kind % 2},,,,")
    return write(root, OML, *rows)


def test_the_command_trains_and_tests_on_a_csv(tmp_path: Path) -> None:
    path, out = of_oml(tmp_path), tmp_path / "run"
    done = metricforge(
        "train", "--dataset", f"csv:path={path},size=16", "--split", "official", "--sampler",
        "hard-triplet:classes=2,per_class=2", "--epochs", 1, "--orientations", 1, "--protocol",
        "retrieval", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "those of validation are the test part" in " ".join(done.stderr.split())
    summary = json.loads((out / "summary.json").read_text())
    assert summary["test_classes"] == ["5.0", "6.0", "7.0"]
    # A category, c0, validates whole.
    parts = json.loads((out / "split.json").read_text())["parts"]
    assert [parts[part]["images"] for part in ("train", "validation", "test")] == [12, 18, 18]
    # Of the six images of a class two are queries and four the gallery.
    assert summary["results"]["trained"]["recall@1"]["n"] == 6


@pytest.mark.fault(32)
def test_the_command_refuses_a_row_with_exit_code_3(tmp_path: Path) -> None:
    path = of_oml(tmp_path)
    path.write_text(path.read_text().replace("0.0,images/3.png", ",images/3.png"))
    done = metricforge("train", "--dataset", f"csv:path={path}", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert f"{path}:5 has no label" in done.stderr
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- what other programs add


@pytest.mark.fault(103)
@pytest.mark.parametrize("first", ["sep=;", "SEP=;", "\ufeffsep=;"])
def test_the_first_line_by_which_excel_names_the_separator_is_read(root: Path, first: str) -> None:
    dataset = read(root, first, "path;label", "2.png;dog", "1.png;cat")
    assert (names(dataset), dataset.classes) == (["2.png", "1.png"], ("cat", "dog"))
    with pytest.raises(DataError, match=r"photos\.csv:4 names the image 'gone\.png'"):
        read(root, first, "path;label", "2.png;dog", "gone.png;cat")


@pytest.mark.fault(103)
@pytest.mark.parametrize("last", ["", "  ", "\x1a", " , ", "\t,"])
def test_a_last_line_of_blanks_or_the_end_mark_of_dos_is_no_row(root: Path, last: str) -> None:
    dataset = read(root, "path,label", "2.png,dog", "1.png,cat", last, last)
    assert names(dataset) == ["2.png", "1.png"]
    if last:
        with pytest.raises(DataError, match=r"photos\.csv:3 has "):
            read(root, "path,label", "2.png,dog", last, "1.png,cat")


@pytest.mark.fault(103)
def test_a_path_with_backslashes_is_told_to_be_written_with_slashes(root: Path) -> None:
    draw(root / "pets" / "7.png", 7)
    with pytest.raises(DataError, match=r"'pets\\7\.png', .*; write / for \\ between folders"):
        read(root, "path,label", "pets\\7.png,dog", "1.png,cat")
    with pytest.raises(DataError, match="is no file that is there") as refused:
        read(root, "path,label", "pets/8.png,dog", "1.png,cat")
    assert "write /" not in str(refused.value)


@pytest.mark.fault(103)
def test_a_tilde_is_the_home_of_the_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "path,label", "2.png,dog", "1.png,cat")
    monkeypatch.setenv("HOME", str(root))
    assert len(opened(Path("~/photos.csv"), ",images=~/")) == 2
    monkeypatch.chdir(root)
    (root / "~nobody.csv").write_bytes((root / "photos.csv").read_bytes())
    assert len(opened(Path("~nobody.csv"))) == 2


def test_an_image_that_is_reached_by_two_folders_is_listed_twice(tmp_path):
    """A link to a folder is another path to the same image."""
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    rows = [f"photos/{n}.png,{'ab'[n % 2]}" for n in range(4)]
    (tmp_path / "x.csv").write_text("\n".join(["path,label", *rows, "link/1.png,a"]))
    with pytest.raises(DataError, match=r"x\.csv:6 names the image of row 3 again"):
        csv(path=tmp_path / "x.csv")
