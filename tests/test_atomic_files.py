"""Folders that are whole or absent: what is written comes back, what was touched is refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.atomic_files import (
    MANIFEST,
    begun,
    partial_of,
    read_folder,
    write_file,
    write_files,
    write_folder,
)
from metricforge.errors import ArtefactError, ResourceError, UsageError

FILES = {"weights.bin": bytes(range(256)) * 40, "card.json": b"{}", "empty": b""}

names = st.text(alphabet="abcxyz09._-", min_size=1, max_size=9).filter(
    lambda name: name.strip(".") and name != MANIFEST
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "model", FILES)
    return tmp_path / "model"


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(names, st.binary(max_size=200), max_size=5))
def test_what_is_written_comes_back(tmp_path_factory, files):
    target = tmp_path_factory.mktemp("written") / "folder"
    write_folder(target, files)
    assert read_folder(target) == files


def test_writing_leaves_nothing_else_behind(folder: Path):
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert {path.name for path in folder.iterdir()} == {*FILES, MANIFEST}


def test_a_folder_is_replaced_as_a_whole(folder: Path):
    write_folder(folder, {"other": b"new"})
    assert read_folder(folder) == {"other": b"new"}
    assert {path.name for path in folder.iterdir()} == {"other", MANIFEST}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_parents_are_made(tmp_path: Path):
    write_folder(tmp_path / "a" / "b", FILES)
    assert read_folder(tmp_path / "a" / "b") == FILES


def of_a_dead_process(path: Path) -> Path:
    """Where a process that is no more wrote `path`."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    return path.with_name(partial_of(path).name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))


def test_the_remains_of_a_crash_are_removed(folder: Path):
    partial = of_a_dead_process(folder)
    partial.mkdir()
    (partial / "junk").write_bytes(b"half")
    write_folder(folder, {"other": b"new"})
    assert read_folder(folder) == {"other": b"new"}
    assert not partial.exists()


def test_what_a_living_process_is_writing_is_left_alone(folder: Path):
    partial = partial_of(folder)
    partial.mkdir()
    write_folder(folder, {"other": b"new"})
    assert partial.is_dir()


