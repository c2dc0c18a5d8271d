from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from metricforge.contracts import Reading
from metricforge.data import decode, model_inputs
from metricforge.data.decode import (
    MAX_SIDE,
    levels_used,
    read_header,
    read_image,
    read_opened,
)
from metricforge.data.filetypes import begins_as_an_image
from metricforge.data.images import unreadable
from metricforge.data.pillow_settings import MAX_PIXELS
from metricforge.errors import DataError, UsageError

GREY, COLOR = (1, 4, 4), (3, 4, 4)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(mode: str, color: object, size: int = 4) -> Image.Image:
    return Image.new(mode, (size, size), color)  # type: ignore[arg-type]


def noise(size: int = 64, mode: str = "RGB") -> Image.Image:
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, *channels), dtype=np.uint8)
    return Image.fromarray(pixels)


def palette(color: tuple[int, int, int]) -> Image.Image:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, *color])
    return image


# Luma is 0.299 R + 0.587 G + 0.114 B.
CONVERSIONS = [
    ("L", plain("L", 100), "PNG", (100, 100, 100), 100),
    ("RGB", plain("RGB", (255, 0, 0)), "PNG", (255, 0, 0), 76),
    ("1-bit white", plain("1", 1), "PNG", (255, 255, 255), 255),
    ("1-bit black", plain("1", 0), "PNG", (0, 0, 0), 0),
    ("LA clear", plain("LA", (0, 0)), "PNG", (255, 255, 255), 255),
    ("LA opaque", plain("LA", (7, 255)), "PNG", (7, 7, 7), 7),
    ("RGBA clear", plain("RGBA", (9, 9, 9, 0)), "PNG", (255, 255, 255), 255),
    ("RGBA half", plain("RGBA", (255, 0, 0, 51)), "PNG", (255, 204, 204), 219),
    ("P", palette((10, 200, 30)), "PNG", (10, 200, 30), 124),
    ("CMYK", plain("CMYK", (0, 255, 255, 0)), "TIFF", (255, 0, 0), 76),
    ("I;16 top", plain("I;16", 65535), "PNG", (255, 255, 255), 255),
    ("I;16 middle", plain("I;16", 257 * 100), "PNG", (100, 100, 100), 100),
    ("I;16 in TIFF", plain("I;16", 257 * 3), "TIFF", (3, 3, 3), 3),
]


@pytest.mark.parametrize(
    ("image", "kind", "color", "grey"),
    [case[1:] for case in CONVERSIONS],
    ids=[case[0] for case in CONVERSIONS],
)
def test_every_mode_is_converted_as_stated(
    image: Image.Image, kind: str, color: tuple[int, int, int], grey: int
) -> None:
    data = encoded(image, kind)
    in_color = read_image(data, COLOR)
    assert in_color.dtype == torch.uint8
    assert in_color.shape == COLOR
    assert in_color.flatten(1).unique(dim=1).flatten().tolist() == list(color)
    assert read_image(data, GREY).unique().tolist() == [grey]


def test_a_transparent_palette_entry_is_laid_on_white() -> None:
    data = encoded(palette((1, 2, 3)), "PNG", transparency=1)
    assert read_image(data, COLOR).unique().tolist() == [255]


def test_pixels_keep_their_place() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    read = read_image(encoded(Image.fromarray(pixels)), (3, 2, 3))
    assert read.is_contiguous()
    assert np.array_equal(read.permute(1, 2, 0).numpy(), pixels)


def test_exif_orientation_is_applied() -> None:
    pixels = np.zeros((2, 4), dtype=np.uint8)
    pixels[0, 0] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: a quarter turn clockwise is needed
    read = read_image(encoded(Image.fromarray(pixels), "PNG", exif=exif), (1, 4, 2))
    assert read[0, 0, 1] == 200
    assert int((read > 0).sum()) == 1


def test_resizing_down_averages_instead_of_skipping() -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    read = read_image(encoded(Image.fromarray(stripes)), (1, 8, 8))
    assert int(read.min()) >= 126
    assert int(read.max()) <= 129


