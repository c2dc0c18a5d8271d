"""Decoded images on disk: made once, belonging to their files, checked before they are used."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from metricforge.atomic_files import partial_of
from metricforge.contracts import Dataset
from metricforge.data.images import MappedImages, MemoryImages, open_images
from metricforge.errors import ArtefactError, DataError, ResourceError


def dataset(root: Path, count: int = 5, size: int = 6) -> Dataset:
    paths = []
    for number in range(count):
        paths.append(root / f"{number}.png")
        Image.new("RGB", (8, 8), (number, 2 * number, 0)).save(paths[-1])
    return Dataset("set", paths, torch.zeros(count).long(), ("a",), (3, size, size),
                   cache=root / "cache")  # fmt: skip


def files(root: Path) -> list[str]:
    return sorted(path.suffix for path in (root / "cache").iterdir())


@pytest.mark.parametrize("limit", [0, 10**9])
def test_the_second_start_decodes_nothing(limit: int, tmp_path: Path) -> None:
    given = dataset(tmp_path)
    first = open_images(given, limit)
    assert isinstance(first, MemoryImages)
    assert isinstance(first, MappedImages) == (limit == 0)
    assert first.in_memory == (limit > 0)
    assert files(tmp_path) == [".json", ".u8"]
    stamps = [(path, path.stat()) for path in given.images]  # type: ignore[union-attr]
    for path, stat in stamps:
        path.write_bytes(b"?" * stat.st_size)  # type: ignore[union-attr]
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # type: ignore[arg-type]
    again = open_images(given, limit)
    wanted = [(n, 2 * n, 0) for n in (4, 0)]
    for images in (first, again):
        taken = images.take(torch.tensor([4, 0]))
        assert [tuple(image[:, 3, 3].tolist()) for image in taken] == wanted


def test_what_is_written_to_the_images_does_not_reach_the_file(tmp_path: Path) -> None:
    given = dataset(tmp_path)
    open_images(given, 0).take(torch.arange(5)).zero_()
    images = open_images(given, 0)
    assert isinstance(images, MappedImages)
    images._images.zero_()
    assert int(open_images(given, 0).take(torch.arange(5)).max()) == 8


def test_a_changed_file_or_another_size_has_a_cache_of_its_own(tmp_path: Path) -> None:
    given = dataset(tmp_path)
    open_images(given)
    open_images(dataset(tmp_path, size=4))
    assert files(tmp_path) == [".json"] * 2 + [".u8"] * 2
    Image.new("RGB", (8, 8), "white").save(tmp_path / "3.png")
    assert int(open_images(given).take(torch.tensor([3])).min()) == 255


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "record", "deep", "short", "shape"])
def test_a_damaged_cache_is_refused(damage: str, tmp_path: Path) -> None:
    given = dataset(tmp_path)
    open_images(given)
    (content,) = (tmp_path / "cache").glob("*.u8")
    whole = content.read_bytes()
    if damage == "gone":
        content.unlink()
    elif damage == "deep":
        content.with_suffix(".json").write_text("[" * 200_000)
    elif damage in ("short", "shape"):
        # Of fewer bytes, or another shape, than these images have, and its record says so.
        kept = whole[:-1] if damage == "short" else whole
        content.write_bytes(kept)
        record = json.loads(content.with_suffix(".json").read_text())
        record["sha256"] = hashlib.sha256(kept).hexdigest()
        record["shape"] = record["shape"] if damage == "short" else [len(kept)]
        content.with_suffix(".json").write_text(json.dumps(record))
    elif damage == "record":
        content.with_suffix(".json").write_text("[]")
    else:
        content.write_bytes(whole[:-1] + (b"" if damage == "cut" else b"\x07"))
    with pytest.raises(ArtefactError, match=r"the cache .* is damaged; delete it"):
        open_images(given)


def test_a_broken_image_leaves_nothing_behind(tmp_path: Path) -> None:
    given = dataset(tmp_path)
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2\.png"):
        open_images(given)
    assert files(tmp_path) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    kept, given = tmp_path / "cache", dataset(tmp_path)
    kept.mkdir()
    mine = partial_of(kept / "x.u8")
    left = kept / mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    alive = kept / mine.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    elsewhere = kept / f".x.u8.00000000-{dead.pid}.partial"
    for path in (left, alive, elsewhere):
        path.write_bytes(b"half")
    open_images(given)
    assert not left.exists()
    assert alive.exists()
    assert elsewhere.exists()


def test_a_place_that_can_not_be_written_is_a_resource_error(tmp_path: Path) -> None:
    given = dataset(tmp_path)
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(ResourceError, match="can't write the cache"):
        open_images(given)
