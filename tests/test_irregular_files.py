"""Pipes and devices where a file is expected: refused, never waited for, never read to an end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest
import torch
from metricforge_standard.datasets.csv_file import csv
from metricforge_standard.datasets.folder import folder
from metricforge_standard.datasets.npz import npz

import metricforge as mf
from metricforge.atomic_files import MANIFEST
from metricforge.bench import read_suite
from metricforge.contracts import Dataset
from metricforge.data import split_dataset
from metricforge.data.decode import read_header, read_image
from metricforge.data.embedding_files import read_embeddings, read_labels
from metricforge.data.split_file import read_record
from metricforge.data.tree_index import TreeIndex
from metricforge.errors import ArtefactError, DataError, MetricForgeError, UsageError
from metricforge.image_index import ImageIndex
from metricforge.loading import load
from metricforge.recipes.recipe import Recipe
from metricforge.regular_file import read_bytes
from metricforge.runs.folder import RunFolder
from metricforge.scoring.episode_files import read_episodes
from metricforge.spec import Spec
from tests.cli.process import start
from tests.cli.small_model import make_model
from tests.cli.small_run import make_files

SECONDS = 20  # far more than a refusal takes


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


irregular = pytest.mark.parametrize("make", [pipe, endless])


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """A test that waits for a pipe or reads a device fails, instead of hanging."""

    def late(number: int, frame: FrameType | None) -> NoReturn:
        pytest.fail(f"it takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def dataset() -> Dataset:
    labels = torch.arange(12) // 2
    images = torch.zeros(12, 1, 4, 4, dtype=torch.uint8)
    return Dataset("set", images, labels, tuple("abcdef"), (1, 4, 4))


FILES: dict[str, tuple[Callable[[Path], object], type[MetricForgeError]]] = {
    "image.png": (lambda path: read_image(path, (3, 4, 4)), DataError),
    "header.png": (read_header, DataError),
    "embeddings.npy": (read_embeddings, ArtefactError),
    "labels.npy": (read_labels, ArtefactError),
    "labels.txt": (read_labels, ArtefactError),
    "labels.csv": (read_labels, DataError),
    "list.csv": (lambda path: csv(path=path), DataError),
    "arrays.npz": (lambda path: npz(path=path), DataError),
    "photos.zip": (lambda path: folder(path=path), DataError),
    "config.toml": (Recipe.from_toml, UsageError),
    "suite.toml": (read_suite, UsageError),
    "record.json": (read_record, DataError),
    "split.json": (
        lambda path: split_dataset(dataset(), Spec("saved", {"path": str(path)})), DataError,
    ),
    "episodes.json": (lambda path: read_episodes(path, dataset()), DataError),
    "index.lines": (lambda path: TreeIndex.read(path, path.parent), ArtefactError),
}  # fmt: skip


@pytest.mark.fault(71)
@irregular
@pytest.mark.parametrize("name", FILES)
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_by_name(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    read, error = FILES[name]
    make(tmp_path / name)
    with pytest.raises(error, match=name.replace(".", r"\.")) as refused:
        read(tmp_path / name)
    assert refused.type is error


@pytest.mark.fault(71)
@irregular
@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", MANIFEST])
def test_a_model_of_one_is_refused(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    run = make_model(tmp_path / "run")
    (run / "model" / name).unlink()
    make(run / "model" / name)
    with pytest.raises(ArtefactError, match=name.replace(".", r"\.")):
        load(run, device="cpu")


@pytest.mark.fault(71)
@irregular
def test_an_index_of_one_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    run = make_model(tmp_path / "run")
    images = sorted(make_files(tmp_path / "files").rglob("*.png"))[:2]
    model = load(run, device="cpu")
    for name in ("index.faiss", "contents.json"):
        ImageIndex.of(run, model, images, model.encode(images)).save(tmp_path / "index")
        (tmp_path / "index" / name).unlink()
        make(tmp_path / "index" / name)
        with pytest.raises(ArtefactError, match=name.replace(".", r"\.")):
            ImageIndex.open(tmp_path / "index")


@pytest.mark.fault(71)
@irregular
@pytest.mark.parametrize("name", ["config.toml", "summary.json", "metrics.jsonl", "log.txt"])
def test_a_run_of_one_is_refused(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    if name != "config.toml":
        (tmp_path / "config.toml").write_text("")
    make(tmp_path / name)
    with pytest.raises(ArtefactError, match=name.replace(".", r"\.")):
        RunFolder.open(tmp_path)
    with pytest.raises(ArtefactError):
        mf.evaluate(tmp_path)


@pytest.mark.fault(71)
def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert read_bytes(path, 100) == bytes(100)
    with pytest.raises(OSError, match="it has more than 99 bytes"):
        read_bytes(path, 99)
    with path.open("wb") as file:
        file.truncate(2**40)  # of a sparse file nothing is read
    with pytest.raises(OSError, match="more than 536,870,912 bytes"):
        read_bytes(path)


@pytest.mark.fault(71)
def test_the_commands_refuse_one_at_once(tmp_path: Path) -> None:
    for make in (pipe, endless):
        make(tmp_path / f"{make.__name__}.npy")
        make(tmp_path / f"{make.__name__}.toml")
        for words, code in (
            (("evaluate", "--embeddings", f"{make.__name__}.npy", "--labels", "x.txt"), 5),
            (("train", "--config", f"{make.__name__}.toml", "--out", "run"), 2),
        ):
            done = start(*words, cwd=tmp_path)
            assert done.wait(SECONDS) == code, done.shown()
            assert make.__name__ in done.communicate()[1]
