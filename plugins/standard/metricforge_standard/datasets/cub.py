"""CUB-200-2011, birds, from the folder that its archive unpacks to."""

from __future__ import annotations

from pathlib import Path

from metricforge.contracts import Dataset
from metricforge.errors import DataError
from metricforge_standard.datasets._benchmark import Benchmark, Listed, halves, read_rows
from metricforge_standard.datasets._pixels import check_size

_CUB = Benchmark(
    "cub", "CUB_200_2011", "the page of Caltech-UCSD Birds-200-2011 at data.caltech.edu"
)
_FILES = ("images.txt", "image_class_labels.txt", "classes.txt", "images")
_CLASSES, _TO_TRAIN = 200, 100


def cub(
    root: Path, *, path: Path | None = None, size: int = 224, cache: Path | None = None
) -> Dataset:
    """CUB-200-2011's 11,788 photographs of 200 species of birds; you fetch it yourself.

    It reads images.txt, image_class_labels.txt, classes.txt and images/ of `CUB_200_2011/` (Wah et
    al. 2011). That folder is below `root`, or below `path`, or is `path` itself. Images are resized
    to [3, size, size], whatever their proportions, when they are needed. Bounding boxes are not
    used.

    The official split is the literature's for retrieval (Song et al. 2016; Musgrave et al. 2020):
    classes 1 to 100 train and 101 to 200 test. It is not the split of train_test_split.txt, which
    has every class in both parts.

    Args:
        root: Folder of the datasets.
        path: Folder that has the dataset, in place of `root`; none: `root`.
        size: Side of the images, 1 to 4,096 pixels; 224 in the literature.
        cache: Folder that keeps the resized images; none: they are decoded each time.

    Raises:
        DataError: A row or file is not as in the archive; the error names the row.

    Reference: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011. Oh Song et al., Deep
        Metric Learning via Lifted Structured Feature Embedding, 2016. Musgrave et al., A Metric
        Learning Reality Check, 2020.
    """
    check_size(size, "cub")
    folder, _ = _CUB.locate(path or root, _FILES)
    names = {
        row.number(0, _CLASSES): row.cells[1].strip()
        for row in read_rows(folder / "classes.txt", 2)
    }
    numbers = _numbers(folder / "image_class_labels.txt")
    listed = Listed(folder / "images", within=folder)
    for row in read_rows(folder / "images.txt", 2):
        number = numbers.get(row.number(0))
        if number is None:
            raise DataError(f"{row.where} has no class in '{folder / 'image_class_labels.txt'}'.")
        if number not in names:
            raise DataError(
                f"{row.where} is of class {number}, which '{folder / 'classes.txt'}' does not name."
            )
        listed.add(row.where, row.cells[1].strip(), number)
    return halves("cub", listed, names, _TO_TRAIN, size, cache, ("species", "groups"))


def _numbers(file: Path) -> dict[int, int]:
    """The class number of each image, by the image's number."""
    return {row.number(0): row.number(1, _CLASSES) for row in read_rows(file, 2)}
