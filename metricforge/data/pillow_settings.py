"""Pillow's settings while an image of a file is decoded; afterwards they are the user's again.

Other libraries let half an image pass, for the whole process, when they are imported. Half an image
must not become training data because of them. The most pixels are the user's to raise, and not a
model's or a dataset's: a stranger may have written these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple

from PIL import Image, ImageFile

from metricforge.errors import UsageError

MAX_PIXELS = 1 << 26
"""The most pixels of an image that is decoded: 67 megapixels, more than a camera's full frame."""

VARIABLE = "METRICFORGE_MAX_MEGAPIXELS"
"""The environment variable that sets another limit."""

_LARGEST = 4_000

_LOCK = Lock()
_decoding = 0


class _Settings(NamedTuple):
    truncated: bool
    most_pixels: int | None


_theirs = _Settings(False, None)


def most_pixels() -> int:
    """The most pixels of an image that is decoded: MAX_PIXELS, or as the user's VARIABLE says.

    Raises UsageError if that is no number of megapixels.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= _LARGEST:
        raise UsageError(f"{VARIABLE} is a whole number from 1 to {_LARGEST:,}, not '{text}'.")
    return int(text) * 10**6


@contextmanager
def decoding() -> Iterator[int]:
    """Within, in any thread, Pillow raises for a truncated image, and opens up to `most_pixels`.

    Gives that number. The user's settings are back when the last thread leaves.
    """
    global _decoding, _theirs
    most = most_pixels()
    with _LOCK:
        if not _decoding:
            _theirs = _Settings(ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        if Image.MAX_IMAGE_PIXELS is not None and most > MAX_PIXELS:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most)
        _decoding += 1
    try:
        yield most
    finally:
        with _LOCK:
            _decoding -= 1
            if not _decoding:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = _theirs
