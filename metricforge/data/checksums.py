"""The checksums that an image file carries, which Pillow does not verify when it decodes one."""

from __future__ import annotations

import struct
import zlib
from typing import IO

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_PIECE = 1 << 20


def verify(image: Image.Image, file: IO[bytes]) -> None:
    """OSError where a checksum of an image that was opened from `file` is wrong.

    Of a PNG, animated or not, or one in an icon, each chunk has a CRC. Other formats have none that
    covers their pixels. The position in the file stays.
    """
    if image.format not in ("PNG", "ICO"):
        return
    offset = file.tell()
    icons = getattr(getattr(image, "ico", None), "entry", ())
    for begin in [icon.offset for icon in icons] if image.format == "ICO" else [0]:
        file.seek(begin)
        if file.read(len(_PNG)) == _PNG:
            _verify_chunks(file)
    file.seek(offset)


def _verify_chunks(file: IO[bytes]) -> None:
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _read(file, 8))
        crc = zlib.crc32(kind)
        while length:
            piece = _read(file, min(length, _PIECE))
            crc = zlib.crc32(piece, crc)
            length -= len(piece)
        if crc != int.from_bytes(_read(file, 4), "big"):
            raise OSError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")


def _read(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise OSError("its data end early")
    return content
