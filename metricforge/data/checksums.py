"""The checksums that an image file carries, which Pillow does not verify when it decodes one."""

from __future__ import annotations

import struct
import zlib
from typing import IO

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_PIECE = 1 << 20


def verify(image: Image.Image, file: IO[bytes]) -> None:
    """OSError where data of an image that was opened from `file` are not those that were written.

    Of a PNG, animated or not, or one in an icon, each chunk has a CRC. The formats beside have none
    that covers their pixels. The place in the file stays.
    """
    if image.format not in ("PNG", "ICO"):
        return
    place = file.tell()
    icons = getattr(getattr(image, "ico", None), "entry", ())
    for begin in [icon.offset for icon in icons] if image.format == "ICO" else [0]:
        file.seek(begin)
        if file.read(len(_PNG)) == _PNG:
            _verify_chunks(file)
    file.seek(place)


def _verify_chunks(file: IO[bytes]) -> None:
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _read(file, 8))
        found = zlib.crc32(kind)
        while length:
            piece = _read(file, min(length, _PIECE))
            found = zlib.crc32(piece, found)
            length -= len(piece)
        if found != int.from_bytes(_read(file, 4), "big"):
            raise OSError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")


def _read(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise OSError("its data end early")
    return content