@pytest.mark.fault(61)
def test_processes_that_write_one_folder_at_once_do_not_disturb_each_other(tmp_path: Path):
    folder = tmp_path / "index"
    program = (
        "import sys; from pathlib import Path; from metricforge.atomic_files import write_folder\n"
        "content = sys.argv[2].encode() * 100_000\n"
        "files = {name: content for name in ('a', 'b', sys.argv[2])}\n"
        "for _ in range(60): write_folder(Path(sys.argv[1]), files)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, folder, sign]) for sign in "xyz"]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0, 0]
    found = read_folder(folder)
    assert set(found) in ({"a", "b", sign} for sign in "xyz")
    assert len({content[:1] for content in found.values()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.fault(64)
def test_files_that_belong_together_are_both_written_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows, names = tmp_path / "e.npy", tmp_path / "e.json"
    write_files({rows: lambda file: file.write(b"rows"), names: b"names"})
    calls, fsync = [], os.fsync

    def full_at_the_second(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(ResourceError, match=r"e\.json: No space left on device"):
        write_files({rows: b"new", names: b"new"})
    assert (rows.read_bytes(), names.read_bytes()) == (b"rows", b"names")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_device_is_not_replaced_and_a_link_is_followed(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe is no regular file"):
        write_file(tmp_path / "pipe", "text")
    (tmp_path / "e.npy").write_bytes(b"rows")
    (tmp_path / "e.json").mkdir()
    with pytest.raises(UsageError, match=r"e\.json is a folder"):
        write_files({tmp_path / "e.npy": b"new", tmp_path / "e.json": b"new"})
    assert (tmp_path / "e.npy").read_bytes() == b"rows"
    (tmp_path / "link").symlink_to("target")
    write_file(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"


@pytest.mark.parametrize("place", [0, 5_000, len(FILES["weights.bin"]) - 1])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit_is_found(folder: Path, place: int, bit: int):
    path = folder / "weights.bin"
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"weights\.bin is damaged: its sha256"):
        read_folder(folder)


@pytest.mark.parametrize("length", [0, 1, len(FILES["weights.bin"]) - 1])
def test_a_truncated_file_is_found(folder: Path, length: int):
    os.truncate(folder / "weights.bin", length)
    with pytest.raises(ArtefactError, match=r"weights\.bin is damaged"):
        read_folder(folder)


def test_a_file_that_grew_is_found(folder: Path):
    with (folder / "card.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtefactError, match=r"card\.json is damaged"):
        read_folder(folder)


def test_a_missing_file_is_named(folder: Path):
    (folder / "weights.bin").unlink()
    with pytest.raises(ArtefactError, match=r"weights\.bin can't be read"):
        read_folder(folder)


def test_a_file_that_the_manifest_does_not_name_is_not_used(folder: Path):
    (folder / "intruder").write_bytes(b"?")
    assert read_folder(folder) == FILES


def test_a_folder_without_a_manifest_is_refused(folder: Path):
    (folder / MANIFEST).unlink()
    with pytest.raises(ArtefactError, match=rf"{folder} holds no {MANIFEST}"):
        read_folder(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ArtefactError, match=MANIFEST):
        read_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b'{"sha256": []}',
        b"[" * 200_000,
        b'{"sha256": null}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_manifest_is_refused(folder: Path, manifest: bytes):
    (folder / MANIFEST).write_bytes(manifest)
    with pytest.raises(ArtefactError, match="is damaged: it is not a manifest"):
        read_folder(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "a/../../secret", "/etc/hostname", "sub/file", "\ud800"]
)
def test_a_manifest_that_names_files_elsewhere_is_refused(folder: Path, name: str):
    (folder.parent / "secret").write_bytes(b"secret")
    manifest = {"sha256": {name: "0" * 64}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="lies outside its folder"):
        read_folder(folder)


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, track: Path) -> None:
        self.track = str(track)

    def __reduce__(self):
        return os.mkdir, (self.track,)


def test_the_canary_sings(tmp_path: Path):
    # Without this the tests that nothing was executed could not fail.
    pickle.loads(pickle.dumps(Canary(tmp_path / "track")))
    assert (tmp_path / "track").is_dir()


def test_a_pickle_in_place_of_the_folder_is_not_opened(tmp_path: Path):
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps(Canary(tmp_path / "track")))
    with pytest.raises(ArtefactError, match=r"is a file, .* it was not opened"):
        read_folder(path)
    assert not (tmp_path / "track").exists()


def test_a_pickle_in_place_of_the_manifest_is_not_opened(folder: Path, tmp_path: Path):
    (folder / MANIFEST).write_bytes(pickle.dumps(Canary(tmp_path / "track")))
    with pytest.raises(ArtefactError, match="is damaged"):
        read_folder(folder)
    assert not (tmp_path / "track").exists()


def test_a_folder_that_can_not_be_written_is_a_resource_error(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="can't write"):
        write_folder(tmp_path / "file" / "model", FILES)


def test_a_full_disk_leaves_what_stood_there(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        write_folder(folder, {"other": b"new"})
    monkeypatch.undo()
    assert read_folder(folder) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


class Killed(BaseException):
    """What a process that is killed would raise, if it could."""


@pytest.mark.parametrize("after", [0, 1])
def test_a_kill_between_two_steps_loses_no_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, after: int
):
    """Whole or absent is for what is new: what stood there must not be lost on the way."""
    renames, rename = [], Path.rename

    def killed(self: Path, target: Path) -> Path:
        if len(renames) == after:
            raise Killed
        renames.append(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(Killed):
        write_folder(folder, {"other": b"new"})
    monkeypatch.undo()
    assert read_folder(folder) in (FILES, {"other": b"new"})


def test_a_text_file_is_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "config.toml"
    write_file(path, "a = 1\n")
    write_file(path, "b = 'ü'\n")
    assert path.read_text(encoding="utf-8") == "b = 'ü'\n"
    assert [found.name for found in tmp_path.iterdir()] == ["config.toml"]


def test_processes_that_write_one_file_at_once_do_not_disturb_each_other(tmp_path: Path):
    path = tmp_path / "config.toml"
    program = (
        "import sys; from pathlib import Path; from metricforge.atomic_files import write_file\n"
        "for _ in range(300): write_file(Path(sys.argv[1]), sys.argv[2] * 1000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, path, sign]) for sign in "abc"]
    assert [writer.wait(timeout=600) for writer in writers] == [0, 0, 0]
    assert path.read_text() in {sign * 1000 for sign in "abc"}
    assert [found.name for found in tmp_path.iterdir()] == ["config.toml"]


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path: Path):
    path = tmp_path / "config.toml"
    assert begun(partial_of(path).name) == "config.toml"
    assert begun("config.toml") is None
    of_a_dead_process(path).write_text("half")
    write_file(path, "whole")
    assert [found.name for found in tmp_path.iterdir()] == ["config.toml"]


def test_a_full_disk_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "config.toml"
    write_file(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        write_file(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["config.toml"]
