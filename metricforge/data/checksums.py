"""What is asked of an encoded image before it is decoded: its checksums, its number of scans."""

from __future__ import annotations

import struct
import zlib
from typing import IO

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_SCAN = b"\xff\xda"
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


def scans_of(image: Image.Image, file: IO[bytes]) -> int:
    """The scans of a progressive JPEG that was opened from `file`, each of the whole image; else 1.

    The position in the file stays.
    """
    if not image.info.get("progressive"):
        return 1
    offset = file.tell()
    file.seek(0)
    count, last = 0, b""
    while piece := file.read(_PIECE):
        # Within the data of a scan no other byte follows an FF than 00 and a restart's.
        count += (last + piece).count(_SCAN)
        last = piece[-1:]
    file.seek(offset)
    return count


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
