"""Cars-196, in the two layouts in which it was published."""

from __future__ import annotations

from hashlib import file_digest, md5
from pathlib import Path
from typing import Any

from metricforge.contracts import Dataset
from metricforge.errors import DataError
from metricforge_standard.datasets._benchmark import Benchmark, Listed, halves
from metricforge_standard.datasets._pixels import check_size

_CARS = Benchmark(
    "cars",
    "stanford_cars",
    "Kaggle's Stanford Cars Dataset, since the page of Krause et al. at Stanford is gone",
)
_META, _TRAIN = "devkit/cars_meta.mat", "devkit/cars_train_annos.mat"
_TESTS = ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat")
_ALL = "cars_annos.mat"
_TO_TRAIN = 98
PUBLISHED = {
    "cars_meta.mat": "4591ba8ddb31503892280ed8c6ed1c16",
    "cars_train_annos.mat": "7b154abe023e6274e597db035347ff56",
    "cars_test_annos_withlabels.mat": "b0a2b23655a3edd16d84508592a98d10",
    "cars_annos.mat": "b407c6086d669747186bd1d764ff9dbc",
}
"""The MD5 of each annotation file; those of the devkit are of 14 December 2013."""


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
        DataError: An annotation file is not the published one, or an image is not there; the
            error names the row.

    Reference: Krause et al., 3D Object Representations for Fine-Grained Categorization, 2013. Oh
        Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, 2016. Musgrave et
        al., A Metric Learning Reality Check, 2020.
    """
    check_size(size, "cars")
    layouts = [(_META, _TRAIN, test) for test in _TESTS]
    folder, layout = _CARS.locate(path or root, *layouts, (_ALL,))
    listed = Listed(folder)
    if layout < len(_TESTS):
        names = _names(folder / _META)
        for file, images in ((_TRAIN, "cars_train"), (_TESTS[layout], "cars_test")):
            _add(listed, folder / file, "fname", f"{images}/")
    else:
        names = _names(folder / _ALL)
        _add(listed, folder / _ALL, "relative_im_path", "")
    return halves("cars", listed, names, _TO_TRAIN, size, cache, ("models", "groups"))


def _names(file: Path) -> dict[int, str]:
    return dict(enumerate(_read(file, "class_names").tolist(), 1))


def _add(listed: Listed, file: Path, field: str, above: str) -> None:
    """Add the images of a file; `above` is the folder that its paths omit."""
    for row, (name, number) in enumerate(_read(file, "annotations")[[field, "class"]].tolist(), 1):
        # Joined before it is checked: a path that leads out of the inner folder leads out.
        listed.add(f"{file}:{row}", above + name, number)


def _read(file: Path, variable: str) -> Any:
    """A variable of a published file; DataError for any other, which can end scipy's process."""
    from scipy.io import loadmat

    try:
        with file.open("rb") as content:
            digest = file_digest(content, lambda: md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"'{file}' can't be read ({error.strerror}); fetch it again.") from error
    if digest != PUBLISHED[file.name]:
        raise DataError(
            f"'{file}' is not the published file: its MD5 is {digest}, not {PUBLISHED[file.name]}; "
            f"fetch it again from {_CARS.source}."
        )
    return loadmat(file, squeeze_me=True)[variable]