def test_a_jpeg_that_is_decoded_small_looks_as_if_it_were_not() -> None:
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    image = Image.fromarray(np.tile(ramp, (1024, 1)))
    small = read_image(encoded(image, "JPEG", quality=95), (1, 16, 16)).float()
    exact = read_image(encoded(image, "PNG"), (1, 16, 16)).float()
    assert (small - exact).abs().max() <= 2


def test_a_path_may_have_spaces_and_unicode_and_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("große Straße " + "x" * 200) / ("猫 " + "y" * 200)
    folder.mkdir(parents=True)
    path = folder / "ein Bild.png"
    plain("L", 42).save(path)
    assert read_image(path, GREY).unique().tolist() == [42]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, kind: str, share: float) -> None:
    data = encoded(noise(), kind)
    path = tmp_path / "half.img"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"half\.img.*take it away\.$"):
        read_image(path, COLOR)


def test_a_truncated_file_is_refused_whatever_another_library_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(noise(), "JPEG")
    with pytest.raises(DataError, match="damaged"):
        read_image(data[: len(data) // 2], COLOR)


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_byte_gives_an_image_or_a_data_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP"):
        data = bytearray(encoded(noise(16), kind))
        data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        # Any other exception than a DataError fails the test.
        with suppress(DataError):
            assert read_image(bytes(data), COLOR).shape == COLOR


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.exhaustive)])
def test_thousands_of_damaged_files_give_an_image_or_name_the_file(
    kind: str, count: int, tmp_path: Path
) -> None:
    """Through threads and the file system, as training reads them."""
    rng = np.random.default_rng(0)
    whole, paths = encoded(noise(16), kind), []
    for number in range(count):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), int(rng.integers(1, 20))):
            data[place] = int(rng.integers(256))
        end = len(data) if number % 4 else int(rng.integers(len(data)))
        paths.append(tmp_path / f"{number}.{kind.lower()}")
        paths[-1].write_bytes(data[:end])
    told = unreadable(paths, COLOR)
    assert count / 4 < len(told) < count, "some can be read, and some can't"
    assert all(str(paths[place]) in why for place, why in told.items())


