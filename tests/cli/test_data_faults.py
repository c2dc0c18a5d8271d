"""Lines 23 to 38 of what it must survive: other people's data, through the real command.

Where a line is a refusal with several forms, the command is run for one of them and the public
API, whose errors are the command's, for the others. CSV rows and downloads are in test_csv.py and
test_train.py; what archives can hold in tests/data/test_archive.py.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from metricforge_standard.datasets.folder import folder as folder_dataset
from PIL import Image

import metricforge
from metricforge.errors import DataError
from tests.cli.process import metricforge as command
from tests.cli.process import start

MODES = ("1", "L", "LA", "RGBA", "P", "CMYK", "I;16", "RGB")
QUICK = ("--epochs", "1", "--sampler", "balanced:classes=2,per_class=2", "--backbone", "conv4",
         "--protocol", "retrieval")  # fmt: skip


def picture(seed: int, mode: str = "RGB", side: int = 20) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    return Image.fromarray(pixels).convert(mode)


def folder(root: Path, classes: int = 6, each: int = 4) -> Path:
    for label in range(classes):
        place = root / f"person {label * 3} ü"
        place.mkdir(parents=True)
        for image in range(each):
            picture(label * 100 + image).save(place / f"{image}.png")
    return root


def train(root: Path, **options: object) -> None:
    metricforge.train(
        dataset=f'folder:path="{root}",size=16', epochs=1, progress=False,
        out=root.parent / "run",
        **{"sampler": "balanced:classes=2,per_class=2", "protocols": "retrieval", **options},
    )  # fmt: skip


def bomb(side: int = 10_000) -> bytes:
    """A PNG of 100 megapixels in some ten kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.fault(23, 24, 27, 28, 29, 31, 34)
def test_a_strangers_folder_trains_and_says_what_was_done_with_it(tmp_path: Path) -> None:
    """23 one image; 24 an empty folder; 27 skipped; 28 ignored; 29 modes; 31 names; 34 paths."""
    root = tmp_path / "Fotos von früher, 1998"
    for number, mode in enumerate(MODES):
        place = root / "familie" / f"Straße {number} ・家"
        place.mkdir(parents=True)
        kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
        for image in range(4):
            name = f"{image} {'sehr ' * 30}lang.{'tif' if kind == 'TIFF' else 'png'}"
            picture(number * 10 + image, mode).save(place / name, kind)
    (root / "leer").mkdir()
    (root / "einzeln").mkdir()
    picture(999).save(root / "einzeln" / "scan", "PPM")
    (root / "einzeln" / ".DS_Store").write_bytes(b"?")
    (root / "notes.txt").write_text("by-file")
    broken = root / "familie" / "Straße 0 ・家" / "kaputt.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and nothing more")
    spec = f'folder:path="{root}",size=16'
    refused = command("train", "--dataset", spec, *QUICK, "--out", tmp_path / "r0")
    assert refused.returncode == 3
    assert str(broken) in refused.stderr
    done = command("train", "--dataset", f"{spec},broken=skip", *QUICK, "--out", tmp_path / "r1")
    assert done.returncode == 0, done.stderr
    for told in (
        "folders without images, which are no classes: 1 (leer)",
        "classes of one image, which no other can match: 1 (einzeln)",
        "images that can't be read, and were left out: 1 (",
        "become RGB, 16 x 16",
    ):
        assert told in done.stderr
    assert "trained" in done.stdout
    parts = json.loads((tmp_path / "r1" / "split.json").read_text())["parts"]
    names = [name for part in parts.values() for name in part["classes"]]
    assert sorted(names) == ["einzeln", *(f"familie/Straße {n} ・家" for n in range(len(MODES)))]


