"""Images in zip and tar files: read where they are, and nothing written anywhere."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from metricforge.data import archive_members, tar_archive
from metricforge.data.archive import below_shared, is_archive, read_archive, without_suffix
from metricforge.data.decode import read_image
from metricforge.errors import DataError


def png(level: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), level).save(file, "PNG")
    return file.getvalue()


FILES = {"photos/b/2.png": png(2), "photos/a/1.png": png(1), "photos/b/unknown": png(3),
         "photos/.hidden/4.png": png(4), "__MACOSX/photos/a/._1.png": b"?",
         "photos/labels.csv": b"x"}  # fmt: skip
FOUND = ["photos/a/1.png", "photos/b/2.png", "photos/b/unknown"]


def zipped(path: Path, files: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for info in more:
            file.addfile(info)
    return path


KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"]


def packed(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    return (zipped if name.endswith(".zip") else tarred)(folder / name, files)


@pytest.mark.parametrize("kind", KINDS)
def test_the_images_of_an_archive_are_found_and_read(kind: str, tmp_path: Path) -> None:
    path = packed(tmp_path, kind, FILES)
    assert is_archive(path)
    members = read_archive(path)
    assert [member.path for member in members] == FOUND
    assert [member.name for member in members] == [f"{path}/{name}" for name in FOUND]
    assert [member.size for member in members] == [len(FILES[name]) for name in FOUND]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda member: read_image(member, (1, 1, 1)), [*members] * 20))
    assert [int(image) for image in images] == [1, 2, 3] * 20
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["../out.png", "/etc/out.png", "a/../../out.png", "C:/out.png", "a\\..\\out.png"]
)
def test_a_member_that_leads_out_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    path = packed(tmp_path, kind, {"a/1.png": png(), name: png()})
    with pytest.raises(DataError, match="leads out of the archive"):
        read_archive(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.fault(103)
@pytest.mark.parametrize("kind", KINDS)
def test_backslashes_part_folders_as_old_tools_of_windows_write_them(
    kind: str, tmp_path: Path
) -> None:
    names = ["photos\\a\\1.png", "photos\\b\\2.png", "photos/b/unknown", "photos\\.hidden\\4.png"]
    path = packed(tmp_path, kind, {name: png() for name in names})
    assert [member.path for member in read_archive(path)] == FOUND
    assert read_image(read_archive(path)[0], (1, 1, 1)).shape == (1, 1, 1)
    for name in ("a\\1.png", "..\\1.png", "\\1.png", "C:\\1.png"):
        told = "is there twice" if name == "a\\1.png" else "leads out of the archive"
        with pytest.raises(DataError, match=told):
            read_archive(packed(tmp_path, kind, {"a/1.png": png(), name: png()}))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_a_link_or_device_in_a_tar_is_refused(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("a/2.png")
    info.type, info.linkname = kind, "/etc/passwd"
    for name in ("a.tar", "a.tar.gz"):
        path = tarred(tmp_path / name, {"a/1.png": png()}, info)
        with pytest.raises(DataError, match=r"'a/2\.png' in '.*' is a link, a device"):
            read_archive(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_device_in_a_zip_is_refused(kind: int, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a/2.png")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=r"'a/2\.png' in '.*' is a link or a device"):
        read_archive(tmp_path / "a.zip")


def test_bombs_are_refused_by_size_ratio_and_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = zipped(tmp_path / "ratio.zip", {"a/1.bmp": bytes(17 << 20)})
    with pytest.raises(DataError, match=r"'a/1\.bmp' unpacks to .* decompression bomb"):
        read_archive(bomb)
    many = {f"a/{n}.bmp": bytes(1 << 20) for n in range(20)}
    with pytest.raises(DataError, match=r"all that it holds unpacks to .* decompression bomb"):
        read_archive(zipped(tmp_path / "whole.zip", many))
    monkeypatch.setattr(archive_members, "LARGEST_FILE", 1_000)
    for name in ("size.zip", "size.tar", "size.tar.gz"):
        with pytest.raises(DataError, match="unpacks to 2,000 bytes, more than any image"):
            read_archive(packed(tmp_path, name, {"a/1.bmp": bytes(2_000)}))
    monkeypatch.setattr(archive_members, "MOST_FILES", 5)
    for name in ("count.zip", "count.tar"):
        with pytest.raises(DataError, match="more than 5 files"):
            read_archive(packed(tmp_path, name, FILES))


def test_a_compressed_tar_is_not_read_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_archive, "MOST_IN_MEMORY", 50_000)
    path = tarred(tmp_path / "a.tar.gz", {f"a/{n}.bmp": bytes(9_000) for n in range(6)})
    with pytest.raises(DataError, match=r"decompress it to a \.tar, or make it a \.zip"):
        read_archive(path)
    # A header, not a member, that unpacks to more than there is memory for.
    info = tarfile.TarInfo("a/1.png")
    info.pax_headers = {"comment": "x" * 200_000}
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info)
    with pytest.raises(DataError, match=r"decompress it to a \.tar"):
        read_archive(tmp_path / "b.tar.gz")


def test_what_else_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'a/x\.exe' in '.*' is no image"):
        read_archive(zipped(tmp_path / "a.zip", {"a/x.exe": b"MZ"}))
    with pytest.raises(DataError, match=r"'a/1\.png' in '.*' is there twice"):
        read_archive(tarred(tmp_path / "b.tar", {"a/1.png": png()}, *_doubled()))
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"c\.zip' can't be read"):
        read_archive(tmp_path / "c.zip")
    whole = zipped(tmp_path / "d.zip", {"a/1.png": png()}, compression=zipfile.ZIP_STORED)
    content = bytearray(whole.read_bytes())
    content[content.index(b"IDAT") + 5] ^= 255
    whole.write_bytes(content)
    (member,) = read_archive(whole)
    with pytest.raises(DataError, match=r"'a/1\.png' in '.*d\.zip' can't be read \(Bad CRC"):
        member.read()


def _doubled() -> list[tarfile.TarInfo]:
    return [tarfile.TarInfo("a/1.png")]


def lying(path: Path, size: int) -> Path:
    """The zip, whose directory now gives its first member this size."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a/1.bmp", "a/unknown"])
