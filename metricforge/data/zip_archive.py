"""The content of a zip file, by its directory, which is not trusted."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from array import array
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import IO, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from metricforge.data.archive_members import (
    check_count,
    check_ratio,
    check_size,
    is_skipped_member,
    refused,
    spelled,
)

# PKWARE's APPNOTE 4.3 and 4.5.3. The module zipfile takes 700 bytes a member, and lets a member
# unpack to gigabytes before it cuts it to the size that the directory gives.
_ENTRY = struct.Struct("<4s4x2H4x3L3H4x2L")
_LOCAL = struct.Struct("<4s22x2H")
_END = struct.Struct("<4s8x2L2x")
_END_64 = struct.Struct("<4s36x2Q")
_LOCATOR = struct.Struct("<4s16x")
_EXTRA = struct.Struct("<2H")
_LONGEST_COMMENT = (1 << 16) - 1
_SIZES_64 = 1  # the extra field of values that do not fit into 32 bits
_ELSEWHERE = 0xFFFF_FFFF  # marks a value that is in the extra field
_ENCRYPTED, _UTF_8 = 1, 0x800
_BLOCK = 1 << 16


class _Entry(NamedTuple):
    name: str
    sum: int
    """The CRC-32 of the encoded name, which the member's own header repeats."""
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    begin: int
    kind: int
    """The file type bits of a Unix mode; 0 where there are none."""


class Zip:
    """The files of a zip, without those of a skipped name: see `Contents`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.sizes = array("q")
        self._begins, self._packed = array("q"), array("q")
        self._names, self._crcs = array("I"), array("I")
        self._methods = bytearray()
        with path.open("rb") as file:
            for count, entry in enumerate(_entries(file), 1):
                check_count(path, count)
                self._add(entry)
        check_ratio(path, "all that it holds", sum(self.sizes), path.stat().st_size)

    def _add(self, entry: _Entry) -> None:
        name = spelled(self.path, entry.name)
        if entry.kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refused(self.path, entry.name, "is a link or a device")
        if entry.flags & _ENCRYPTED:
            raise refused(self.path, entry.name, "is encrypted")
        check_size(self.path, entry.name, entry.size, entry.packed)
        if entry.name.endswith("/") or is_skipped_member(name):
            return
        if entry.method not in (ZIP_STORED, ZIP_DEFLATED):
            why = f"is packed by method {entry.method}, and only deflate is unpacked"
            raise refused(self.path, entry.name, why)
        self.names.append(name)
        self.sizes.append(entry.size)
        self._begins.append(entry.begin)
        self._packed.append(entry.packed)
        self._names.append(entry.sum)
        self._crcs.append(entry.crc)
        self._methods.append(entry.method)

    def read(self, position: int) -> bytes:
        """The content of a file, never more of it than the size in the directory."""
        with self.path.open("rb") as file:
            file.seek(self._begins[position])
            _skip_local(file, self._names[position])
            unpack = _inflated if self._methods[position] == ZIP_DEFLATED else _stored
            content = unpack(file, self._packed[position], self.sizes[position] + 1)
        if len(content) > self.sizes[position]:
            raise BadZipFile("it unpacks to more than its directory says")
        if zlib.crc32(content) != self._crcs[position]:
            raise BadZipFile("Bad CRC-32")
        return content


def opened(archive: ZipFile, info: ZipInfo) -> IO[bytes]:
    """A member of a `ZipFile`, up to one byte more than its directory says, to detect a lie.

    It is unpacked no further than `read` requests; BadZipFile for a method of packing of which
    zipfile would unpack more than that.
    """
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise BadZipFile(f"it is packed by method {info.compress_type}, and not by deflate")
    longer = copy(info)
    longer.file_size += 1
    return archive.open(longer)


def _skip_local(file: IO[bytes], name_sum: int) -> None:
    """Skip a member's own header, and check that its name is the directory's."""
    signature, name, extra = _LOCAL.unpack(_exactly(file, _LOCAL.size))
    if signature != b"PK\x03\x04" or zlib.crc32(file.read(name)) != name_sum:
        raise BadZipFile("it is not where the directory says")
    file.seek(extra, os.SEEK_CUR)


def _stored(file: IO[bytes], packed: int, most: int) -> bytes:
    return file.read(min(packed, most))


def _inflated(file: IO[bytes], packed: int, most: int) -> bytes:
    """The unpacked content of `packed` bytes, up to `most` bytes."""
    inflater, content = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    while not inflater.eof and len(content) < most:
        block = inflater.unconsumed_tail
        if not block:
            block = file.read(min(packed, _BLOCK))
            packed -= len(block)
        unpacked = inflater.decompress(block, most - len(content))
        if not block and not unpacked:
            raise EOFError("it is cut short")
        content += unpacked
    return bytes(content)


def _entries(file: IO[bytes]) -> Iterator[_Entry]:
    """The entry of each member in the directory of a zip."""
    left, shift = _directory(file)
    while left > 0:
        head = _ENTRY.unpack(_exactly(file, _ENTRY.size))
        signature, flags, method, crc, packed, size, *lengths, attributes, begin = head
        if signature != b"PK\x01\x02":
            raise BadZipFile("its directory is damaged")
        raw, extra, _ = (_exactly(file, length) for length in lengths)
        size, packed, begin = _full(extra, size, packed, begin)
        name = raw.decode("utf-8" if flags & _UTF_8 else "cp437")
        kind = stat.S_IFMT(attributes >> 16)
        yield _Entry(name, zlib.crc32(raw), flags, method, crc, packed, size, begin + shift, kind)
        left -= _ENTRY.size + sum(lengths)


def _directory(file: IO[bytes]) -> tuple[int, int]:
    """Seek to the directory; returns its size, and how many bytes precede the zip in the file."""
    ends = file.seek(0, os.SEEK_END)
    first = max(0, ends - _END.size - _LONGEST_COMMENT)
    file.seek(first)
    last = file.read()
    position = last.rfind(b"PK\x05\x06")
    if position < 0 or len(last) - position < _END.size:
        raise BadZipFile("it has no directory at its end, as a zip has")
    _, size, begin = _END.unpack_from(last, position)
    position += first
    if position >= _LOCATOR.size + _END_64.size:
        file.seek(position - _LOCATOR.size - _END_64.size)
        far = _exactly(file, _END_64.size + _LOCATOR.size)
        if far.startswith(b"PK\x06\x06") and far.startswith(b"PK\x06\x07", _END_64.size):
            _, size, begin = _END_64.unpack_from(far)
            position -= len(far)
    file.seek(position - size)  # ValueError where that is before the file
    return size, position - size - begin


def _full(extra: bytes, *values: int) -> Iterator[int]:
    """The values, each replaced by its 64-bit value in the extra field if it has one."""
    far = b""
    while len(extra) >= _EXTRA.size and not far:
        kind, length = _EXTRA.unpack_from(extra)
        content, extra = extra[_EXTRA.size :][:length], extra[_EXTRA.size + length :]
        far = content if kind == _SIZES_64 else b""
    for value in values:
        if value == _ELSEWHERE and len(far) >= 8:
            value, far = int.from_bytes(far[:8], "little"), far[8:]
        yield value


def _exactly(file: IO[bytes], length: int) -> bytes:
    content = file.read(length)
    if len(content) < length:
        raise EOFError("it is cut short")
    return content
