"""Cars-196, in the two layouts in which it was published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metricforge.contracts import Dataset
from metricforge.errors import DataError
from metricforge_standard.datasets._benchmark import Benchmark, Listed, Row, halves
from metricforge_standard.datasets._matlab import read_structs, read_texts
from metricforge_standard.datasets._pixels import check_size

_CARS = Benchmark(
    "cars",
    "stanford_cars",
    "Kaggle's Stanford Cars Dataset, since the page of Krause et al. at Stanford is gone",
)
_META, _TRAIN = "devkit/cars_meta.mat", "devkit/cars_train_annos.mat"
_TESTS = ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat")
_ALL = "cars_annos.mat"
_CLASSES, _TO_TRAIN = 196, 98


def cars(
    root: Path, *, path: Path | None = None, size: int = 224, cache: Path | None = None
) -> Dataset:
    """Cars-196's 16,185 photographs of 196 models of cars; you fetch it yourself.

    It reads cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat (there or in
    devkit/) of `stanford_cars/`, the layout of torchvision, or else the older car_ims/ and
    cars_annos.mat (Krause et al. 2013). That folder is below `root`, or below `path`, or is `path`
    itself. Images are resized to [3, size, size], whatever their proportions, when they are needed.
    Bounding boxes are not used.

    The official split is the literature's for retrieval (Song et al. 2016; Musgrave et al. 2020):
    classes 1 to 98 train and 99 to 196 test. It is not the authors' own, which has every class in
    both parts.

    Args:
        root: Folder of the datasets.
        path: Folder that has the dataset, in place of `root`; none: `root`.
        size: Side of the images, 1 to 4,096 pixels; 224 in the literature.
        cache: Folder that keeps the resized images; none: they are decoded each time.

    Raises:
        DataError: A row or file is not as in the archive; the error names the row.

    Reference: Krause et al., 3D Object Representations for Fine-Grained Categorization, 2013. Oh
        Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, 2016. Musgrave et
        al., A Metric Learning Reality Check, 2020.
    """
    check_size(size, "cars")
    layouts = [(_META, _TRAIN, test) for test in _TESTS]
    folder, layout = _CARS.found(path or root, *layouts, (_ALL,))
    listed = Listed(folder)
    if layout < len(_TESTS):
        names = _names(folder / _META)
        for file, images in ((_TRAIN, "cars_train"), (_TESTS[layout], "cars_test")):
            _add(listed, folder / file, "fname", f"{images}/", names)
    else:
        names = _names(folder / _ALL)
        _add(listed, folder / _ALL, "relative_im_path", "", names)
    return halves("cars", listed, names, _TO_TRAIN, size, cache, ("models", "groups"))


def _names(file: Path) -> dict[int, str]:
    return dict(enumerate(read_texts(file, "class_names"), 1))


def _add(listed: Listed, file: Path, field: str, above: str, names: Mapping[int, str]) -> None:
    """The images of a file; `above` is the folder that its paths leave out."""
    for place, cells in enumerate(read_structs(file, "annotations", (field, "class")), 1):
        row = Row(f"{file}:{place}", cells)
        number = row.number(1, _CLASSES)
        if number not in names:
            raise DataError(f"{row.where} is of class {number}, which has no name.")
        # Joined before it is checked: a path that leads out of the inner folder leads out.
        listed.add(row.where, above + row.cells[0], number)
