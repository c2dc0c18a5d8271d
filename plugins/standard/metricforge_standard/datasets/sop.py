"""Stanford Online Products, from the folder that its archive unpacks to."""

from __future__ import annotations

from pathlib import Path

from metricforge.contracts import Dataset
from metricforge.errors import DataError
from metricforge_standard.datasets._benchmark import Benchmark, Listed, Row, halves, read_rows
from metricforge_standard.datasets._pixels import check_size

_SOP = Benchmark(
    "sop",
    "Stanford_Online_Products",
    "the page of Deep Metric Learning via Lifted Structured Feature Embedding at cvgl.stanford.edu",
)
_PARTS = ("Ebay_train.txt", "Ebay_test.txt")
_CLASSES, _TO_TRAIN = 22_634, 11_318
_HEADER = ["image_id", "class_id", "super_class_id", "path"]


def sop(
    root: Path, *, path: Path | None = None, size: int = 224, cache: Path | None = None
) -> Dataset:
    """Stanford Online Products' 120,053 photographs of 22,634 products; you fetch it yourself.

    It reads Ebay_train.txt, Ebay_test.txt and the images that they list, of
    `Stanford_Online_Products/` (Song et al. 2016). That folder is below `root`, or below `path`, or
    is `path` itself. A class is a product, "bicycle/1"; a group is one of the 12 kinds of product,
    by the folder of the image. Images are resized to [3, size, size], whatever their proportions,
    when they are needed. The official split is that of the two files: classes 1 to 11,318 train and
    the others test.

    Args:
        root: Folder of the datasets.
        path: Folder that has the dataset, in place of `root`; none: `root`.
        size: Side of the images, 1 to 4,096 pixels; 224 in the literature.
        cache: Folder that keeps the resized images; none: they are decoded each time.

    Raises:
        DataError: A row or file is not as in the archive; the error names the row.

    Reference: Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, 2016.
    """
    check_size(size, "sop")
    folder, _ = _SOP.locate(path or root, _PARTS)
    listed, kinds = Listed(folder), dict[int, str]()
    bounds = ((1, _TO_TRAIN), (_TO_TRAIN + 1, _CLASSES))
    for part, (first, last) in zip(_PARTS, bounds, strict=True):
        for row in read_rows(folder / part, 4):
            if list(row.cells) == _HEADER:
                continue
            number, kind = row.number(1, last), _kind(row)
            if number < first:
                raise DataError(f"{row.where} has class {number}, which is one to train on.")
            if kinds.setdefault(number, kind) != kind:
                raise DataError(
                    f"{row.where} has class {number} in '{kind}', and a row before has it in "
                    f"'{kinds[number]}'; a product is of one kind."
                )
            listed.add(row.where, row.cells[3].strip(), number, kind)
    names = {number: f"{kind}/{number}" for number, kind in kinds.items()}
    return halves("sop", listed, names, _TO_TRAIN, size, cache, ("products", "categories"))


def _kind(row: Row) -> str:
    folder, slash, _ = row.cells[3].partition("/")
    if not slash or not folder:
        raise DataError(
            f"{row.where} names '{row.cells[3]}', which is in no folder of a kind of product; "
            "write it as in 'bicycle_final/1.JPG'."
        )
    return folder.removesuffix("_final")
