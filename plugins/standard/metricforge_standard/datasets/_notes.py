"""Common notes on the user's own data, for all sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from metricforge.data.decode import Header, read_header
from metricforge.data.image_files import Encoded
from metricforge.errors import DataError

_SAMPLED = 64  # files whose headers are read
_SHOWN = 5  # names in a note


def counted(names: Sequence[str]) -> str:
    """The number of names, and the first of them: "7 (a, b, c, d, e, ...)"."""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} ({', '.join(names[:_SHOWN])}{more})"


def single_image_note(classes: Sequence[str]) -> str:
    """The note on classes of one image."""
    return f"classes of one image, which no other can match: {counted(classes)}."


def converted(files: Sequence[Encoded], shape: tuple[int, int, int]) -> str:
    """The note on the formats and sizes of images, by the headers of some, and their conversion."""
    step = -(-len(files) // _SAMPLED)
    headers = [parsed for file in files[::step] if (parsed := _header(file))]
    if not headers:
        return "none of the images that were tried can be read."
    kinds = Counter(f"{header.format} {header.mode}" for header in headers)
    formats = ", ".join(kind for kind, _ in kinds.most_common(_SHOWN))
    channels, height, width = shape
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    return (
        f"images ({formats}; {_sizes(headers)} pixels) become {colours}, {width} x {height}"
        f"{', whatever their proportions' if any(h.width != h.height for h in headers) else ''}."
    )


def _header(file: Encoded) -> Header | None:
    try:
        return read_header(file)
    except DataError:
        return None  # it is reported where it is decoded


def _sizes(headers: Sequence[Header]) -> str:
    sizes = sorted((h.width * h.height, f"{h.width} x {h.height}") for h in headers)
    least, most = sizes[0][1], sizes[-1][1]
    return least if least == most else f"{least} to {most}"
