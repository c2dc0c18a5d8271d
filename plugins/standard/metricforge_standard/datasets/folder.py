"""The user's own images, in a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.archive import is_archive, without_suffix
from metricforge.data.class_names import natural_key
from metricforge.data.own_outputs import lies_among
from metricforge.errors import DataError, UsageError
from metricforge_standard.datasets._broken import ADVICE, without_broken
from metricforge_standard.datasets._labels import tested_parts
from metricforge_standard.datasets._levels import Label, Levels, read_levels
from metricforge_standard.datasets._notes import converted, of_depth, single_image_note
from metricforge_standard.datasets._pixels import Fit, read_by, sides
from metricforge_standard.datasets._trees import read_tree


def folder(
    *,
    path: Path,
    size: int | str = 64,
    fit: Fit = "squeeze",
    color: bool = True,
    broken: Literal["refuse", "skip"] = "refuse",
    cache: Path | None = None,
    index: Path | None = None,
    label: Label = "auto",
    parts: Literal["auto", "none"] = "auto",
    depth: int = 16,
    exclude: str = "",
    links: Literal["refuse", "follow"] = "refuse",
) -> Dataset:
    """Your own images, in a folder for each class at any depth below `path`.

    A class is the folder that holds the image, named by its path below `path` and below the folders
    that enclose all classes. Its group is the folder around it, if there is more than one such
    folder. Names are read without blanks around them, in Unicode's NFC. If most class folders have
    the same name as other ones (Greek/character01, Latin/character01), `label` must select what the
    class is.

    If the outermost folders are named train, val, valid, validation or test, these are the parts of
    the official split, and classes are read below them. If none is named test, val is the test
    part. The split is class-disjoint or a closed set; the notes report which.

    Images are resized to [3, size, size], or [1, size, size] without `color`, when they are needed.
    Hidden files and known by-files (.txt, .csv, .xmp, .mov, camera raws and the like) are skipped
    and, without `index`, counted. Runs, models and indexes of metricforge are skipped and counted.
    Any other file that is not an image is an error, and so is a link that leads out of `path`,
    unless `links` says to follow it.

    Args:
        path: Folder of class folders, or a zip or tar file with such folders, which is not
            unpacked.
        size: Side of the images, or their height x width as 256x128, each 1 to 4,096 pixels.
        fit: How an image of other proportions gets that shape: "squeeze", "crop" its middle, or
            "pad" it with black.
        color: Whether images have three channels; false: one, in grey.
        broken: Images that can't be decoded: "refuse" fails at the first use of one, "skip" decodes
            all at the start, skips these and counts them, and files that are no images.
        cache: Folder outside of `path` that keeps the resized images; none: they are decoded each
            time.
        index: File outside of `path` that keeps the names and sizes of a large tree, so that
            folders that have not changed are not listed again; none: list all. A file that was
            overwritten in place is not noticed: delete FILE then.
        label: Class of an image: the "path" of its folder, the "last" folder's name, wherever it
            lies, or the "first" folder's; "auto" is the path, and an error where most names recur.
        parts: "auto" reads folders named train, val, ... as the parts of the official split, "none"
            as folders like any other.
        depth: Bits that the grey levels of 16-bit images use, 8 to 16: 12 where white is 4,095.
        exclude: Shell patterns of files and folders to skip, with + between: `*_mask.png` is a name
            anywhere, `raw/*` a path below `path`.
        links: Links that lead out of `path`: "refuse" fails, "follow" reads what they mean, as in
            the caches of hubs and of data versioning.

    Raises:
        DataError: There are not two classes of images.
    """
    height, width = sides(size, "folder")
    if not path.exists():
        raise DataError(f"option 'path' of dataset 'folder': '{path}' does not exist.")
    if not path.is_dir() and not (path.is_file() and is_archive(path)):
        raise DataError(
            f"option 'path' of dataset 'folder': '{path}' is neither a folder nor a .zip or .tar."
        )
    if index and not path.is_dir():
        raise UsageError(f"option 'index' of dataset 'folder' is for folders, not for '{path}'.")
    for option, target in (("cache", cache), ("index", index)):
        if target:
            _check_outside(path, option, target)
    tree = read_tree(path, index, exclude, skip=broken == "skip", follow=links == "follow")
    levels = read_levels(list(tree.counts), label, parts)
    order = levels.order()
    classes = tuple(dict.fromkeys(levels.classes[name] for name in order))
    if len(classes) < 2:
        raise _too_few(classes, path)
    each = _Each(order, torch.tensor([tree.counts[name] for name in order], dtype=torch.int64))
    labels = each.places(levels.classes, classes)
    group_names = tuple(sorted(set((levels.groups or {}).values()), key=natural_key))
    official = tested_parts(None if levels.parts is None else each.values(levels.parts))
    images, shape = tree.images(order), (3 if color else 1, height, width)
    reading = read_by(depth, fit, "folder")
    dataset = Dataset(
        name=_name(path),
        images=images,
        labels=labels,
        classes=classes,
        shape=shape,
        groups=None if levels.groups is None else each.places(levels.groups, group_names),
        group_names=group_names,
        official=official,
        notes=(
            *tree.notes,
            *levels.notes,
            *_single_image_notes(labels, classes),
            *([_of_parts(levels, official, labels)] if official is not None else []),
            *tree.asides,
            converted(images, shape, fit),
        ),
        warnings=(*levels.warnings, *of_depth(images, reading)),
        reading=reading,
        cache=cache,
        advice=ADVICE,
    )
    return dataset if broken == "refuse" else without_broken(dataset)


def _check_outside(path: Path, option: str, target: Path) -> None:
    """UsageError for a path among the images, where a written file would count as one."""
    if lies_among(target, path) or target.resolve() == path.resolve():
        raise UsageError(
            f"option '{option}' of dataset 'folder': '{target}' lies in the folder of the "
            f"images; name a place outside of '{path}', or hide it with a dot before its name."
        )


@dataclass(frozen=True)
class _Each:
    """Values of folders, for each of their images."""

    order: Sequence[str]
    counts: Tensor

    def values(self, of_folder: Mapping[str, int]) -> Tensor:
        return torch.tensor([of_folder[name] for name in self.order]).repeat_interleave(self.counts)

    def places(self, of_folder: Mapping[str, str], names: Sequence[str]) -> Tensor:
        index = {name: number for number, name in enumerate(names)}
        return self.values({name: index[value] for name, value in of_folder.items()})


def _name(path: Path) -> str:
    """The folder's own name, or the archive's without its suffix."""
    name = path.resolve().name
    return name if path.is_dir() else without_suffix(name)


def _single_image_notes(labels: Tensor, classes: Sequence[str]) -> Iterator[str]:
    single = [classes[index] for index in (labels.bincount() == 1).nonzero().flatten().tolist()]
    if single:
        yield single_image_note(single)


def _of_parts(levels: Levels, official: Tensor, labels: Tensor) -> str:
    tops = ", ".join(levels.tops)
    shared = int((torch.stack((labels, official)).unique(dim=1)[0].bincount() > 1).sum())
    if not shared:
        return f"the folders {tops} are the parts of the official split; they share no class."
    return (
        f"the folders {tops} are the parts of the official split, and share {shared} of "
        f"{int(labels.max()) + 1} classes: "
        "--split official tests on classes that it trains on, a closed set, and is not the default."
    )


def _too_few(classes: Sequence[str], path: Path) -> DataError:
    content = f"images of one class only, '{classes[0]}'" if classes else "no images"
    return DataError(f"folder '{path}' has {content}; it needs a folder of images for each class.")
