"""Small folders of the layout that the archives of `cub`, `cars` and `sop` unpack to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
from metricforge_standard.datasets import cars
from PIL import Image
from scipy.io import savemat


def draw(path: Path, number: int) -> None:
    """A JPEG whose colour says the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = (40 + 37 * number % 200, 40 + 91 * number % 200, 40 + 53 * number % 200)
    Image.new("RGB", (24, 20), color).save(path)


def lines(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def make_cub(root: Path, numbers: Sequence[int] = (1, 2, 3, 101, 102, 103), each: int = 2) -> Path:
    """Classes of so many images; image 1 is of the last class, as ids need not be in order."""
    folder = root / "CUB_200_2011"
    named = {number: f"{number:03}.Bird_{number}" for number in numbers}
    images = [(number, f"{named[number]}/{i} a.jpg") for number in numbers for i in range(each)]
    lines(folder / "classes.txt", *(f"{number} {name}" for number, name in named.items()))
    labels, paths = [], []
    for place, (number, name) in enumerate(images):
        draw(folder / "images" / name, number)
        labels.append(f"{len(images) - place} {number}")
        paths.append(f"{len(images) - place} {name}")
    lines(folder / "image_class_labels.txt", *reversed(labels))
    lines(folder / "images.txt", *paths, "")
    return folder


Annotation = tuple[str, int]


def publish(folder: Path) -> None:
    """Have `cars` take the annotation files of a folder for the published ones."""
    for path in folder.rglob("*.mat"):
        cars.PUBLISHED[path.name] = md5(path.read_bytes()).hexdigest()


def savecars(path: Path, rows: Sequence[Annotation], field: str, **more: Any) -> None:
    """Annotations as Matlab keeps them: a row of structs."""
    kind = [(name, object) for name in ("bbox_x1", "class", field)]
    table = np.array([(7, number, name) for name, number in rows], dtype=kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": table[None], **more})
    publish(path.parent)


CAR_NAMES = {"class_names": np.array([[f"Car {n} C/V" for n in range(1, 102)]], dtype=object)}


def make_cars(root: Path, test: str = "cars_test_annos_withlabels.mat") -> Path:
    """Classes 1, 2, 98 and 99, 101, half of each in either part, as torchvision has them."""
    folder = root / "stanford_cars"
    rows = [(f"{place:05}.jpg", n) for place, n in enumerate((1, 99, 2, 98, 101, 2), 1)]
    for part in ("cars_train", "cars_test"):
        for name, number in rows:
            draw(folder / part / name, number)
    savecars(folder / "devkit" / "cars_train_annos.mat", rows, "fname")
    savecars(folder / test, rows, "fname")
    savemat(folder / "devkit" / "cars_meta.mat", CAR_NAMES)
    publish(folder)
    return folder


def make_older_cars(root: Path, rows: Sequence[Annotation] | None = None) -> Path:
    rows = rows or [(f"car_ims/{n:06}.jpg", n) for n in (1, 2, 99, 100)]
    for name, number in rows:
        draw(root / name, int(number))
    savecars(root / "cars_annos.mat", rows, "relative_im_path", **CAR_NAMES)
    return root


SOP_ROWS: Mapping[str, Sequence[str]] = {
    "Ebay_train.txt": (
        "1 1 1 bicycle_final/1_0.JPG",
        "2 1 1 bicycle_final/1_1.JPG",
        "3 2 12 toaster_final/2 0.JPG",
        "4 2 12 toaster_final/2_1.JPG",
    ),
    "Ebay_test.txt": (
        "5 11319 1 bicycle_final/9_0.JPG",
        "6 11319 1 bicycle_final/9_1.JPG",
        "7 22634 12 toaster_final/8_0.JPG",
    ),
}


def make_sop(root: Path, listed: Mapping[str, Sequence[str]] = SOP_ROWS) -> Path:
    folder = root / "Stanford_Online_Products"
    for part, rows in listed.items():
        lines(folder / part, "image_id class_id super_class_id path", *rows)
        for row in rows:
            number, _, _, name = row.split(maxsplit=3)
            draw(folder / name, int(number))
    return folder
