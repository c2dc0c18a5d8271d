"""Folders of files that are whole or absent: checkpoints and models.

A folder is written under a temporary name, synced, and renamed; `manifest.json` holds the sha256
of each file, which is checked before use. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, TypeAlias, TypedDict

from filelock import lock_descriptor

from metricforge.decoding import decoded
from metricforge.errors import ArtefactError, ResourceError, UsageError
from metricforge.regular_file import TENSORS, open_regular, read_bytes

MANIFEST = "manifest.json"

_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)(-\d+)?\.partial")
_CALLS = count()

Content: TypeAlias = bytes | Callable[[IO[bytes]], object]
"""The content of a file, or a function that writes it."""


class _Manifest(TypedDict):
    sha256: dict[str, str]


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put `files` (name to content) and their manifest into `folder`, replacing it as a whole.

    If processes write it at once, the last one's files stay, all of them. Raises ResourceError when
    the disk is full or read-only; the old folder is then untouched.
    """
    with replacing(folder) as partial:
        for name, content in {**files, MANIFEST: manifest(files)}.items():
            _write_synced(partial / name, content)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which replaces `folder` as a whole when the block ends.

    The files in it must be synced. If the block raises, the old folder is untouched; an OSError is
    raised as a ResourceError.
    """
    partial = partial_of(folder)
    try:
        clear_partials(folder.parent, folder.name)
        partial.mkdir(parents=True)
        yield partial
        _sync(partial)
        with _alone_in(folder.parent):
            _replace(partial, folder)
    except OSError as error:
        raise ResourceError(f"can't write {folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sync_tree(folder: Path) -> None:
    """Sync each file and folder below `folder`, which another library has written."""
    for path, _, names in os.walk(folder):
        for name in names:
            _sync(Path(path) / name)
        _sync(Path(path))


def manifest(files: Mapping[str, bytes]) -> bytes:
    """The manifest of some files: the sha256 of each by its name."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps({"sha256": sums}, indent=1, sort_keys=True).encode()


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder that :func:`write_folder` made, each checked by its sha256.

    Raises ArtefactError for anything else: a missing folder, a file instead of it (a pickled
    checkpoint is not opened), a missing, truncated or altered file.
    """
    if folder.is_file():
        raise ArtefactError(
            f"{folder} is a file, and a model or checkpoint here is a folder with a "
            f"{MANIFEST}; it was not opened (a pickle can run code when it is)."
        )
    _restore(folder)
    sums = _manifest(folder)
    files = {}
    for name, expected in sums.items():
        path = folder / name
        try:
            content = read_bytes(path, TENSORS)
        except OSError as error:
            raise ArtefactError(f"{path} can't be read: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise ArtefactError(f"{path} is damaged: its sha256 is not the manifest's.")
        files[name] = content
    return files


def settle(parent: Path) -> None:
    """Finish or undo the :func:`write_folder` of a killed process in `parent`."""
    for path in [*parent.glob(".*.old"), *parent.glob(".*.partial")]:
        if path.suffix == ".old":
            _restore(path.with_name(path.name[1:].removesuffix(".old")))
        # Already gone if it was restored.
        shutil.rmtree(path, ignore_errors=True)


def write_file(path: Path, content: str) -> None:
    """Write a text file so that a crash leaves the old or the new content, never a part.

    If processes write it at once, the last one's content stays.
    """
    write_files({path: content.encode()})


def write_files(files: Mapping[Path, Content]) -> None:
    """Write files of one folder that belong together, as :func:`write_file` writes one.

    If one can't be written, none is changed; they are renamed one after the other, so that a kill
    in between can leave some of them new. Raises UsageError for a path that is no regular file,
    e.g. a folder or a device, ResourceError when the disk is full or read-only.
    """
    partials = {path: partial_of(_behind_links(path)) for path in files}
    path = next(iter(files))
    try:
        for path, content in files.items():
            clear_partials(partials[path].parent, _behind_links(path).name)
            _write_synced(partials[path], content)
        with _alone_in(partials[path].parent):
            for path, partial in partials.items():
                partial.replace(_behind_links(path))
    except OSError as error:
        raise ResourceError(f"can't write {path}: {error.strerror or error}.") from error
    finally:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink()


def _behind_links(path: Path) -> Path:
    """The regular file, or new file, that `path` leads to."""
    refuse_irregular(path)
    return path.resolve() if path.is_symlink() else path


def refuse_irregular(path: Path) -> None:
    """UsageError for a path that a file must not replace: a folder, a device."""
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise UsageError(f"{path} is {what}; name another place for the file.")


def check_writable(*paths: Path) -> None:
    """Check, before long work, that files can be written: their folder is made if it is missing.

    UsageError for a path that is no regular file, ResourceError where nothing can be written.
    """
    for path in paths:
        refuse_irregular(path)
        target = _behind_links(path)
        partial = partial_of(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()
            partial.unlink()
        except OSError as error:
            raise ResourceError(f"can't write {path}: {error.strerror or error}.") from error


def check_replaced(path: Path, *begins: bytes) -> None:
    """UsageError if a file exists that begins otherwise than one of the same command."""
    if not path.is_file():
        return
    with open_regular(path) as file:
        content = file.read(max(map(len, begins)))
    if content and not content.startswith(begins):
        raise UsageError(f"{path} exists, and is no earlier output; give another file.")


def partial_of(path: Path) -> Path:
    """The temporary path, unique to this call, of a file or folder to be renamed to `path`."""
    own = f"{_machine()}-{os.getpid()}-{next(_CALLS)}"
    return path.with_name(f".{path.name}.{own}.partial")


def begun(name: str) -> str | None:
    """The final name of a partial file or folder of :func:`partial_of`; None for another name."""
    match = _PARTIAL.fullmatch(name)
    return match["name"] if match else None


def clear_partials(folder: Path, name: str | None = None) -> None:
    """Remove the partial files and folders of killed processes, or those with this final name."""
    with suppress(OSError):  # a process that can't tidy up may still be able to write
        for path in folder.iterdir():
            match = _PARTIAL.fullmatch(path.name)
            # A process on another machine may still be writing.
            ours = match and match["machine"] == _machine() and name in (None, match["name"])
            if match and ours and not _is_alive(int(match["process"])):
                remove = shutil.rmtree if path.is_dir() else os.unlink
                remove(path)


def _machine() -> str:
    # A hash, since a host's name may be long and that of a file is at most 255 bytes.
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _restore(folder: Path) -> None:
    """Restore the old folder after a crash between the two renames of a replacement."""
    if folder.exists() or not _aside(folder).is_dir():
        return
    with _alone_in(folder.parent):  # else a writer may be between the two renames
        if not folder.exists() and _aside(folder).is_dir():
            _aside(folder).rename(folder)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against renames by other processes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks; there one of two simultaneous renames fails.
        with suppress(OSError):
            lock_descriptor(handle, poll_interval=0.001)
        yield
    finally:
        os.close(handle)


def _manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    try:
        sums = decoded(read_bytes(path), _Manifest)["sha256"]
    except OSError as error:
        raise ArtefactError(
            f"{folder} holds no {MANIFEST} ({error.strerror}): metricforge did not write it, or "
            "not to its end."
        ) from error
    except ValueError as error:
        raise ArtefactError(f"{path} is damaged: it is not a manifest ({error}).") from error
    for name in sums:
        if not _is_in_folder(name):
            raise ArtefactError(f"{path} names {name!r}, which lies outside its folder.")
    return sums


def _is_in_folder(name: str) -> bool:
    try:
        return Path(name).name == name and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a character, which JSON can have and a file's name can't
        return False


def _write_synced(path: Path, content: Content) -> None:
    with path.open("wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(partial: Path, folder: Path) -> None:
    # A folder can't be renamed over another that has files: the old one steps aside first.
    old = _aside(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    _sync(folder.parent)
