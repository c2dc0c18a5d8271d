"""Image files to uint8 tensors of one shape, or one sentence on why that failed."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from metricforge.contracts import AS_IT_LIES, Reading
from metricforge.data.checksums import scans_of, verify
from metricforge.data.crop_to_ink import framed
from metricforge.data.filetypes import formats
from metricforge.data.image_files import Encoded, name_of
from metricforge.data.pillow_settings import MAX_PIXELS, VARIABLE, decoding, most_pixels
from metricforge.errors import DataError, MetricForgeError
from metricforge.regular_file import check_regular

Buffer: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = Path | Encoded | Buffer

_MODES = {1: "L", 3: "RGB"}
_SIXTEEN_BIT = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, "metricforge: zero is white"
_GREYS = {"L;2": 3, "L;4": 15}  # the largest value of a grey of few bits
_GAP = 3  # after a cheap first reduction the image is at least this much larger than requested
# Of a JPEG, whose own reduction averages as a good filter does: on grainy images the result is one
# grey level of 255 from that of the whole, for two thirds of the time.
_JPEG_GAP = 1.5

MAX_SIDE = 1 << 16
"""The most pixels of a side: a row or a column alone takes memory of its own."""

MAX_SCANS = 16
"""The most scans of a progressive JPEG of MAX_PIXELS or more; a smaller one may have more."""


def read_image(
    source: Source,
    shape: tuple[int, ...],
    name: str | None = None,
    reading: Reading = AS_IT_LIES,
) -> Tensor:
    """Decode one image.

    The conversion to one channel (luma) or three: transparency is laid on white, a palette is
    looked up, CMYK and YCbCr become RGB, 16-bit grey is scaled to 8 bits (65535 is 255, or the
    largest value of `reading.depth` bits), 1-bit is 0 or 255. The EXIF orientation is applied. Then
    the image is resized to (H, W) by antialiased bilinear interpolation, whatever its own
    proportions or by `reading.fit`. Of an animation the first frame is decoded.

    Args:
        source: A path, encoded bytes, or an :class:`EncodedImage`.
        shape: (C, H, W) of the result, C = 1 or 3.
        name: Name of the image in errors. Default: its path.
        reading: Further steps, e.g. inversion.

    Returns:
        uint8 [C, H, W].

    Raises:
        DataError: The image can't be decoded in full, has a wrong checksum, more pixels than
            `most_pixels` allows, or a side of more than MAX_SIDE; the error names it.
    """
    _check_channels(shape[0])
    name = name or ("in memory" if isinstance(source, Buffer) else name_of(source))
    content = source if isinstance(source, Path | Buffer) else source.read()
    try:
        # Ink that is thin would be lost in a JPEG that is decoded to a part of its size.
        side = max(shape[1:]) if reading.margin is None else None
        return as_tensor(_decode(content, side, name), shape, name, reading)
    except MetricForgeError:
        raise
    # Pillow's decoders raise whatever a damaged file drives them into: OSError, SyntaxError,
    # struct.error, EOFError, IndexError. All of them mean one thing here.
    except Exception as error:
        raise _undecodable(error, name) from error


def read_whole(source: Source, channels: int, name: str | None = None) -> Tensor:
    """Decode one image at its own size; converted as by :func:`read_image`, without a reading.

    Args:
        source: A path, encoded bytes, or an :class:`EncodedImage`.
        channels: 1 or 3.
        name: Name of the image in errors. Default: its path.

    Returns:
        uint8 [C, H, W].

    Raises:
        DataError: As :func:`read_image`.
    """
    _check_channels(channels)
    name = name or ("in memory" if isinstance(source, Buffer) else name_of(source))
    try:
        content = source if isinstance(source, Path | Buffer) else source.read()
        image = _decode(content, None, name)
        return as_tensor(image, (channels, image.height, image.width), name)
    except MetricForgeError:
        raise
    except Exception as error:  # as above
        raise _undecodable(error, name) from error


def read_opened(
    image: Image.Image, shape: tuple[int, ...], name: str, reading: Reading = AS_IT_LIES
) -> Tensor:
    """An image that Pillow has opened, converted as `read_image` converts its file."""
    try:
        with decoding():
            upright = _upright(image, name)
        return as_tensor(upright, shape, name, reading)
    except MetricForgeError:
        raise
    except Exception as error:  # as above: it may not be decoded yet
        raise _undecodable(error, name) from error


class Header(NamedTuple):
    """The format, mode and size of a file's image, read before anything is decoded."""

    format: str
    mode: str
    width: int
    height: int


