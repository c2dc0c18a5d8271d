"""Resizing by matrices against Pillow and against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from metricforge.contracts import Reading
from metricforge.contracts.dataset import FITS
from metricforge.data.decode import read_image, read_whole
from metricforge.errors import UsageError
from metricforge.exporting.resampling import fitted, fixed_matrix


@pytest.fixture(scope="module")
def files(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of several proportions, none of which Pillow reduces before it resizes."""
    made = []
    for index, path in enumerate(sorted(photos.glob("0*/0.png"))):
        size = ((64, 64), (70, 41), (33, 90), (20, 24), (150, 60))[index % 5]
        made.append(tmp_path_factory.mktemp("files") / "image.png")
        with Image.open(path) as image:
            image.resize(size).save(made[-1])
    return made


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(32, 32), (40, 72), (61, 30)])
def test_images_of_any_size_become_what_files_are_read_as(
    files: list[Path], size: tuple[int, int], fit: str
) -> None:
    reading = Reading(fit=fit)  # type: ignore[arg-type]
    for path in files:
        expected = read_image(path, (3, *size), reading=reading).float()
        whole = read_whole(path, 3)
        with Image.open(path) as image:
            np.testing.assert_array_equal(whole.permute(1, 2, 0), np.asarray(image))
        actual = fitted(whole[None], size, fit)[0]
        # Some versions of Pillow resize and round the other side first.
        assert (actual - expected).abs().max() <= 1
        assert (actual - expected).abs().mean() < 0.3
        if whole.shape[1] == whole.shape[2] and size[0] == size[1]:
            np.testing.assert_array_equal(actual, expected)


def test_a_row_or_column_alone_is_resized() -> None:
    line = torch.arange(40, dtype=torch.uint8).view(1, 1, 1, 40)
    assert fitted(line, (8, 8), "squeeze").shape == (1, 1, 8, 8)
    padded = fitted(line, (8, 8), "pad")
    assert padded.isfinite().all()
    assert padded[0, 0, 3].any()
    assert not padded[0, 0, :3].any()
    assert not padded[0, 0, 4:].any()


def test_another_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="fit=tile"):
        fitted(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), (2, 2), "tile")


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(64, 64), (20, 33)])
def test_fixed_weights_are_those_of_torch(mode: str, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, 30, 40) * 255
    expected = F.interpolate(images, size, mode=mode, antialias=True)
    down, across = (
        fixed_matrix(length, side, mode) for length, side in zip((30, 40), size, strict=True)
    )
    torch.testing.assert_close(down @ (images @ across.T), expected, rtol=1e-6, atol=1e-3)
