"""Targets: image files, and datasets of them in an archive, a CSV file or an .npz."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from metricforge_standard.datasets.csv_file import csv
from metricforge_standard.datasets.folder import folder as in_folders
from metricforge_standard.datasets.npz import npz
from numpy.typing import NDArray
from PIL import Image

from metricforge.contracts import Dataset, Reading
from metricforge.data import open_images, read_image
from metricforge.data.decode import levels_used, read_header
from metricforge.errors import DataError, MetricForgeError
from tests.data.test_archive import FILES, tarred, zipped
from tests.fuzz.checksums import mend_png, mend_tar
from tests.fuzz.documents import in_file
from tests.fuzz.tables import as_npy
from tests.fuzz.target import Case, Target

_SIDE = 20
_SHAPE = (3, 8, 8)
_INK = Reading(margin=0.1, inverted=True)


def _encoded(mode: str, kind: str, **options: Any) -> bytes:
    rng, file = np.random.default_rng(0), io.BytesIO()
    noise = Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE, 4), np.uint8), "RGBA")
    image = noise.convert("L").convert("I;16") if mode == "I;16" else noise.convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def _decoded(path: Path) -> object:
    """All that is done with an image file, from its path and from its bytes."""
    read_image(path, _SHAPE)
    read_header(path)
    levels_used(path)
    return read_image(path.read_bytes(), (1, 8, 8), reading=_INK)


def _png(folder: Path) -> Case:
    clear = {"transparency": 3}
    seeds = [_encoded(mode, "PNG") for mode in ("RGB", "RGBA", "L", "LA", "I;16", "1")]
    seeds += [_encoded("P", "PNG", **clear), _encoded("RGB", "PNG", exif=_exif(), dpi=(72, 72))]
    moving = [Image.new("RGB", (_SIDE, _SIDE), color) for color in ("red", "blue")]
    file = io.BytesIO()
    moving[0].save(file, "PNG", save_all=True, append_images=moving[1:])
    return Case([*seeds, file.getvalue()], in_file(folder / "a.png", _decoded))


def _jpeg(folder: Path) -> Case:
    seeds = [_encoded(mode, "JPEG") for mode in ("RGB", "L", "CMYK")]
    seeds += [_encoded("RGB", "JPEG", progressive=True, exif=_exif(), subsampling=2)]
    return Case(seeds, in_file(folder / "a.jpg", _decoded))


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    exif[0x010E] = "a description"
    return exif.tobytes()


def _opened(dataset: Dataset) -> object:
    return open_images(dataset, workers=1).shape


def _zip(folder: Path) -> Case:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    seeds = [zipped(folder / "a", FILES, compression=each).read_bytes() for each in methods]
    return Case(seeds, in_file(folder / "a.zip", _archived))


def _tar(name: str) -> Callable[[Path], Case]:
    def prepare(folder: Path) -> Case:
        seed = tarred(folder / name, FILES).read_bytes()
        return Case([seed], in_file(folder / name, _archived))

    return prepare


def _packed_tar(folder: Path) -> Case:
    """A tar that is compressed after its mutation, so that the checksum of the stream fits."""
    read = in_file(folder / "a.tar.gz", _archived)
    seed = tarred(folder / "a.tar", FILES).read_bytes()
    return Case([seed], lambda content: read(gzip.compress(content, 1)))


def _archived(path: Path) -> object:
    """With broken files refused, and with those skipped, which decodes all of them first."""
    for broken in ("skip", "refuse"):
        _opened(in_folders(path=path, size=4, broken=broken))
    return None


def _csv(folder: Path) -> Case:
    for name in "abcd":
        (folder / f"{name}.png").write_bytes(_encoded("L", "PNG"))
    head = b"path,label,split,group,is_query,is_gallery\n"
    rows = b'a.png,x,train,g,,\nb.png,"y, z",test,g,1,0\n./c.png,10,val,h,0,1\nd.png,x,test,h,1,1\n'
    seeds = [head + rows, head.replace(b"\n", b"\r\n") + rows, (head + rows).replace(b",", b"\t")]
    return Case(seeds, in_file(folder / "set.csv", lambda path: _opened(csv(path=path, size=4))))


def _arrays() -> dict[str, NDArray[Any]]:
    labels = np.arange(6) // 2
    return {
        "images": np.zeros((6, 4, 4), np.uint8),
        "labels": labels,
        "groups": labels.astype(str),
        "split": np.array(["train", "val", "test"] * 2),
        "is_query": labels == 1,
        "is_gallery": labels == 2,
    }


def _npz(folder: Path) -> Case:
    seeds = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **_arrays())
        seeds.append(file.getvalue())
    read = in_file(folder / "set.npz", lambda path: _opened(npz(path=path, size=3)))
    return Case(seeds, read)


def _npz_array(name: str, folder: Path) -> Case:
    """An array of an .npz, which the checksums of the zip then fit."""
    arrays = {f"{each}.npy": as_npy(array) for each, array in _arrays().items()}
    seeds = [arrays[f"{name}.npy"]]
    if name == "labels":
        seeds += [as_npy(_arrays()[name].astype(kind)) for kind in ("U3", "S3", "f4")]

    def put(content: bytes) -> object:
        return _opened(npz(path=zipped(folder / "set.npz", {**arrays, f"{name}.npy": content})))

    return Case(seeds, put)


_REFUSALS: tuple[type[MetricForgeError], ...] = (DataError,)

TARGETS: Mapping[str, Target] = {
    "png": Target(_png, _REFUSALS, 900, mend=mend_png),
    "jpeg": Target(_jpeg, _REFUSALS, 700),
    "zip": Target(_zip, _REFUSALS, 450),
    "tar": Target(_tar("a.tar"), _REFUSALS, 450, mend=mend_tar),
    "tar-packed": Target(_packed_tar, _REFUSALS, 450, mend=mend_tar),
    "tar-gz": Target(_tar("a.tar.gz"), _REFUSALS, 600),
    "tar-bz2": Target(_tar("a.tar.bz2"), _REFUSALS, 300),
    "tar-xz": Target(_tar("a.tar.xz"), _REFUSALS, 300),
    "csv": Target(_csv, _REFUSALS, 800),
    "npz": Target(_npz, _REFUSALS, 600),
    "npz-images": Target(partial(_npz_array, "images"), _REFUSALS, 600),
    "npz-labels": Target(partial(_npz_array, "labels"), _REFUSALS, 600),
    "npz-split": Target(partial(_npz_array, "split"), _REFUSALS, 300),
}