def read_header(source: Encoded) -> Header:
    """Pillow's names of format and mode, and the size in pixels before it is turned upright.

    Raises DataError, naming the image, for anything else.
    """
    name = name_of(source)
    try:
        encoded = _opened(source if isinstance(source, Path) else source.read())
        with decoding(), Image.open(encoded, formats=formats()) as image:
            return Header(str(image.format), image.mode, image.width, image.height)
    except MetricForgeError:
        raise
    except Exception as error:
        raise _undecodable(error, name) from error


def levels_used(source: Encoded) -> tuple[int, int] | None:
    """The largest value in an image of more than 8 bits a channel, and the largest possible.

    None for any other. Of 16-bit colour Pillow reads the upper 8 bits: the largest is then 255.
    Raises DataError, naming the image, for one that can't be decoded.
    """
    name = name_of(source)
    try:
        content = source if isinstance(source, Path) else source.read()
        opened = _opened(content)
        with decoding(), Image.open(opened, formats=formats()) as image:
            # The raw mode is the first argument of the decoder: "RGB;16B".
            cut = any(";16" in str(tile[3]) for tile in image.tile)
            if not cut and image.mode not in _SIXTEEN_BIT:
                return None
        pixels = np.array(_decode(content, None, name))
        return int(pixels.max()), 0xFF if pixels.dtype == np.uint8 else 0xFFFF
    except MetricForgeError:
        raise
    except Exception as error:
        raise _undecodable(error, name) from error


def as_tensor(
    image: Image.Image,
    shape: tuple[int, ...],
    name: str = "in memory",
    reading: Reading = AS_IT_LIES,
) -> Tensor:
    """A decoded image as uint8 [C, H, W] of the given shape, converted as by `read_image`."""
    channels, height, width = shape
    _check_channels(channels)
    image = _opaque(_eight_bit(image, name, reading.depth)).convert(_MODES[channels])
    if reading.margin is None:
        image = _resized(image, (width, height), reading.fit)
    else:
        image = framed(image, (width, height), reading.margin)
    pixels = torch.from_numpy(np.array(image)).view(height, width, channels)
    pixels = pixels.permute(2, 0, 1).contiguous()
    return 255 - pixels if reading.inverted else pixels


