"""The user's own images, listed in a CSV file with a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.class_names import indexed
from metricforge.data.csv_table import Table
from metricforge.errors import DataError
from metricforge_standard.datasets._broken import ADVICE, without_broken
from metricforge_standard.datasets._columns import named_columns
from metricforge_standard.datasets._labels import tested_parts
from metricforge_standard.datasets._listing import read_listing
from metricforge_standard.datasets._notes import (
    converted,
    flag_notes,
    of_depth,
    shared_classes,
    single_image_note,
    untested_note,
)
from metricforge_standard.datasets._pixels import Fit, read_by, sides


def csv(
    *,
    path: Path,
    images: Path | None = None,
    size: int | str = 64,
    fit: Fit = "squeeze",
    color: bool = True,
    broken: Literal["refuse", "skip"] = "refuse",
    cache: Path | None = None,
    depth: int = 16,
    columns: str = "",
    links: Literal["refuse", "follow"] = "refuse",
) -> Dataset:
    """Your own images, listed in a CSV file in UTF-8: a header, and a row for each image.

    Images are resized to [3, size, size], or [1, size, size] without `color`, when they are needed.
    The columns are:

    - `path`: the image file, relative to the CSV file's folder or to `images`, and not outside of
      it;
    - `label`: the class name, read without blanks around it and in Unicode's NFC;
    - `split`, optional: train, validation or test; if no row says test, the rows of validation are
      the test part, as in OML;
    - `group` (or OML's `category`), optional;
    - `is_query` and `is_gallery`, optional, both or neither: true, false, 1 or 0; empty is false.

    Files with other names for these need `columns`. Other columns are ignored with a note, but
    bounding boxes, x_1 to y_2, are an error.

    Args:
        path: The CSV file.
        images: Folder that the paths are relative to; none: that of the CSV file.
        size: Side of the images, or their height x width as 256x128, each 1 to 4,096 pixels.
        fit: How an image of other proportions gets that shape: "squeeze", "crop" its middle, or
            "pad" it with black.
        color: Whether images have three channels; false: one, in grey.
        broken: Images that can't be decoded: "refuse" fails at the first use of one, "skip" decodes
            all at the start, skips these and counts them.
        cache: Folder that keeps the resized images; none: they are decoded each time.
        depth: Bits that the grey levels of 16-bit images use, 8 to 16: 12 where white is 4,095.
        columns: The file's own names of columns, with + between: `path:filename+label:class`.
        links: Links that lead out of the folder of the paths: "refuse" fails, "follow" reads what
            they mean.

    Raises:
        DataError: A cell can't be used, an image does not exist or is listed twice (the error names
            the row), or there are not two classes of images.
    """
    height, width = sides(size, "csv")
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(f"option 'path' of dataset 'csv': '{path}' {what}.")
    listing = read_listing(
        path,
        images,
        named_columns(columns, "csv", "path:NAME+label:NAME"),
        follow=links == "follow",
    )
    label_index = indexed(listing.columns["label"])
    classes, labels = label_index.names, label_index.places
    if len(classes) < 2:
        raise _too_few(classes, path)
    groups, group_names = _groups(listing)
    written = _official(listing)
    official = tested_parts(written)
    queries, gallery = _flags(listing, "is_query"), _flags(listing, "is_gallery")
    flagged = flag_notes(path, queries, gallery, official)
    single = [classes[index] for index in (labels.bincount() == 1).nonzero().flatten().tolist()]
    shape = (3 if color else 1, height, width)
    reading = read_by(depth, fit, "csv")
    dataset = Dataset(
        name=path.stem,
        images=listing.columns["path"],
        labels=labels,
        classes=classes,
        shape=shape,
        groups=groups,
        group_names=group_names,
        official=official,
        notes=(
            *label_index.notes,
            *([single_image_note(single)] if single else []),
            *_notes(listing),
            *untested_note(path, written, official),
            *shared_classes(path, labels, official, classes),
            *flagged,
            converted(listing.columns["path"], shape, fit),
        ),
        warnings=(*label_index.warnings, *of_depth(listing.columns["path"], reading)),
        reading=reading,
        queries=queries,
        gallery=gallery,
        cache=cache,
        advice=ADVICE,
    )
    return dataset if broken == "refuse" else without_broken(dataset)


def _groups(listing: Table) -> tuple[Tensor | None, tuple[str, ...]]:
    """The group of each image and the groups' names; none if one group has all images."""
    group_index = indexed(listing.columns.get("group", []), "groups")
    names, groups = group_index.names, group_index.places
    if len(names) < 2:
        return None, ()
    if "" in names:
        row = listing.rows[int((groups == names.index("")).nonzero()[0])]
        raise DataError(f"{listing.path}:{row} has no group, as other rows have; name it.")
    return groups, names


def _official(listing: Table) -> Tensor | None:
    """The part of each image."""
    if "split" not in listing.columns:
        return None
    return torch.tensor(listing.columns["split"], dtype=torch.int64)


def _flags(listing: Table, column: str) -> Tensor | None:
    flags = listing.columns.get(column)
    return None if flags is None else torch.tensor(flags, dtype=torch.bool)


def _notes(listing: Table) -> Iterator[str]:
    if listing.unused:
        names = ", ".join(name or "one without a name" for name in listing.unused)
        yield f"columns of '{listing.path}' that are not used: {names}."


def _too_few(classes: Sequence[str], path: Path) -> DataError:
    content = f"images of one class only, '{classes[0]}'" if classes else "no images"
    return DataError(f"'{path}' has {content}; it needs images of two classes or more.")
