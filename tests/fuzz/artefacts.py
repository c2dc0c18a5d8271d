"""Targets: a folder with a manifest, which is a model, an index of images or a gallery.

A file that the manifest does not match is refused first; then its sum is put into the manifest, so
that a mutation gets past it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import metricforge as mf
from metricforge.atomic_files import MANIFEST, read_folder
from metricforge.errors import (
    ArtefactError,
    DataError,
    DivergedError,
    PluginError,
    ResourceError,
    UsageError,
)
from metricforge.evaluation import Cohort
from metricforge.galleries.calibration import Calibration, Strangers
from metricforge.galleries.embedded import Embedded
from metricforge.galleries.gallery import Gallery
from metricforge.galleries.state import Enrolled, State
from metricforge.image_index import ImageIndex
from metricforge.loading import load
from tests.cli.small_model import make_model
from tests.fuzz.target import JSON, Case, Target

_IMAGES = np.zeros((1, 16, 16, 3), np.uint8)


def _model(folder: Path) -> Path:
    return make_model(folder / "run") / "model"


def _embed(folder: Path) -> object:
    return mf.load(folder, device="cpu").encode(_IMAGES)


def _index(folder: Path) -> Path:
    run, place = make_model(folder / "run"), folder / "index"
    model = load(run, device="cpu")
    images = [Path("a.png"), Path("b.png")]
    rows = model.encode(np.zeros((2, 16, 16, 3), np.uint8))
    ImageIndex.of(run, model, images, rows).save(place)
    return place


def _search(folder: Path) -> object:
    index = ImageIndex.open(folder)
    found = index.nearest(np.zeros((1, index.contents.dim), np.float32))
    run = folder.parent / "run"
    if index.contents.names:
        index.model_of(run, device="cpu")
    return found


def _gallery(folder: Path) -> Path:
    model = load(make_model(folder / "run"), device="cpu")
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    enrolled = tuple(Enrolled(f"class {n % 2}", f"{n}.png", "") for n in range(6))
    chosen = Calibration(0.1, 2, 3, 3, "mean", True, 0.5, 0.5, (0.0, 1.0), (1.0, 0.0))
    strangers = Strangers(rows, np.arange(6) // 2, Cohort(rows[:3]))
    Gallery(model, State(enrolled, rows, chosen), strangers).save(folder / "gallery")
    return folder / "gallery"


def _identify(folder: Path) -> object:
    gallery = Gallery.open(folder, device="cpu")
    answers = gallery.identify_rows(np.ones((1, gallery.model.card.dim), np.float32))
    # More classes than the threshold was chosen for: it is chosen anew.
    more = Embedded(np.ones((9, gallery.model.card.dim), np.float32), list("abcdefghi"),
                    list("abcdefghi"), list("abcdefghi"))  # fmt: skip
    with suppress(DataError):
        gallery.add_rows(more)
    return answers


def _held(
    make: Callable[[Path], Path], name: str, read: Callable[[Path], object]
) -> Callable[[Path], Case]:
    """The case of a file of a folder that has a manifest."""

    def prepare(folder: Path) -> Case:
        place = make(folder)
        seed = read_folder(place)[name]
        manifest = json.loads((place / MANIFEST).read_text())

        def put(content: bytes) -> object:
            (place / name).write_bytes(content)
            _write_sum(place, name, manifest, seed)
            if content != seed:
                with pytest.raises(ArtefactError, match="is damaged: its sha256"):
                    read(place)
            _write_sum(place, name, manifest, content)
            return read(place)

        return Case([seed], put)

    return prepare


def _write_sum(place: Path, name: str, manifest: dict[str, dict[str, str]], content: bytes) -> None:
    sums = manifest["sha256"] | {name: hashlib.sha256(content).hexdigest()}
    (place / MANIFEST).write_text(json.dumps({"sha256": sums}))


def _manifest(folder: Path) -> Case:
    place = _model(folder)

    def put(content: bytes) -> object:
        (place / MANIFEST).write_bytes(content)
        return _embed(place)

    return Case([(place / MANIFEST).read_bytes()], put)


# The name of a component may be that of a plugin that is not installed; what an embedding is
# divided by may be zero; and a network may be larger than the memory.
_OF_A_MODEL = (ArtefactError, UsageError, PluginError, DivergedError, ResourceError)

TARGETS = {
    "model-json": Target(_held(_model, "model.json", _embed), _OF_A_MODEL, 350, JSON),
    "weights": Target(
        _held(_model, "weights.safetensors", _embed), (ArtefactError, DivergedError), 150
    ),
    "manifest": Target(_manifest, (ArtefactError,), 350, JSON),
    "contents-json": Target(
        _held(_index, "contents.json", _search), (ArtefactError, DataError), 350, JSON
    ),
    "gallery-json": Target(_held(_gallery, "gallery.json", _identify), (ArtefactError,), 350, JSON),
    "gallery-arrays": Target(
        _held(_gallery, "gallery.safetensors", _identify), (ArtefactError,), 250
    ),
    "index-faiss": Target(_held(_index, "index.faiss", _search), (ArtefactError, DataError), 350),
}
