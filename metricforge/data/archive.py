"""The images in a zip or tar file, read where they are: nothing is unpacked to disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from metricforge.data.archive_members import Members, readable
from metricforge.data.tar_archive import CompressedTar, Tar, is_compressed
from metricforge.data.zip_archive import Zip

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def without_suffix(name: str) -> str:
    """An archive's name without its suffix."""
    shown = name.lower()
    longest = max((len(suffix) for suffix in SUFFIXES if shown.endswith(suffix)), default=0)
    return name[: len(name) - longest] or name


def read_archive(
    path: Path,
    unknown: list[str] | None = None,
    exclude: Callable[[str], bool] | None = None,
) -> Members:
    """The images in an archive, sorted by path; hidden and known by-files are skipped.

    A zip or a plain tar is read again for each image, from several threads at once; the images of
    a compressed tar are kept in memory, up to MOST_IN_MEMORY bytes. Raises DataError for a member
    that leads out, a link, a device, a member that is no image, too large or a duplicate, and for
    an archive that holds too many, unpacks to too much, is encrypted, damaged or cut short. Members
    that are no images are added to `unknown`; `exclude` returns whether a path is skipped.
    """
    with readable(path):
        if path.name.lower().endswith(".zip"):
            held: Zip | Tar | CompressedTar = Zip(path)
        else:
            held = CompressedTar(path) if is_compressed(path) else Tar(path)
    names, held.names = held.names, []  # Members keeps them in a tenth of the memory
    return Members(path, names, held, unknown, exclude)


def below_shared(names: Iterable[str]) -> str:
    """The folder that holds all classes of an archive, with a slash behind; "" if none.

    `names` are the members' paths. People pack the folder `photos`, not its content.
    """
    folders = {name.rpartition("/")[0] for name in names}
    shared = os.path.commonpath(folders) if folders else ""
    # A folder that holds images is a class.
    while shared in folders and shared:
        shared = shared.rpartition("/")[0]
    return f"{shared}/" if shared else ""
