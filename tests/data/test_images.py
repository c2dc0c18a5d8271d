from __future__ import annotations

import os
import shutil
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from PIL import Image

from metricforge.contracts import Dataset, Reading
from metricforge.data.images import FileImages, MemoryImages, fingerprint, open_images
from metricforge.errors import DataError, PluginError

SHAPE = (1, 2, 2)


def in_files(folder: Path, count: int = 6) -> Dataset:
    """Image i is of the grey value i, in a folder for each of two classes."""
    paths = [folder / "ab"[i % 2] / f"{i}.png" for i in range(count)]
    for value, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), value).save(path)
    return Dataset("files", paths, torch.arange(count) % 2, ("a", "b"), SHAPE)


def in_memory(count: int = 6) -> Dataset:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, *SHAPE)
    return Dataset("tensor", images.clone(), torch.arange(count) % 2, ("a", "b"), SHAPE)


@pytest.fixture(params=["tensor", "memory", "files"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryImages | FileImages:
    if request.param == "tensor":
        return open_images(in_memory())  # type: ignore[return-value]
    limit = 6 * 4 if request.param == "memory" else 6 * 4 - 1
    opened = open_images(in_files(tmp_path), memory_limit=limit)
    assert type(opened) is (MemoryImages if request.param == "memory" else FileImages)
    return opened  # type: ignore[return-value]


def test_take_gives_the_images_in_the_order_asked(images: MemoryImages | FileImages) -> None:
    batch = images.take(torch.tensor([5, 0, 3, 3]))
    assert batch.dtype == torch.uint8
    assert batch.shape == (4, *SHAPE)
    assert batch[:, 0, 0, 0].tolist() == [5, 0, 3, 3]
    assert len(images) == 6
    assert images.shape == SHAPE


@pytest.mark.parametrize("limit", [0, 10**6])
def test_files_are_read_as_the_dataset_says(limit: int, tmp_path: Path) -> None:
    plain = in_files(tmp_path)
    inverted = replace(plain, reading=Reading(inverted=True))
    rows = torch.arange(6)
    for given in (inverted, replace(inverted, cache=tmp_path / "cache")):
        taken = open_images(given, memory_limit=limit).to("cpu").take(rows)
        assert taken[:, 0, 0, 0].tolist() == [255, 254, 253, 252, 251, 250]
    # What is kept of one reading is not taken for another's.
    kept = open_images(replace(plain, cache=tmp_path / "cache"), memory_limit=limit)
    assert kept.take(rows)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert fingerprint(plain) != fingerprint(inverted)


def test_take_of_nothing_is_empty(images: MemoryImages | FileImages) -> None:
    assert images.take(torch.empty(0, dtype=torch.int64)).shape == (0, *SHAPE)


@pytest.mark.parametrize("index", [-1, 6])
def test_an_index_out_of_range_is_an_error(images: MemoryImages | FileImages, index: int) -> None:
    with pytest.raises(IndexError):
        images.take(torch.tensor([0, index]))


def test_to_moves_the_batches(images: MemoryImages | FileImages) -> None:
    moved = images.to("meta")
    assert moved.take(torch.tensor([1, 2])).device.type == "meta"
    assert images.take(torch.tensor([1])).device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_are_the_same(images: MemoryImages | FileImages) -> None:
    indices = torch.tensor([4, 1])
    batch = images.to("cuda").take(indices)
    assert batch.is_cuda
    assert torch.equal(batch.cpu(), images.take(indices))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    dataset = in_files(tmp_path)
    (tmp_path / "b" / "3.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"b/3\.png"):
        open_images(dataset)
    lazy = open_images(dataset, memory_limit=0)
    assert lazy.take(torch.tensor([0, 1])).shape == (2, *SHAPE)
    with pytest.raises(DataError, match=r"b/3\.png"):
        lazy.take(torch.tensor([0, 3]))


def _take_in_child(images: FileImages, answer: object) -> None:
    answer.send(images.take(torch.tensor([2]))[0, 0, 0, 0].item())  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_files_are_read_in_a_child_forked_after_a_read(tmp_path: Path) -> None:
    images = FileImages(list(in_files(tmp_path).images), SHAPE)
    images.take(torch.tensor([0]))
    context = get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_take_in_child, args=(images, there))
    child.start()
    try:
        assert here.poll(20), "the child waits for threads that it does not have"
        assert here.recv() == 2
    finally:
        child.kill()
        child.join()
        here.close()
        there.close()


def test_a_plugin_that_breaks_its_contract_is_named() -> None:
    good = in_memory()
    assert isinstance(good.images, torch.Tensor)
    for bad in (
        replace(good, images=good.images.float()),
        replace(good, images=good.images[:5]),
        replace(good, shape=(3, 2, 2)),
        replace(good, images=[Path("a.png")]),
    ):
        with pytest.raises(PluginError, match="'tensor'"):
            open_images(bad)


def test_the_fingerprint_changes_with_what_is_learned_from() -> None:
    good = in_memory()
    assert isinstance(good.images, torch.Tensor)
    other = good.images.clone()
    other[5, 0, 1, 1] += 1
    changed = [
        replace(good, images=other),
        replace(good, labels=good.labels.roll(1)),
        replace(good, classes=("a", "c")),
        replace(good, groups=torch.arange(6) % 3, group_names=("x", "y", "z")),
        replace(good, groups=torch.arange(6) // 2, group_names=("x", "y", "z")),
        replace(good, groups=torch.arange(6) // 2, group_names=("x", "y", "w")),
        replace(good, images=good.images.view(6, 1, 1, 4), shape=(1, 1, 4)),
    ]
    prints = {fingerprint(dataset) for dataset in (good, *changed)}
    assert len(prints) == 8
    assert fingerprint(replace(good, name="else", images=good.images.clone())) in prints
    assert all(len(value) == 64 for value in prints)


def test_the_fingerprint_of_files_does_not_depend_on_where_they_lie(tmp_path: Path) -> None:
    here = in_files(tmp_path / "here")
    first = fingerprint(here)
    shutil.copytree(tmp_path / "here", tmp_path / "far" / "away")
    there = [
        tmp_path / "far" / "away" / path.relative_to(tmp_path / "here") for path in here.images
    ]
    assert fingerprint(replace(here, images=there)) == first
    assert fingerprint(replace(here, shape=(3, 2, 2))) != first
    (tmp_path / "here" / "a" / "0.png").write_bytes(b"another size")
    assert fingerprint(here) != first
    there[0] = there[0].rename(there[0].with_name("renamed.png"))
    assert fingerprint(replace(here, images=there)) != first


def test_the_fingerprint_of_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    dataset = in_files(tmp_path)
    (tmp_path / "a" / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png"):
        fingerprint(dataset)
