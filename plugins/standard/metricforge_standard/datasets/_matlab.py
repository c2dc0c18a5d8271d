"""Files of Matlab's version 5, as far as lists of structs and of strings need it.

Read here, because the reader in scipy 1.17 ends the whole process on some damaged files. Source:
The MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metricforge.errors import DataError

MAX_BYTES = 64 << 20
"""The most bytes that a file or one of its variables, unpacked, may have."""

_HEADER, _VERSION = 128, 0x0100
_MATRIX, _COMPRESSED = 14, 15  # kinds of elements
_CELL, _STRUCT, _CHAR = 1, 2, 4  # classes of matrices
_NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_TEXTS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_ORDERS = {b"IM": "<", b"MI": ">"}
_ENDINGS = {"<": "-le", ">": "-be"}


def read_structs(file: Path, variable: str, fields: Sequence[str]) -> list[list[str]]:
    """The fields of each struct of a variable, as text; DataError when they can't be read."""
    try:
        return list(_variable(file, variable).structs(fields))
    except DataError:
        raise
    # Of what a damaged file leads to, bounds, encodings, codes and sizes, each has its own error.
    except Exception as error:
        raise _unreadable(file, error) from error


def read_texts(file: Path, variable: str) -> list[str]:
    """The strings of a variable that is a cell array; DataError when they can't be read."""
    try:
        return [matrix.text() for matrix in _variable(file, variable).cells()]
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(file, error) from error


@dataclass
class _Elements:
    """Elements one behind the other, each a kind and its bytes, in one byte order."""

    content: memoryview
    order: str
    place: int = 0

    def one(self) -> tuple[int, memoryview]:
        word, size = self._word(), 0
        # A small element has its size before its kind, and its bytes right behind them.
        if word >> 16:
            kind, size, begin, after = word & 0xFFFF, word >> 16, self.place, self.place + 4
        else:
            kind, size = word, self._word()
            begin, after = self.place, self.place + size
            after += 0 if kind == _COMPRESSED else -size % 8
        if begin + size > len(self.content):
            raise ValueError("it ends early")
        self.place = after
        return kind, self.content[begin : begin + size]

    def at(self, place: int) -> _Elements:
        """The same elements from a place on."""
        return _Elements(self.content, self.order, place)

    def skip(self) -> int:
        """The place of the next element, which is passed over."""
        place = self.place
        self.one()
        return place

    def matrix(self) -> _Matrix:
        kind, content = self.one()
        if kind != _MATRIX:
            raise ValueError(f"an element of kind {kind} stands for a matrix")
        inner = _Elements(content, self.order)
        if not content:
            return _Matrix(0, 0, "", inner)
        flags, sides = inner.numbers(), inner.numbers()
        name = inner.one()[1].tobytes().decode("ascii")
        return _Matrix(int(flags[0]) & 0xFF, math.prod(map(int, sides)), name, inner)

    def numbers(self) -> tuple[float, ...]:
        kind, content = self.one()
        if kind not in _NUMBERS:
            raise ValueError(f"an element of kind {kind} stands for numbers")
        code = _NUMBERS[kind]
        return struct.unpack(f"{self.order}{len(content) // struct.calcsize(code)}{code}", content)

    def _word(self) -> int:
        value: int = struct.unpack_from(f"{self.order}I", self.content, self.place)[0]
        self.place += 4
        return value


@dataclass
class _Matrix:
    """A matrix of `count` values, which follow its header in `values`."""

    kind: int
    count: int
    name: str
    values: _Elements

    def text(self) -> str:
        """Its characters, or its only number, a whole one without a point."""
        if self.kind == _CHAR:
            kind, content = self.values.one()
            if kind not in _TEXTS:
                raise ValueError(f"an element of kind {kind} stands for text")
            encoding = _TEXTS[kind]
            wide = encoding != "utf-8"
            return str(content, encoding + (_ENDINGS[self.values.order] if wide else ""))
        (number,) = self.values.numbers()
        return str(int(number) if float(number).is_integer() else number)

    def cells(self) -> Iterator[_Matrix]:
        if self.kind != _CELL:
            raise ValueError(f"'{self.name}' is no cell array")
        for _ in range(self.count):
            yield self.values.matrix()

    def structs(self, fields: Sequence[str]) -> Iterator[list[str]]:
        if self.kind != _STRUCT:
            raise ValueError(f"'{self.name}' is no array of structs")
        width = int(self.values.numbers()[0])
        written = self.values.one()[1].tobytes()
        pieces = [written[begin : begin + width] for begin in range(0, len(written), width)]
        names = [piece.partition(b"\0")[0].decode("ascii") for piece in pieces]
        for field in fields:
            if field not in names:
                raise ValueError(f"'{self.name}' has no field '{field}'")
        for _ in range(self.count):
            places = {name: self.values.skip() for name in names}
            yield [self.values.at(places[field]).matrix().text() for field in fields]


def _variable(file: Path, name: str) -> _Matrix:
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    content = file.read_bytes()
    order = _ORDERS.get(content[_HEADER - 2 : _HEADER], "")
    if not order or struct.unpack_from(f"{order}H", content, _HEADER - 4)[0] != _VERSION:
        raise ValueError("it is not of version 5")
    elements = _Elements(memoryview(content), order, _HEADER)
    while elements.place < len(content):
        place = elements.place
        kind, inner = elements.one()
        if kind == _COMPRESSED:
            found = _Elements(memoryview(_unpacked(inner)), order).matrix()
        else:
            found = elements.at(place).matrix()
        if found.name == name:
            return found
    raise DataError(f"'{file}' has no variable '{name}'; fetch it again.")


def _unpacked(content: memoryview) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(content, MAX_BYTES)
    if not stream.eof:
        raise ValueError(f"a variable ends early, or takes more than {MAX_BYTES >> 20} MiB")
    return unpacked


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return DataError(f"'{file}' can't be read as a file of Matlab's ({reason}); fetch it again.")
