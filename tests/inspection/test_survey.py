"""One pass over images: what is counted, what is broken, and thumbnails alike from any source."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metricforge.data.decode import Header
from metricforge.errors import DataError
from metricforge.inspection.survey import SIDE, survey


def picture(width: int = 64, height: int = 64, seed: int = 0) -> Image.Image:
    """Patches of colour, smooth enough to be resized."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def saved(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


class Member:
    """An image that is no file of its own."""

    name = "photos.zip/cats/1.png"

    def __init__(self, content: bytes | None) -> None:
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content or b"")

    def read(self) -> bytes:
        if self._content is None:
            raise DataError(f"'{self.name}' can't be read; its archive is damaged.")
        return self._content


def test_formats_modes_and_sizes_are_counted_as_the_files_have_them(tmp_path: Path) -> None:
    files = [
        saved(tmp_path / "a.png", picture(30, 20).convert("L")),
        saved(tmp_path / "b.png", picture(30, 20).convert("P")),
        saved(tmp_path / "c.jpg", picture(200, 100)),
        saved(tmp_path / "d.jpg", picture(40, 40)),
        saved(tmp_path / "e.jpg", picture(40, 40, seed=1)),
    ]
    found = survey(files)
    assert found.formats == {"JPEG": 3, "PNG": 2}
    assert found.modes == {"RGB": 3, "L": 1, "P": 1}
    assert found.sizes() == ((30, 20), (40, 40), (200, 100))
    assert found.headers[Header("JPEG", "RGB", 40, 40)] == 2
    assert found.broken == {}


def test_a_broken_image_is_told_of_and_costs_no_other(tmp_path: Path) -> None:
    content = io.BytesIO()
    picture().save(content, "JPEG")
    (tmp_path / "half.jpg").write_bytes(content.getvalue()[:-300])
    (tmp_path / "text.png").write_bytes(b"no image")
    good = saved(tmp_path / "good.jpg", picture())
    found = survey([tmp_path / "half.jpg", good, tmp_path / "text.png", tmp_path / "none.png"])
    assert list(found.sound) == [1]
    assert {place: why.split("'")[1] for place, why in found.broken.items()} == {
        0: str(tmp_path / "half.jpg"),
        2: str(tmp_path / "text.png"),
        3: str(tmp_path / "none.png"),
    }
    assert "damaged" in found.broken[0]
    assert "can't be opened" in found.broken[3]
    assert found.formats == {"JPEG": 1}
    assert found.thumbnails[1].std() > 10
    assert not found.thumbnails[[0, 2, 3]].any()


def test_members_of_an_archive_are_read_as_files_are(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.png", picture())
    found = survey([file, Member(file.read_bytes()), Member(None)])
    assert (found.digests[0] == found.digests[1]).all()
    assert (found.thumbnails[0] == found.thumbnails[1]).all()
    assert found.broken == {2: "'photos.zip/cats/1.png' can't be read; its archive is damaged."}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_tensor_gives_the_thumbnails_that_files_of_its_pixels_give(
    tmp_path: Path, mode: str
) -> None:
    images = [picture(48, 64, seed).convert(mode) for seed in range(5)]
    files = [saved(tmp_path / f"{place}.png", image) for place, image in enumerate(images)]
    pixels = np.stack([np.asarray(image) for image in images]).reshape(5, 64, 48, -1)
    tensor = survey(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert tensor.headers == {Header("", mode, 48, 64): 5}
    assert tensor.formats == {}
    assert tensor.thumbnails.shape == (5, SIDE, SIDE)
    apart = tensor.thumbnails.astype(int) - survey(files).thumbnails
    assert abs(apart).max() <= 2


def test_digests_agree_for_equal_pixels_only() -> None:
    images = torch.randint(0, 256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images[2] = images[0]
    images[3] = images[0]
    images[3, 0, 7, 7] = (images[3, 0, 7, 7] + 1) % 256
    digests = [tuple(digest) for digest in survey(images.to(torch.uint8)).digests]
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3


def test_where_no_image_can_be_read_there_is_no_size(tmp_path: Path) -> None:
    found = survey([tmp_path / "none.png"])
    assert found.sizes() == ()
    assert len(found) == len(found.broken) == 1
