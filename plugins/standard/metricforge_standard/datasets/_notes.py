"""Common notes on the user's own data, and checks of it, for all sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from metricforge.contracts import TEST, Reading
from metricforge.data.decode import Header, levels_used, read_header
from metricforge.data.image_files import Encoded
from metricforge.errors import DataError, few

_SAMPLED = 64  # files whose headers are read
_SHOWN = 5  # names in a note


def counted(names: Sequence[str]) -> str:
    """The number of names, and the first of them: "7 (a, b, c, d, e, ...)"."""
    return f"{len(names)} ({few(names)})"


def single_image_note(classes: Sequence[str]) -> str:
    """The note on classes of one image."""
    return f"classes of one image, which no other can match: {counted(classes)}."


def shared_classes(
    path: Path, labels: Tensor, official: Tensor | None, classes: Sequence[str]
) -> Iterator[str]:
    """A note on a file's own split [N] in which parts share classes."""
    if official is None:
        return
    of_class = torch.stack((labels, official)).unique(dim=1)[0]
    twice = [classes[index] for index in (of_class.bincount() > 1).nonzero().flatten().tolist()]
    if twice:
        yield (
            f"{counted(twice)} of the classes of '{path}' are in more than one part of its split, "
            "which therefore is not the default: --split official takes it all the same, as a "
            "closed set."
        )


def untested_note(path: Path, official: Tensor | None, tested: Tensor | None) -> Iterator[str]:
    """A note on a file whose own split [N] has no test part, where another part is `tested`."""
    if official is not None and tested is not None and not torch.equal(official, tested):
        yield f"no row of '{path}' is of the split test, so those of validation are the test part."


def flag_notes(
    path: Path, queries: Tensor | None, gallery: Tensor | None, official: Tensor | None
) -> list[str]:
    """Notes on what flags [N] leave of the rows to test: none at all, or rows without a use.

    DataError for queries without a gallery, or the reverse.
    """
    if queries is None or gallery is None:
        return []
    tested = torch.ones_like(queries) if official is None else official == TEST
    has_queries, has_gallery = bool((tested & queries).any()), bool((tested & gallery).any())
    if has_queries != has_gallery:
        present, missing = ("queries", "gallery") if has_queries else ("a gallery", "queries")
        raise DataError(
            f"'{path}' has {present} to test and no {missing}; mark some images as such."
        )
    if not has_queries:
        return [f"'{path}' marks no row to test as query or gallery: every row queries all others."]
    unused = int((tested & ~queries & ~gallery).sum())
    return [f"test rows that are neither query nor gallery, and not used: {unused}."] * (unused > 0)


def converted(files: Sequence[Encoded], shape: tuple[int, ...], fit: str = "squeeze") -> str:
    """The note on the formats and sizes of images, by the headers of some, and their conversion."""
    headers = [parsed for file in _some(files) if (parsed := _header(file))]
    if not headers:
        return "none of the images that were tried can be read."
    kinds = Counter(f"{header.format} {header.mode}" for header in headers)
    formats = ", ".join(kind for kind, _ in kinds.most_common(_SHOWN))
    channels, height, width = shape
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    differ = any(header.width * height != header.height * width for header in headers)
    how = {
        "squeeze": ", whatever their proportions",
        "crop": ", cropped to their middle",
        "pad": ", padded with black",
    }
    return (
        f"images ({formats}; {_sizes(headers)} pixels) become {colours}, {width} x {height}"
        f"{how[fit] if differ else ''}."
    )


def of_depth(files: Sequence[Encoded], reading: Reading) -> Iterator[str]:
    """A warning where images of 16 or 32 bits use few of the levels, by some of them.

    They are never scaled by what one of them holds: a dark image stays a dark one.
    """
    used = [range_ for file in _some(files) if (range_ := _levels_used(file))]
    if not used:
        return
    top, of = max(level for level, _ in used), max(most for _, most in used)
    if top >= of // 4 or reading.depth < 16:
        return
    levels = top * 255 // of + 1
    what = f"images of 16 or 32 bits have values up to {top:,} of {of:,}, of {len(used)} tried"
    if of == 0xFF:
        yield (
            f"{what}: Pillow reads the upper 8 bits of 16-bit colour, and {levels} of 256 levels "
            "are left; save them with 8 bits a channel, scaled to 0 to 255."
        )
        return
    bits = max(top.bit_length(), 8)
    yield f"{what}: {levels} of 256 grey levels are left; the option depth={bits} keeps them."


def _levels_used(file: Encoded) -> tuple[int, int] | None:
    """The largest value of an image of more than 8 bits, and the largest possible; else None."""
    try:
        return levels_used(file)
    except DataError:
        return None  # it is reported where it is decoded


def _some(files: Sequence[Encoded]) -> Sequence[Encoded]:
    return files[:: -(-len(files) // _SAMPLED)]


def _header(file: Encoded) -> Header | None:
    try:
        return read_header(file)
    except DataError:
        return None  # it is reported where it is decoded


def _sizes(headers: Sequence[Header]) -> str:
    sizes = sorted((h.width * h.height, f"{h.width} x {h.height}") for h in headers)
    least, most = sizes[0][1], sizes[-1][1]
    return least if least == most else f"{least} to {most}"