def test_a_zip_trains_as_it_is(tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    with zipfile.ZipFile(tmp_path / "people.zip", "w") as file:
        for path in sorted(root.rglob("*.png")):
            file.write(path, path.relative_to(tmp_path))
    spec = f"folder:path={tmp_path / 'people.zip'},size=16"
    out = tmp_path / "run"
    done = command("train", "--dataset", spec, *QUICK, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    test = json.loads(done.stdout)["test_classes"]
    assert set(test) <= {path.name for path in root.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"people", "people.zip", "run"}


@pytest.mark.parametrize("around", [".", "people"])
def test_a_tar_has_the_classes_of_the_folder_that_it_was_made_of(
    around: str, tmp_path: Path
) -> None:
    root = folder(tmp_path / "people")
    with tarfile.open(tmp_path / "people.tar.gz", "w:gz") as archive:
        archive.add(root, around)
    found = folder_dataset(path=tmp_path / "people.tar.gz")
    unpacked = folder_dataset(path=root)
    assert (found.name, found.classes) == (unpacked.name, unpacked.classes)
    assert found.labels.tolist() == unpacked.labels.tolist()


@pytest.mark.fault(25, 26)
def test_25_and_26_fewer_classes_than_asked_and_one_class(tmp_path: Path) -> None:
    root = folder(tmp_path / "few")
    with pytest.raises(DataError, match="classes"):
        train(root, sampler="balanced:classes=40,per_class=2")
    assert not (tmp_path / "run").exists()
    one = folder(tmp_path / "one", classes=1)
    with pytest.raises(DataError, match="images of one class only"):
        train(one)


@pytest.mark.fault(30)
def test_30_a_pixel_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    root = folder(tmp_path / "bombs")
    place = next(root.iterdir()) / "bomb.png"
    place.write_bytes(bomb())
    assert place.stat().st_size < 30_000
    done = command("train", "--dataset", f"folder:path={root}", *QUICK, "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "bomb.png" in done.stderr
    assert "refused as a decompression bomb" in done.stderr


@pytest.mark.fault(33)
def test_33_parts_that_share_a_class_are_refused_by_name(tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    train(root)
    path = tmp_path / "run" / "split.json"
    record = json.loads(path.read_text())
    shared = record["parts"]["train"]["classes"][0]
    record["parts"]["test"]["classes"].append(shared)
    (tmp_path / "bad.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=f"'{shared}' in train and test"):
        train(root, split=f"saved:path={tmp_path / 'bad.json'}", overwrite=True)
    train(root, split=f"saved:path={path}", overwrite=True)
    assert json.loads(path.read_text())["hash"] == record["hash"]


@pytest.mark.fault(35)
def test_35_a_link_out_of_the_folder_and_a_loop_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    picture(1).save(tmp_path / "secret.png")
    link = next(root.iterdir()) / "link.png"
    link.symlink_to(tmp_path / "secret.png")
    done = command("train", "--dataset", f"folder:path={root}", *QUICK, "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "leads out of the folder" in done.stderr
    link.unlink()
    link.symlink_to(root)
    with pytest.raises(DataError, match="is reached again through a link"):
        train(root)


@pytest.mark.fault(36, 37)
def test_36_and_37_hostile_archives_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    file = io.BytesIO()
    picture(1).save(file, "PNG")
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("a/1.png", "../../evil.png"):
            info = tarfile.TarInfo(name)
            info.size = len(file.getvalue())
            archive.addfile(info, io.BytesIO(file.getvalue()))
    done = command("train", "--dataset", f"folder:path={path}", *QUICK, "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "'../../evil.png'" in done.stderr
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.bmp", bytes(40 << 20))
    with pytest.raises(DataError, match="refused as a decompression bomb"):
        train(tmp_path / "bomb.zip")
    assert {each.name for each in tmp_path.iterdir()} == {"bomb.zip", "evil.tar"}


def test_a_pipe_in_the_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    for name in ("pipe.png", "pipe"):
        os.mkfifo(next(root.iterdir()) / name)
        done = command("data", "split", f"folder:path={root}", "--split", "random")
        assert done.returncode == 3
        assert f"{name}'; take them away" in done.stderr
        (next(root.iterdir()) / name).unlink()
    os.mkfifo(tmp_path / "pipe.zip")
    done = command("data", "split", f"folder:path={tmp_path / 'pipe.zip'}", "--split", "random")
    assert done.returncode == 3
    assert "is neither a folder nor a .zip or .tar" in done.stderr


def test_a_damaged_tar_and_a_lying_zip_end_with_3(tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    with tarfile.open(tmp_path / "people.tar", "w") as archive:
        archive.add(root, ".")
    content = (tmp_path / "people.tar").read_bytes()
    (tmp_path / "people.tar").write_bytes(content[: len(content.rstrip(b"\0")) // 2 // 512 * 512])
    done = command("data", "split", f"folder:path={tmp_path / 'people.tar'}", "--split", "random")
    assert done.returncode == 3
    assert "people.tar' can't be read (" in done.stderr
    with zipfile.ZipFile(tmp_path / "people.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a/1.bmp", bytes(1000))
    done = command("data", "split", f"folder:path={tmp_path / 'people.zip'}", "--split", "random")
    assert done.returncode == 3
    assert "only deflate is unpacked" in done.stderr


@pytest.mark.parametrize("option", ["cache={}/kept", "index={}/index.lines", "index={}/index.txt"])
def test_what_is_kept_may_not_lie_among_the_images(option: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    before = sorted(root.rglob("*"))
    spec = f"folder:path={root},{option.format(root)}"
    done = command("train", "--dataset", spec, *QUICK, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "lies in the folder of the images; name a place outside" in done.stderr
    assert sorted(root.rglob("*")) == before


def test_two_trainings_make_one_cache_and_one_index_at_once(tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    spec = f"folder:path={root},size=16,cache={tmp_path / 'cache'},index={tmp_path / 'index'}"
    words = ("train", "--dataset", spec, *QUICK, "--out")
    both = [start(*words, tmp_path / f"run {number}") for number in range(2)]
    for process in both:
        _, told = process.communicate()
        assert process.returncode == 0, told
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".u8"]


DEEP = "[" * 200_000


@pytest.mark.parametrize("content", [DEEP, '{"a":' * 200_000])
def test_what_is_nested_too_deep_is_a_damaged_artefact(content: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "people")
    for name in ("split.json", "index"):
        (tmp_path / name).write_text(content)
    saved = f"saved:path={tmp_path / 'split.json'}"
    done = command("data", "split", f"folder:path={root}", "--split", saved)
    assert done.returncode == 5
    assert "is no record of a split" in done.stderr
    done = command("data", "split", f"folder:path={root},index={tmp_path / 'index'}")
    assert done.returncode == 5
    assert "is no index of a folder" in done.stderr
    cache = tmp_path / "cache"
    train_words = ("train", "--dataset", f"folder:path={root},size=16,cache={cache}", *QUICK)
    assert command(*train_words, "--out", tmp_path / "run 0").returncode == 0
    (record,) = cache.glob("*.json")
    record.write_text(content)
    done = command(*train_words, "--out", tmp_path / "run 1")
    assert done.returncode == 5
    assert "is damaged; delete it" in done.stderr


def test_a_place_that_no_image_has_is_a_data_error(tmp_path: Path) -> None:
    root, out = folder(tmp_path / "people", each=6), tmp_path / "split.json"
    made = command("data", "split", f"folder:path={root}", "--split", "images", "--out", out)
    assert made.returncode == 0, made.stderr
    record = json.loads(out.read_text())
    for place in (2**70, -1, 10**6):
        record["parts"]["train"]["places"][0] = place
        out.write_text(json.dumps(record))
        done = command("data", "split", f"folder:path={root}", "--split", f"saved:path={out}")
        assert done.returncode == 3
        assert "names images that 'people' does not have" in done.stderr
