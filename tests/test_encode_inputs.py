"""What `model.encode` takes for one image, for several, and for none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import metricforge
from metricforge.data import model_inputs
from metricforge.data.decode import read_image
from metricforge.errors import DataError, UsageError
from metricforge.model import EmbeddingModel
from tests.cli.small_model import make_model

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 24, 3)).astype(np.uint8)
FIRST = PIXELS.transpose(2, 0, 1)
PUT = "put the one into a list"


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    return metricforge.load(make_model(tmp_path_factory.mktemp("colour")), device="cpu")


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    return metricforge.load(make_model(tmp_path_factory.mktemp("grey"), channels=1), device="cpu")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.fault(97)
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
@pytest.mark.parametrize(
    "array",
    [PIXELS, FIRST, PIXELS[..., 0], np.dstack([PIXELS, PIXELS[..., :1]]), PIXELS[..., :1]],
    ids=lambda array: str(array.shape),
)
def test_one_image_as_an_array_is_refused_as_one_file_is(colour, file, kind, array) -> None:
    with pytest.raises(DataError, match=PUT):
        colour.encode(kind(array.copy()))
    for one in (file, str(file), Image.fromarray(PIXELS), file.read_bytes()):
        with pytest.raises(DataError, match=PUT):
            colour.encode(one)


@pytest.mark.fault(97)
def test_a_grey_model_refuses_one_image_in_colour_and_takes_a_stack_in_grey(grey) -> None:
    for one in (PIXELS, PIXELS[..., 0]):
        with pytest.raises(DataError, match=PUT):
            grey.encode(one)
    for count in (2, 3, 4):
        stack = np.stack([PIXELS[..., 0]] * count)
        assert grey.encode(stack).shape == (count, 4)


@pytest.mark.fault(97)
def test_the_one_in_a_list_is_embedded_whatever_it_is(colour, file) -> None:
    expected = colour.encode(PIXELS[None])
    assert expected.shape == (1, 4)
    mixed = [file, str(file), Image.fromarray(PIXELS), PIXELS, FIRST, torch.tensor(PIXELS.copy())]
    for one in mixed:
        # Files are resized before they are a tensor, arrays afterwards.
        np.testing.assert_allclose(colour.encode([one]), expected, atol=0.02)
    together = colour.encode(mixed, batch_size=4)
    np.testing.assert_allclose(together, np.repeat(expected, len(mixed), 0), atol=0.02)


@pytest.mark.fault(97)
def test_what_gives_images_one_by_one_is_taken_where_it_has_an_order(colour, file) -> None:
    expected = colour.encode([file] * 5)
    for images in (
        (file for _ in range(5)),
        map(str, [file] * 5),
        np.array([str(file)] * 5),
        np.array([file] * 5, dtype=object),
        dict.fromkeys(range(5), file).values(),
    ):
        np.testing.assert_array_equal(colour.encode(images, batch_size=2), expected)
    for images in ({file}, {file: 0}, 5, None):
        with pytest.raises(DataError, match="encode takes a list of images or one array"):
            colour.encode(images)


@pytest.mark.fault(97)
def test_what_is_no_image_among_others_is_named_by_its_place(colour, file) -> None:
    with pytest.raises(DataError, match="image 1 is NoneType"):
        colour.encode([file, None])
    with pytest.raises(DataError, match=r"image 1 is an array \[2, 3, 4, 4\]"):
        colour.encode([file, np.zeros((2, 3, 4, 4), np.uint8)])
    file.write_bytes(file.read_bytes()[:-400])
    with Image.open(file) as cut, pytest.raises(DataError, match="'image 0' is damaged"):
        colour.encode([cut])


@pytest.mark.fault(82)
@pytest.mark.parametrize("size", [0, -1, 2.5, "2"])
def test_a_batch_of_no_images_is_refused(colour, file, size) -> None:
    for images in (PIXELS[None], [file], []):
        with pytest.raises(UsageError, match="batch_size is a whole number from 1"):
            colour.encode(images, batch_size=size)


@pytest.mark.fault(108)
def test_each_file_is_decoded_once_and_broken_ones_have_no_row(
    colour: EmbeddingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(files):
        Image.new("RGB", (20, 20), (25 * number, 10, 10)).save(path)
    expected = colour.encode([path for path in files if path.stem not in "37"])
    for number in (3, 7):
        files[number].write_bytes(b"nothing")
    decoded: list[Path] = []
    done: list[int] = []

    def read(path: Path, *words: object, **options: object) -> torch.Tensor:
        decoded.append(path)
        return read_image(path, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model_inputs, "read_image", read)
    broken: dict[int, str] = {}
    rows = colour.encode(files, batch_size=4, broken=broken, progress=done.append)
    assert sorted(decoded) == files
    assert list(broken) == [3, 7]
    assert "3.png' is no image that can be read" in broken[3]
    assert done == [3, 3, 2]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    with pytest.raises(DataError, match=r"3\.png' is no image"):
        colour.encode(files)


def test_an_image_that_is_not_loaded_yet_may_be_listed_twice(colour, file) -> None:
    """Two threads must not load it at once."""
    expected = colour.encode([file])
    for _ in range(5):
        with Image.open(file) as image:
            rows = colour.encode([image] * 8)
        np.testing.assert_allclose(rows, np.repeat(expected, 8, axis=0), atol=1e-6)