def _resized(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    """An image at `size`, width and height: squeezed, its middle cropped, or padded with black."""
    bilinear = Image.Resampling.BILINEAR
    if fit == "squeeze" or image.width * size[1] == image.height * size[0]:
        return image.resize(size, bilinear, reducing_gap=_GAP)
    ratios = [own / wanted for own, wanted in zip(image.size, size, strict=True)]
    if fit == "crop":
        wide, high = (wanted * min(ratios) for wanted in size)
        left, top = (image.width - wide) / 2, (image.height - high) / 2
        box = (left, top, left + wide, top + high)
        return image.resize(size, bilinear, box=box, reducing_gap=_GAP)
    inner = [max(1, round(own / max(ratios))) for own in image.size]
    small = image.resize((inner[0], inner[1]), bilinear, reducing_gap=_GAP)
    whole = Image.new(image.mode, size)
    whole.paste(small, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return whole


def _check_channels(channels: int) -> None:
    if channels not in _MODES:
        raise ValueError(f"images are decoded to 1 or 3 channels, not {channels}.")


def _decode(source: Path | Buffer, side: int | None, name: str) -> Image.Image:
    """The upright image, in its own mode: `side` pixels a side or more if it has as many.

    Without a `side` it has its full size.
    """
    encoded = _opened(source)
    with decoding() as most, Image.open(encoded, formats=formats()) as image:
        pixels = image.width * image.height
        if pixels > most or max(image.size) > MAX_SIDE:
            raise _too_large(name, image.size)
        if image.fp:
            verify(image, image.fp)
            scans = scans_of(image, image.fp)
            if scans * pixels > MAX_SCANS * max(MAX_PIXELS, pixels):
                raise _too_many_scans(name, scans)
        if side is not None:
            # A JPEG decodes to a half, quarter or eighth of its size at a fraction of the cost.
            least = math.ceil(side * _JPEG_GAP)
            image.draft(None, (least, least))
        return _upright(image, name)


def _upright(image: Image.Image, name: str) -> Image.Image:
    """An image that was opened, decoded and turned upright; what Pillow leaves to do is noted.

    Pillow inverts a TIFF whose zero is white, and scales a transparent grey, with up to 8 bits.
    """
    raw = next((str(tile[3]) for tile in image.tile), "") if hasattr(image, "tile") else ""
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and ";16" in raw:
        raise DataError(
            f"image '{name}' has a transparent colour of 16 bits, which can't be told from others "
            "in 8; save it with an alpha channel, or without transparency."
        )
    white_is_zero = image.mode in _SIXTEEN_BIT and _tag(image, _PHOTOMETRIC) == 0
    upright = ImageOps.exif_transpose(image)
    if isinstance(clear, int) and (levels := _GREYS.get(raw)):
        upright.info["transparency"] = clear * 255 // levels
    if white_is_zero:
        upright.info[_WHITE_IS_ZERO] = True
    return upright


def _tag(image: Image.Image, number: int) -> object:
    """A tag of a TIFF; None of another format."""
    tags = getattr(image, "tag_v2", None)
    return tags.get(number) if tags is not None else None


def _opened(source: Path | Buffer) -> Path | io.BytesIO:
    if not isinstance(source, Path):
        return io.BytesIO(source)
    check_regular(source)
    return source


def _eight_bit(image: Image.Image, name: str, depth: int) -> Image.Image:
    if image.mode in _EIGHT_BIT:
        return image
    if image.mode not in _SIXTEEN_BIT:
        raise DataError(
            f"image '{name}' has pixels of Pillow's mode '{image.mode}', whose range is not "
            "known; save it with 8 or 16 bits a channel."
        )
    values = np.array(image).astype(np.int32)
    clear = image.info.get("transparency")
    opaque = None if clear is None else values != clear
    top = 2**depth - 1
    if values.min() < 0 or values.max() > top:
        instead = "save it with 8 or 16 bits" if depth == 16 else "give the dataset a larger depth"
        raise DataError(f"image '{name}' has values beyond {depth} bits; {instead}.")
    if image.info.get(_WHITE_IS_ZERO):
        values = top - values
    grey = ((values * 510 + top) // (2 * top)).astype(np.uint8)
    return Image.fromarray(grey if opaque is None else np.where(opaque, grey, np.uint8(255)))


def _opaque(image: Image.Image) -> Image.Image:
    """The image on white where it has transparency, else itself."""
    if not image.has_transparency_data:
        return image
    clear = image.convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear)


def _undecodable(error: Exception, name: str) -> DataError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _too_large(name)
    if isinstance(error, UnidentifiedImageError):
        return DataError(f"'{name}' is no image that can be read; replace it, or take it away.")
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(
            f"image '{name}' can't be opened ({error.strerror}); check its path and permissions."
        )
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return DataError(f"image '{name}' is damaged ({reason}); replace it, or take it away.")


def _too_large(name: str, size: tuple[int, int] | None = None) -> DataError:
    width, height = size or (0, 0)
    if max(width, height) > MAX_SIDE:
        return DataError(
            f"image '{name}' has {width:,} x {height:,} pixels; a side has {MAX_SIDE:,} at most: "
            "cut it, or take it away."
        )
    # Pillow refuses the largest before it tells their size.
    megapixels = str(-(-width * height // 10**6)) if size else "the megapixels it has"
    return DataError(
        f"image '{name}' has more than {most_pixels() // 10**6} megapixels, which is refused as a "
        f"decompression bomb; scale it down, take it away, or, if you trust it, set {VARIABLE} to "
        f"{megapixels}."
    )


def _too_many_scans(name: str, scans: int) -> DataError:
    return DataError(
        f"image '{name}' has {scans:,} scans, which would take minutes to decode; save it anew, or "
        "take it away."
    )
