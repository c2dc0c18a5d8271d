"""Common code of the retrieval benchmarks: their folder, lists of images, halves by class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch

from metricforge.contracts import TEST, TRAIN, Dataset
from metricforge.data.image_files import Paths
from metricforge.errors import DataError
from metricforge.regular_file import read_text
from metricforge_standard.datasets._notes import single_image_note

_DIGITS = 10  # numbers in a list have fewer


@dataclass(frozen=True)
class Benchmark:
    """A dataset that users fetch themselves: its name, its folder's name, and its source."""

    name: str
    folder: str
    source: str

    def locate(self, base: Path, *layouts: tuple[str, ...]) -> tuple[Path, int]:
        """The folder, `base` or the one below it, and the first layout whose files it has.

        The first file of a layout identifies it. Raises DataError if no layout exists, naming the
        expected files, or if files of one are missing, naming them.
        """
        for folder in (base / self.folder, base):
            for number, files in enumerate(layouts):
                if all((folder / file).exists() for file in files):
                    return folder, number
            for files in layouts:
                if (folder / files[0]).exists():
                    missing = ", ".join(repr(f) for f in files if not (folder / f).exists())
                    raise DataError(
                        f"dataset '{self.name}' is in '{folder}', but {missing} is not; fetch it "
                        f"again from {self.source}."
                    )
        needed = " or ".join(dict.fromkeys(f"'{files[0]}'" for files in layouts))
        raise DataError(
            f"dataset '{self.name}' is not in '{base / self.folder}', nor in '{base}' itself, "
            f"where {needed} should be; its licence has you fetch it yourself, from {self.source}, "
            "and name the folder with --data-root or the option 'path'."
        )


@dataclass(frozen=True)
class Row:
    """The cells of one row of a list, and its position, "file:row"."""

    where: str
    cells: Sequence[str]

    def number(self, column: int, most: int | None = None) -> int:
        """A cell as a whole number from 1 to `most`; DataError for any other."""
        text = self.cells[column]
        value = int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0
        if value < 1 or (most is not None and value > most):
            upto = f" to {most}" if most is not None else " on"
            raise DataError(f"{self.where} has '{text}', not a number from 1{upto}; mend the row.")
        return value


def read_rows(file: Path, columns: int) -> Iterator[Row]:
    """The rows of a text file that are not blank, split by spaces into so many cells.

    The last cell keeps its spaces. Raises DataError for a row of fewer cells, and for a file
    that is not text in UTF-8.
    """
    try:
        lines = read_text(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' can't be read as text in UTF-8 ({error}).") from error
    for number, line in enumerate(lines, 1):
        cells = line.split(maxsplit=columns - 1)
        if cells and len(cells) < columns:
            raise DataError(f"{file}:{number} has {len(cells)} cells, not {columns}; mend the row.")
        if cells:
            yield Row(f"{file}:{number}", cells)


@dataclass
class Listed:
    """The images of lists, each below one folder, existing and listed once.

    `numbers` are their classes', `groups` the names of their groups, if they have any. No link
    may lead out of `within`, the dataset's folder, by default the same one.
    """

    folder: Path
    within: Path | None = None
    paths: Paths = field(default_factory=Paths)
    numbers: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    _names: dict[Path, frozenset[str]] = field(default_factory=dict)
    _links: set[str] = field(default_factory=set)
    _inside: dict[Path, bool] = field(default_factory=dict)
    _rows_by_path: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, name: str, number: int, group: str | None = None) -> None:
        """Add an image by its path below the folder; DataError, naming the row, for a bad one."""
        if not name.isprintable():
            raise DataError(f"{where} names {name!a}, which is no name of a file; mend the row.")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise DataError(
                f"{where} names '{name}', which leads out of '{self.folder}'; paths are relative "
                "to it, without '..'."
            )
        if path.name not in self._in(self.folder / path.parent):
            raise DataError(
                f"{where} names the image '{name}', which is not in '{self.folder}'; fetch it, or "
                "take the row away."
            )
        if self._leads_out(self.folder / path):
            raise DataError(
                f"{where} names '{name}', which a link leads out of "
                f"'{self.within or self.folder}'; copy what it means into it."
            )
        first = self._rows_by_path.setdefault(str(path), where)
        if first != where:
            raise DataError(f"{where} names the image of {first} again, '{name}'; keep one.")
        self.paths.append(self.folder / path)
        self.numbers.append(number)
        if group is not None:
            self.groups.append(group)

    def _leads_out(self, image: Path) -> bool:
        top = (self.within or self.folder).resolve()
        if image.parent not in self._inside:
            self._inside[image.parent] = image.parent.resolve().is_relative_to(top)
        if not self._inside[image.parent]:
            return True
        return str(image) in self._links and not image.resolve().is_relative_to(top)

    def _in(self, folder: Path) -> frozenset[str]:
        """The files of a folder, listed once: a check of each image would take a call each."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    files = [entry for entry in entries if entry.is_file()]
                self._names[folder] = frozenset(entry.name for entry in files)
                self._links |= {entry.path for entry in files if entry.is_symlink()}
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]


def halves(
    name: str,
    listed: Listed,
    names: Mapping[int, str],
    last_to_train: int,
    size: int,
    cache: Path | None,
    nouns: tuple[str, str],
) -> Dataset:
    """The dataset whose classes up to a number train and whose other classes test.

    `names` are the classes', by number. Classes without images are skipped.
    """
    if not listed.paths:
        raise DataError(f"dataset '{name}' lists no images in '{listed.folder}'; fetch it again.")
    numbers = torch.tensor(listed.numbers)
    present, labels = numbers.unique(return_inverse=True)
    classes = tuple(names[number] for number in present.tolist())
    if len(set(classes)) < len(classes):
        twice = next(each for each in classes if classes.count(each) > 1)
        raise DataError(f"dataset '{name}' has two classes by the name '{twice}'; fetch it again.")
    group_names = tuple(sorted(set(listed.groups)))
    groups = [group_names.index(group) for group in listed.groups]
    single = [classes[index] for index in (labels.bincount() == 1).nonzero().flatten().tolist()]
    return Dataset(
        name=name,
        images=listed.paths,
        labels=labels,
        classes=classes,
        shape=(3, size, size),
        groups=torch.tensor(groups) if groups else None,
        group_names=group_names,
        official=torch.where(numbers <= last_to_train, TRAIN, TEST),
        notes=(single_image_note(single),) if single else (),
        cache=cache,
        nouns=nouns,
    )
