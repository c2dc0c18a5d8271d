"""Images in zip and tar files: read where they are, and nothing written anywhere."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from metricforge.data import archive
from metricforge.data.archive import below_shared, is_archive, read_archive
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
        images = list(pool.map(lambda member: read_image(member, (1, 1, 1)), members * 20))
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
    monkeypatch.setattr(archive, "LARGEST_FILE", 1_000)
    for name in ("size.zip", "size.tar", "size.tar.gz"):
        with pytest.raises(DataError, match="unpacks to 2,000 bytes, more than any image"):
            read_archive(packed(tmp_path, name, {"a/1.bmp": bytes(2_000)}))
    monkeypatch.setattr(archive, "MOST_FILES", 5)
    for name in ("count.zip", "count.tar"):
        with pytest.raises(DataError, match="more than 5 files"):
            read_archive(packed(tmp_path, name, FILES))


def test_a_compressed_tar_is_not_read_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_IN_MEMORY", 50_000)
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


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_damaged_archive_gives_images_or_a_data_error(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    import numpy as np

    path = make(tmp_path / ("a.zip" if make is zipped else "a.tar"), FILES)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged[: int(rng.integers(len(content) // 2, len(content) + 1))])
        told = ""
        try:
            for member in read_archive(path):
                read_image(member, (1, 2, 2))
        except DataError as error:
            told = str(error)
        assert not told or str(path) in told


def test_the_folder_around_all_classes_is_no_part_of_their_names() -> None:
    assert below_shared(["photos/a/1.png", "photos/b/1.png"]) == "photos/"
    assert below_shared(["x/photos/a/1.png", "x/photos/b/c/1.png"]) == "x/photos/"
    assert below_shared(["a/1.png", "b/1.png"]) == ""
    assert below_shared(["a/1.png", "a/2.png"]) == ""
    assert below_shared(["photos/1.png", "photos/b/1.png"]) == ""
