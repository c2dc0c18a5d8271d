"""Reads a CSV file that lists images; a DataError names the row that can't be used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from metricforge.data.csv_table import (
    FLAG_PARSERS,
    Parser,
    Table,
    group,
    is_empty,
    label,
    part,
    read_table,
)
from metricforge.data.image_files import Paths, names_of
from metricforge.errors import DataError


def read_listing(
    path: Path,
    images: Path | None = None,
    named: Mapping[str, str] | None = None,
    *,
    follow: bool = False,
) -> Table:
    """The columns of the file; DataError, naming the row, for a cell that can't be used.

    Paths are relative to the folder `images`, by default that of the file, and none may lead out of
    it. The known columns are "path" (existing Paths), "label", "split" (values of
    `Dataset.official`), "group" or OML's "category" (empty strings for none), "is_query" and
    "is_gallery" (both or neither). `named` maps them to the file's own names.
    """
    columns = {"path": Paths()}
    parsers = _parsers(images or path.parent, follow)
    aliases = {"category": "group"}
    advice = "; name the file's own with the option columns=path:NAME+label:NAME"
    listing = read_table(path, parsers, ("path", "label"), aliases, columns, named, advice)
    _check_listed_once(listing)
    return listing


def _parsers(images: Path, follow: bool) -> Mapping[str, Parser]:
    return {
        "path": partial(_image, images.absolute(), follow),
        "label": label,
        "split": part,
        "group": group,
        **FLAG_PARSERS,
        **dict.fromkeys(("x_1", "x_2", "y_1", "y_2"), _no_box),
    }


def _image(folder: Path, follow: bool, cell: str) -> Path:
    if is_empty(cell):
        raise ValueError("has no path; name its image, or take the row away.")
    image = folder / cell
    try:
        exists, reason = image.is_file(), "is no file that is there"
    except OSError as error:
        exists, reason = False, f"can't be reached ({error.strerror})"
    if not exists:
        hint = "; write / for \\ between folders" if "\\" in cell else ""
        raise ValueError(
            f"names the image '{cell}', which {reason}; paths begin at '{folder}'{hint}."
        )
    if _leads_out(image, folder, follow):
        raise ValueError(
            f"names the image '{cell}', which lies outside of '{folder}'; copy it there, or name "
            "a folder that holds all images with the option images=FOLDER, or follow links with "
            "links=follow."
        )
    return image


def _leads_out(image: Path, folder: Path, follow: bool) -> bool:
    if follow:  # no link, but maybe a path does
        return not Path(os.path.normpath(image)).is_relative_to(folder)
    if not _inside(str(image.parent), str(folder)):
        return True
    return image.is_symlink() and not _inside(str(image), str(folder))


@lru_cache(maxsize=256)
def _inside(path: str, folder: str) -> bool:
    # Cached: consecutive images lie in the same few folders.
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def _real(image: str) -> str:
    """The path of an image in its folder itself, however the path reaches it."""
    folder, name = os.path.split(image)
    return os.path.join(_real_folder(folder), name)  # noqa: PTH118 - a Path takes longer


@lru_cache(maxsize=256)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _no_box(cell: str) -> None:
    if not is_empty(cell):
        raise ValueError("has a bounding box: crops aren't supported yet; list images cut to it.")


def _check_listed_once(listing: Table) -> None:
    # Only paths of equal hashes are compared: the hashes of a million take 8 MB.
    keys = (hash(_real(name)) for name in names_of(listing.columns["path"]))
    hashes = np.fromiter(keys, np.int64, len(listing.rows))
    kinds, counts = np.unique(hashes, return_counts=True)
    alike = np.isin(hashes, kinds[counts > 1])
    if not alike.any():
        return
    rows_by_path: dict[str, int] = {}
    for index in alike.nonzero()[0].tolist():
        row, image = listing.rows[index], listing.columns["path"][index]
        first = rows_by_path.setdefault(_real(os.fspath(image)), row)
        if first != row:
            raise DataError(
                f"{listing.path}:{row} names the image of row {first} again, '{image}'; keep one."
            )