@pytest.mark.parametrize("method", ["STORED", "DEFLATED", "BZIP2", "LZMA"])
def test_a_directory_that_lies_about_a_size_is_not_believed(
    method: str, name: str, tmp_path: Path
) -> None:
    compression = getattr(zipfile, f"ZIP_{method}")
    whole = zipped(tmp_path / "a.zip", {name: bytes(64 << 20)}, compression=compression)
    path = lying(whole, 1_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"its directory says|only deflate is unpacked"):
            read_archive(path)[0].read()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_directory_that_gives_too_large_a_size_is_not_believed(tmp_path: Path) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = lying(zipped(tmp_path / "a.zip", {"a/1.png": png()}, compression=compression), 999)
        with pytest.raises(DataError, match=r"'a/1\.png' in '.*' can't be read"):
            read_archive(path)[0].read()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", ["./a/1.png", "a//1.png", "a/./1.png"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_that_is_there_twice_by_another_spelling_is_refused(
    kind: str, other: str, tmp_path: Path
) -> None:
    path = packed(tmp_path, kind, {"a/1.png": png(), other: png(1)})
    with pytest.raises(DataError, match=r"'a/1\.png' in '.*' is there twice"):
        read_archive(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_in_a_name_does_not_lead_out(kind: str, tmp_path: Path) -> None:
    path = packed(tmp_path, kind, {"10:30/0.png": png()})
    assert [member.path for member in read_archive(path)] == ["10:30/0.png"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_may_be_called_as_a_by_file_is(kind: str, tmp_path: Path) -> None:
    files = {f"{name}/1.png": png() for name in ("License", "readme", "copying", "__MACOSX")}
    path = packed(tmp_path, kind, {**files, "readme/LICENSE": b"?"})
    found = [member.path for member in read_archive(path)]
    assert found == ["License/1.png", "copying/1.png", "readme/1.png"]


@pytest.mark.parametrize("count", [700, pytest.param(65_600, marks=pytest.mark.exhaustive)])
def test_a_large_zip_is_read_by_its_64_bit_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    # From so many files on a zip is written with that directory.
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", min(count - 1, zipfile.ZIP_FILECOUNT_LIMIT))
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(count):
            file.writestr(f"a/{number:05d}.png", png(number % 7))
        file.comment = b"a comment"
    # What precedes a zip, as a program that unpacks itself, is no part of it.
    path.write_bytes(b"#!/bin/sh" + path.read_bytes())
    members = read_archive(path)
    assert len(members) == count
    assert [int(read_image(members[n], (1, 1, 1))) for n in (0, 9, -1)] == [0, 2, (count - 1) % 7]


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_a_member_takes_little_memory(kind: str, tmp_path: Path) -> None:
    name = "photos/class {}/the image number {:08d}.png"
    files = {name.format(number % 100, number): b"?" for number in range(10_000)}
    path = packed(tmp_path, kind, files)
    tracemalloc.start()
    try:
        members = read_archive(path)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(members) == 10_000
    assert kept < 150 * 10_000
    assert most < 400 * 10_000


def outcome(path: Path) -> dict[str, int] | str:
    """The grey level of each image by its path, or what the error says."""
    try:
        return {member.path: int(read_image(member, (1, 1, 1))) for member in read_archive(path)}
    except DataError as error:
        told = str(error)
    assert str(path) in told
    return told


TARS = KINDS[1:]


@pytest.mark.parametrize("kind", TARS)
def test_a_tar_that_is_cut_short_is_refused_wherever_it_is(kind: str, tmp_path: Path) -> None:
    path = packed(tmp_path, kind, FILES)
    content = path.read_bytes()
    # What follows the first block of zeros of a plain tar only fills it up.
    ends = len(content.rstrip(b"\0")) // 512 * 512 + 1024 if kind == "a.tar" else len(content)
    for length in {*range(0, ends, 7), *range(0, ends, 512), ends - 1}:
        path.write_bytes(content[:length])
        assert isinstance(outcome(path), str), length


@pytest.mark.parametrize("kind", TARS)
def test_a_flipped_bit_of_a_tar_loses_no_image_in_silence(kind: str, tmp_path: Path) -> None:
    path = packed(tmp_path, kind, FILES)
    content, wanted = path.read_bytes(), outcome(path)
    told = 0
    for place in range(min(len(content), 1024)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        found = outcome(path)
        assert isinstance(found, str) or found == wanted, place
        told += isinstance(found, str)
    assert told > min(len(content), 1024) // 2


@pytest.mark.parametrize("times", [60, pytest.param(400, marks=pytest.mark.exhaustive)])
def test_a_damaged_zip_gives_the_images_or_a_data_error(tmp_path: Path, times: int) -> None:
    import numpy as np

    path = zipped(tmp_path / "a.zip", FILES)
    content, rng, told = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(times):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        found = outcome(path)
        # Names have no sum, and two that are damaged alike are as good as any.
        assert isinstance(found, str) or set(found.values()) <= {1, 2, 3}
        told += isinstance(found, str)
        path.write_bytes(content[: int(rng.integers(len(content)))])
        assert isinstance(outcome(path), str)
    assert times / 2 < told < times


def test_a_name_is_that_of_the_archive_without_its_suffix() -> None:
    for name, wanted in {
        "2024.01.tar.gz": "2024.01", "photos.ZIP": "photos", "a.b.tgz": "a.b", ".zip": ".zip",
    }.items():  # fmt: skip
        assert without_suffix(name) == wanted


def test_the_folder_around_all_classes_is_no_part_of_their_names() -> None:
    assert below_shared(["photos/a/1.png", "photos/b/1.png"]) == "photos/"
    assert below_shared(["x/photos/a/1.png", "x/photos/b/c/1.png"]) == "x/photos/"
    assert below_shared(["a/1.png", "b/1.png"]) == ""
    assert below_shared(["a/1.png", "a/2.png"]) == ""
    assert below_shared(["photos/1.png", "photos/b/1.png"]) == ""
