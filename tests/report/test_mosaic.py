"""The mosaic: every image at its place, unchanged but for its scale, and names that do no harm."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metricforge.errors import ResourceError
from metricforge.report.mosaic import GAP, MOST_TILE, mosaic


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def images(count: int, channels: int = 1, side: int = 16, seed: int = 0) -> np.ndarray:
    shape = (count, channels, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_enlarged_in_squares_at_its_place(tmp_path: Path, channels: int) -> None:
    rows = [images(3, channels, seed=1), images(2, channels, seed=2)]
    mosaic(rows, ["first", "second"], tmp_path / "m.png")
    sheet = drawn(tmp_path / "m.png")
    left = sheet.shape[1] - 3 * (64 + GAP)
    assert left > 20
    for row, each in enumerate(rows):
        for column, pixels in enumerate(each):
            top, begin = GAP + row * (64 + GAP), left + column * (64 + GAP)
            tile = sheet[top : top + 64, begin : begin + 64]
            colour = np.broadcast_to(pixels, (3, 16, 16)).transpose(1, 2, 0)
            assert (tile == colour.repeat(4, axis=0).repeat(4, axis=1)).all()
    missing = sheet[2 * GAP + 64 : 2 * (GAP + 64), left + 2 * (64 + GAP) :]
    assert (missing == 255).all(), "a shorter row ends in white"
    assert (sheet[:, :left].min(axis=(1, 2)) < 128).any(), "the names are written"


def test_large_images_are_scaled_down_and_keep_their_proportions(tmp_path: Path) -> None:
    mosaic([np.zeros((1, 3, 300, 600), np.uint8)], ["a"], tmp_path / "m.png")
    black = (drawn(tmp_path / "m.png") == 0).all(axis=2)
    assert black.sum(axis=0).max() == MOST_TILE // 2
    assert black.sum(axis=1).max() >= MOST_TILE


def test_names_of_any_characters_are_drawn_and_long_ones_keep_their_end(tmp_path: Path) -> None:
    sheets = {}
    for name in (
        "\x1b[31m?",
        "?[31m?",
        "日本/\u202e$x^2$\n",
        "a" * 300 + "/end",
        "b" * 300 + "/end",
    ):
        mosaic([images(1)], [name], tmp_path / "m.png")
        sheets[name] = drawn(tmp_path / "m.png")
    assert np.array_equal(sheets["\x1b[31m?"], sheets["?[31m?"]), "an escape is shown as ?"
    assert sheets["a" * 300 + "/end"].shape[1] < 400
    assert not np.array_equal(sheets["a" * 300 + "/end"], sheets["b" * 300 + "/end"])


def test_the_same_images_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        mosaic([images(2)], ["c"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "m.png"
    out.write_bytes(b"before")
    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(ResourceError, match="No space left"):
        mosaic([images(1)], ["a"], out)
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_bytes() == b"before"


def test_a_file_that_can_not_be_written_is_a_resource_error(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="none"):
        mosaic([images(1)], ["a"], tmp_path / "none" / "m.png")
