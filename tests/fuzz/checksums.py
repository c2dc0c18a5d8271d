"""Checksums within files, mended after a mutation, which they would catch."""

from __future__ import annotations

import zlib

_PNG = 8
_TAR = 512


def mend_png(content: bytes) -> bytes:
    """A PNG whose chunks have their checksums."""
    mended, at = bytearray(content), _PNG
    while at + 12 <= len(mended):
        end = at + 8 + int.from_bytes(mended[at : at + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)


def mend_tar(content: bytes) -> bytes:
    """A tar whose headers have their checksums, wherever a block looks like a header."""
    mended = bytearray(content)
    for at in range(0, len(mended) - _TAR + 1, _TAR):
        if mended[at + 257 : at + 262] == b"ustar":
            mended[at + 148 : at + 156] = b" " * 8
            mended[at + 148 : at + 156] = b"%06o\0 " % sum(mended[at : at + _TAR])
    return bytes(mended)