@pytest.mark.parametrize("data", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(DataError, match=r"'cat\.png' .*; replace it"):
        read_image(data, COLOR, "cat.png")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png' can't be opened \(No such file"):
        read_image(tmp_path / "gone.png", COLOR)
    with pytest.raises(DataError, match=r"can't be opened \(Is a directory"):
        read_image(tmp_path, COLOR)


def bomb(width: int, height: int) -> bytes:
    """A PNG of black 1-bit pixels, a thousandth of what it decodes to."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + (width + 7) // 8) * height, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


# The sizes lie below Pillow's own warning, between it and Pillow's error, and above both.
@pytest.mark.parametrize("side", [8200, 10_000, 20_000])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    data = bomb(side, side)
    assert len(data) < 100_000 < MAX_PIXELS < side * side
    with pytest.raises(DataError, match=r"'b\.png' has more than 67 megapixels"):
        read_image(data, GREY, "b.png")


@pytest.mark.fault(133)
@pytest.mark.parametrize("side", [8200, 10_000, 14_000])
def test_the_users_environment_allows_larger_images(
    side: int, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, tmp_path: Path
) -> None:
    theirs, megapixels = Image.MAX_IMAGE_PIXELS, -(-side * side // 10**6)
    (tmp_path / "b.png").write_bytes(bomb(side, side))
    monkeypatch.setenv("METRICFORGE_MAX_MEGAPIXELS", str(megapixels))
    assert read_image(tmp_path / "b.png", GREY).unique().tolist() == [0]
    assert read_header(tmp_path / "b.png").width == side
    assert begins_as_an_image(tmp_path / "b.png")
    assert (Image.MAX_IMAGE_PIXELS, len(recwarn)) == (theirs, 0)
    monkeypatch.setenv("METRICFORGE_MAX_MEGAPIXELS", str(megapixels - 1))
    with pytest.raises(DataError, match=f"more than {megapixels - 1} megapixels"):
        read_image(tmp_path / "b.png", GREY)


@pytest.mark.parametrize("value", ["-1", "0", "4001", "many", "1e3", "²"])
def test_a_limit_that_is_none_is_the_users_to_correct(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICFORGE_MAX_MEGAPIXELS", value)
    with pytest.raises(UsageError, match="METRICFORGE_MAX_MEGAPIXELS is a whole number from 1 to"):
        read_image(encoded(noise(8), "PNG"), GREY)


def test_an_image_just_below_the_limit_is_read() -> None:
    assert read_image(bomb(8192, 8192), GREY).unique().tolist() == [0]


def test_a_floating_point_image_is_refused_with_its_mode() -> None:
    with pytest.raises(DataError, match="mode 'F'"):
        read_image(encoded(plain("F", 0.5), "TIFF"), GREY)


def test_a_32_bit_image_beyond_16_bits_is_refused() -> None:
    assert read_image(encoded(plain("I", 65535), "TIFF"), GREY).unique().tolist() == [255]
    with pytest.raises(DataError, match="beyond 16 bits"):
        read_image(encoded(plain("I", 65536), "TIFF"), GREY)


def test_other_channel_counts_are_no_option() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        read_image(encoded(plain("L", 0)), (4, 4, 4))


# ---------------------------------------------------------------- work and memory


@pytest.mark.fault(76)
@pytest.mark.parametrize("size", [(1, 60_000_000), (60_000_000, 1), (1, MAX_SIDE + 1)])
def test_an_image_with_a_long_side_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"'b\.png' has .* pixels; a side has 65,536 at most"):
        read_image(bomb(*size), GREY, "b.png")
    assert read_image(bomb(min(size[0], MAX_SIDE), min(size[1], MAX_SIDE)), GREY).max() == 0


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times more."""
    last = data.rindex(b"\xff\xda")
    # A table before it may be of this scan.
    return data[:-2] + data[last:-2] * count + data[-2:]


@pytest.mark.fault(76)
def test_a_jpeg_of_many_scans_is_refused_by_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise(256), "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    pixels = 256 * 256
    assert 1 < scans < 30
    expected = read_image(data, COLOR)
    more = with_scans(data, 300)
    monkeypatch.setattr(decode, "MAX_SCANS", (scans + 300) * pixels / MAX_PIXELS)
    assert read_image(more, COLOR).shape == COLOR
    monkeypatch.setattr(decode, "MAX_SCANS", ((scans + 300) * pixels - 1) / MAX_PIXELS)
    with pytest.raises(DataError, match=rf"'a\.jpg' has {scans + 300} scans, which would take"):
        read_image(more, COLOR, "a.jpg")
    assert read_image(data, COLOR).equal(expected)
    # What lies about in the file of another is no scan; the limit is not one for photographs.
    monkeypatch.setattr(decode, "MAX_SCANS", pixels / MAX_PIXELS)
    assert read_image(encoded(noise(256), "JPEG"), COLOR).shape == COLOR


@pytest.mark.fault(76)
def test_hundreds_of_scans_of_a_large_image_are_refused_at_once() -> None:
    data = encoded(Image.new("L", (4_000, 4_000), 90), "JPEG", progressive=True)
    with pytest.raises(DataError, match=r"has \d\d\d scans"):
        read_image(with_scans(data, 300), GREY)


@pytest.mark.fault(76)
def test_larger_images_are_no_leave_for_more_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICFORGE_MAX_MEGAPIXELS", "4000")
    data = encoded(Image.new("L", (4_000, 4_000), 90), "JPEG", progressive=True)
    with pytest.raises(DataError, match=r"has \d\d\d scans"):
        read_image(with_scans(data, 300), GREY)


# ---------------------------------------------------------------- depth


@pytest.mark.fault(98)
@pytest.mark.parametrize("depth", [8, 10, 12, 15, 16])
def test_the_largest_value_of_a_depth_is_white_and_all_levels_are_kept(depth: int) -> None:
    top = 2**depth - 1
    values = np.linspace(0, top, 256).round().astype(np.uint16)
    for image, kind in ((Image.fromarray(values[None]), "PNG"),
                        (Image.fromarray(values[None].astype(np.int32)), "TIFF")):  # fmt: skip
        read = read_image(encoded(image, kind), (1, 1, 256), reading=Reading(depth=depth))
        exact = values.astype(np.float64) * 255 / top
        assert np.abs(read.numpy().ravel() - exact).max() <= 0.5
        assert len(read.unique()) == 256


@pytest.mark.fault(98)
def test_a_value_beyond_the_depth_is_refused_by_name() -> None:
    data = encoded(plain("I;16", 4096))
    assert read_image(data, GREY).unique().tolist() == [16]
    with pytest.raises(DataError, match=r"'a\.png' has values beyond 12 bits; give the d"):
        read_image(data, GREY, "a.png", Reading(depth=12))


@pytest.mark.fault(98)
def test_the_levels_that_are_used_are_those_of_the_file(tmp_path: Path) -> None:
    def of(image: Image.Image, kind: str = "PNG") -> tuple[int, int] | None:
        path = tmp_path / "image"
        path.write_bytes(encoded(image, kind))
        return levels_used(path)

    assert of(plain("I;16", 4080)) == (4080, 0xFFFF)
    assert of(plain("I", 200), "TIFF") == (200, 0xFFFF)
    for mode in ("L", "RGB", "P", "1"):
        assert of(plain(mode, 0)) is None


@pytest.mark.fault(98)
@pytest.mark.parametrize("depth", [7, 17, 12.5, "12", True, None])
def test_a_depth_is_from_8_to_16(depth: object) -> None:
    with pytest.raises(ValueError, match="depth is a whole number from 8 to 16"):
        Reading(depth=depth)  # type: ignore[arg-type]


# ---------------------------------------------------------------- Pillow's own settings


@pytest.mark.fault(109)
@pytest.mark.parametrize("partial", [True, False])
def test_the_settings_of_pillow_stay_as_the_user_has_them(
    partial: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", partial)
    limits, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    (tmp_path / "whole.png").write_bytes(encoded(noise()))
    (tmp_path / "half.jpg").write_bytes(encoded(noise(), "JPEG")[:900])
    (tmp_path / "bomb.png").write_bytes(bomb(10_000, 10_000))
    broken = unreadable([tmp_path / n for n in ("whole.png", "half.jpg", "bomb.png")] * 20, COLOR)
    assert len(broken) == 40
    assert ImageFile.LOAD_TRUNCATED_IMAGES is partial
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == (limits, filters)
    # The user's own large image is warned of, not refused.
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(tmp_path / "bomb.png").close()


def png(bits: int, kind: int, rows: bytes, transparent: bytes = b"") -> bytes:
    """A PNG of 8 x 8 pixels as a program other than Pillow may write it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", 8, 8, bits, kind, 0, 0, 0)
    clear = chunk(b"tRNS", transparent) if transparent else b""
    pixels = zlib.compress(b"".join(b"\0" + rows for _ in range(8)))
    content = chunk(b"IHDR", header) + clear + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.fault(121)
@pytest.mark.parametrize(
    ("bits", "row", "opaque"),
    [
        (16, struct.pack(">8H", *[0x1234] * 8), 0x12),
        (8, bytes([7] * 8), 7),
        (4, b"\x33" * 4, 51),
        (2, b"\x55" * 2, 85),
        (1, b"\x00", 0),
    ],
)
def test_a_transparent_grey_of_any_depth_is_white(bits: int, row: bytes, opaque: int) -> None:
    value = {16: 0x1234, 8: 7, 4: 3, 2: 1, 1: 0}[bits]
    clear = read_image(png(bits, 0, row, struct.pack(">H", value)), GREY)
    assert clear.unique().tolist() == [255]
    for data in (png(bits, 0, row), png(bits, 0, row, struct.pack(">H", value ^ 1))):
        assert read_image(data, GREY).unique().tolist() == [opaque]


@pytest.mark.fault(121)
def test_a_transparent_colour_of_16_bits_is_refused() -> None:
    """Pillow reads 8 of its bits: the colour can't be told from others."""
    colour = struct.pack(">3H", 0x1234, 0x1234, 0x1234)
    with pytest.raises(DataError, match="has a transparent colour of 16 bits"):
        read_image(png(16, 2, colour * 8, colour), COLOR)
    assert read_image(png(16, 2, colour * 8), COLOR).unique().tolist() == [0x12]


def tiff(bits: int, photometric: int, pixels: bytes) -> bytes:
    """A TIFF of 8 x 8 pixels whose zero is white (photometric 0) or black (1)."""
    tags = [
        (256, 3, 8), (257, 3, 8), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 0),
        (277, 3, 1), (278, 3, 8), (279, 4, len(pixels)),
    ]  # fmt: skip
    begin = 8 + 2 + 12 * len(tags) + 4
    content = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        value = begin if tag == 273 else value
        packed = struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
        content += struct.pack("<HHI", tag, kind, 1) + packed
    return content + struct.pack("<I", 0) + pixels


@pytest.mark.fault(122)
@pytest.mark.parametrize(
    ("bits", "pixels", "black"),
    [(16, struct.pack("<H", 2570) * 64, 10), (8, bytes([10]) * 64, 10), (1, b"\0" * 8, 0)],
)
def test_a_tiff_whose_zero_is_white_is_inverted(bits: int, pixels: bytes, black: int) -> None:
    assert read_image(tiff(bits, 1, pixels), GREY).unique().tolist() == [black]
    assert read_image(tiff(bits, 0, pixels), GREY).unique().tolist() == [255 - black]
    opened = Image.open(io.BytesIO(tiff(bits, 0, pixels)))
    assert read_opened(opened, GREY, "in memory").unique().tolist() == [255 - black]


def striped(width: int, height: int) -> Image.Image:
    """A wide image in three stripes: black, white, black; or a high one, turned."""
    across = np.zeros((min(width, height), max(width, height)), np.uint8)
    third = across.shape[1] // 3
    across[:, third : 2 * third] = 255
    return Image.fromarray(across if width > height else across.T.copy())


@pytest.mark.parametrize(("width", "height"), [(90, 30), (30, 90)])
def test_other_proportions_are_squeezed_cropped_or_padded(width: int, height: int) -> None:
    data = encoded(striped(width, height))

    def read(fit: str) -> torch.Tensor:
        shown = read_image(data, (1, 30, 30), reading=Reading(fit=fit))[0].float()  # type: ignore[arg-type]
        return shown if width > height else shown.T

    squeezed, cropped, padded = map(read, ("squeeze", "crop", "pad"))
    assert squeezed[:, 12:18].min() > 250 > 5 > squeezed[:, :8].max()  # all of it, narrower
    assert cropped[:, 2:28].min() > 250  # the middle alone, in its proportions
    assert padded[:9].max() == padded[21:].max() == 0  # black around all of it
    assert padded[12:18, 12:18].min() > 250 > 5 > padded[12:18, :8].max()


@pytest.mark.parametrize("fit", ["squeeze", "crop", "pad"])
def test_arrays_of_other_proportions_are_shaped_as_files_are(fit: str) -> None:
    image = noise(64).resize((64, 40))
    reading = Reading(fit=fit)  # type: ignore[arg-type]
    of_file = read_image(encoded(image), (3, 24, 24), reading=reading).float()
    array = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    of_array = model_inputs.fit(array, (3, 24, 24), reading)[0].float()
    assert (of_file - of_array).abs().mean() < 3


def test_an_image_of_the_right_proportions_is_only_resized() -> None:
    data = encoded(noise(64))
    shown = [
        read_image(data, (3, 16, 16), reading=Reading(fit=fit))  # type: ignore[arg-type]
        for fit in ("squeeze", "crop", "pad")
    ]
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[0], shown[2])


@pytest.mark.parametrize("fit", ["stretch", 3, None])
def test_a_fit_is_one_of_three(fit: object) -> None:
    with pytest.raises(ValueError, match="fit is squeeze or crop or pad"):
        Reading(fit=fit)  # type: ignore[arg-type]
