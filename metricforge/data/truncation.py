"""Pillow's setting that lets half an image pass, held off while one is decoded.

Other libraries set it for the whole process when they are imported. Half an image must not become
training data because of them, and the user's own images are decoded as the user has set it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import ImageFile

_LOCK = Lock()
_decoding = 0
_theirs = False


@contextmanager
def no_part_of_an_image() -> Iterator[None]:
    """Within, in any thread, Pillow raises for a truncated image; then its setting is back."""
    global _decoding, _theirs
    with _LOCK:
        if not _decoding:
            _theirs, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _decoding += 1
    try:
        yield
    finally:
        with _LOCK:
            _decoding -= 1
            if not _decoding:
                ImageFile.LOAD_TRUNCATED_IMAGES = _theirs
