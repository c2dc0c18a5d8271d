"""Inputs that differ from a valid one in some bytes: flipped, cut, inserted, duplicated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

_VALUES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
"""Numbers at which a size or an offset overflows."""

_PIECES = st.one_of(
    st.binary(min_size=1, max_size=16),
    st.sampled_from([b"\0", b"\n", b"\r", b'"', b"[", b"{", b"\xff\xfe", b"\xef\xbb\xbf", b"nan"]),
    st.characters(codec="utf-8").map(str.encode),
    st.binary(min_size=1, max_size=4).map(lambda piece: piece * 3000),
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed with one to four changes."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        change: Callable[[st.DrawFn, bytes], bytes] = draw(st.sampled_from(_CHANGES))
        content = change(draw, content)
    return content


def _at(draw: st.DrawFn, content: bytes) -> int:
    return draw(st.integers(0, len(content)))


def _span(draw: st.DrawFn, content: bytes) -> slice:
    begin = _at(draw, content)
    return slice(begin, begin + draw(st.one_of(st.integers(1, 8), st.integers(1, 4096))))


def _flip(draw: st.DrawFn, content: bytes) -> bytes:
    at, bits = _at(draw, content), draw(st.integers(1, 255))
    return content[:at] + bytes(byte ^ bits for byte in content[at : at + 1]) + content[at + 1 :]


def _cut(draw: st.DrawFn, content: bytes) -> bytes:
    span = _span(draw, content)
    return content[: span.start] + content[span.stop :]


def _end(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: _at(draw, content)]


def _insert(draw: st.DrawFn, content: bytes) -> bytes:
    at = _at(draw, content)
    return content[:at] + draw(_PIECES) + content[at:]


def _overwrite(draw: st.DrawFn, content: bytes) -> bytes:
    at, piece = _at(draw, content), draw(_PIECES)
    return content[:at] + piece + content[at + len(piece) :]


def _number(draw: st.DrawFn, content: bytes) -> bytes:
    """A number of 1 to 8 bytes in either order."""
    at, size = _at(draw, content), draw(st.sampled_from([1, 2, 4, 8]))
    value = draw(st.sampled_from(_VALUES)) % 256**size
    piece = value.to_bytes(size, draw(st.sampled_from(["little", "big"])))
    return content[:at] + piece + content[at + size :]


def _digits(draw: st.DrawFn, content: bytes) -> bytes:
    """Another number where the text has one."""
    places = [at for at, byte in enumerate(content) if chr(byte).isdecimal()]
    if not places:
        return content
    at = draw(st.sampled_from(places))
    number = draw(st.one_of(st.integers(-(2**65), 2**65), st.integers(0, 99)))
    return content[:at] + str(number).encode() + content[at + 1 :]


def _duplicate(draw: st.DrawFn, content: bytes) -> bytes:
    span, at = _span(draw, content), _at(draw, content)
    return content[:at] + content[span] * draw(st.sampled_from([1, 2, 50])) + content[at:]


_CHANGES = (_flip, _cut, _end, _insert, _overwrite, _number, _digits, _duplicate)
