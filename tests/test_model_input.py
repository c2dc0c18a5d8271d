"""What the network is given when its backbone wants another size than that of the train set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metricforge.atomic_files import read_folder, write_folder
from metricforge.loading import build, load
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card
from metricforge.registry import Registry


class Sizes(nn.Module):
    """A backbone that notes the images it is given; its features are their means."""

    out_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.detach().clone())
        return images.mean((1, 2, 3))[:, None] * self.weight


def make(input_size: tuple[int, int] | None, interpolation: str = "bilinear") -> EmbeddingModel:
    torch.manual_seed(0)
    card = Card(
        "object tests:Sizes", "linear:normalize=false", 2, (1, 8, 8), (0.0,), (1.0,),
        input_size=input_size, interpolation=interpolation,
    )  # fmt: skip
    return build(Registry.installed(), card, Sizes(), None).eval()


def shown(model: EmbeddingModel, images: Tensor) -> Tensor:
    model.backbone.shown.clear()
    model.encode(images)
    (found,) = model.backbone.shown
    return found


@pytest.mark.parametrize("size", [None, (8, 8)])
def test_images_of_the_right_size_are_left_exactly_as_they_are(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (3, 1, 8, 8)).to(torch.uint8)
    assert shown(make(size), images).equal(images.float() / 255)


@pytest.mark.parametrize("size", [(16, 16), (4, 4), (5, 11)])
def test_a_flat_image_stays_flat_at_any_size(size: tuple[int, int]) -> None:
    images = torch.full((2, 1, 8, 8), 51, dtype=torch.uint8)
    found = shown(make(size), images)
    assert found.shape == (2, 1, *size)
    assert torch.allclose(found, torch.tensor(0.2), atol=1e-6)


def test_bicubic_never_leaves_the_range_of_pixels() -> None:
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    images[..., 4:] = 255
    plain = nn.functional.interpolate(images.float(), (32, 32), mode="bicubic", antialias=True)
    assert plain.max() > 256, "it overshoots here"
    found = shown(make((32, 32), "bicubic"), images)
    assert found.min() == 0
    assert found.max() == 1


def test_other_sizes_are_first_made_those_of_the_train_set() -> None:
    """A model is given what it learned from: photographs at 8 x 8, enlarged."""
    fine = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 1, 64, 64)
    found = shown(make((64, 64)), fine)
    assert found.std() < 0.1, "the fine stripes are gone"


def test_size_and_interpolation_are_saved_and_loaded(tmp_path: Path) -> None:
    model = make((16, 12), "bicubic")
    model.save(tmp_path / "m")
    assert "sees 16 x 12" in (tmp_path / "m" / "README.md").read_text()
    again = load(tmp_path / "m", backbone=Sizes(), device="cpu")
    assert (again.card.input_size, again.card.interpolation) == ((16, 12), "bicubic")
    images = torch.randint(0, 256, (5, 1, 8, 8)).to(torch.uint8)
    assert np.array_equal(again.encode(images), model.encode(images))


def test_a_model_saved_before_there_was_a_size_is_given_images_as_they_are(tmp_path: Path) -> None:
    make((16, 16)).save(tmp_path / "m")
    files = read_folder(tmp_path / "m")
    fields = json.loads(files["model.json"])
    del fields["input_size"], fields["interpolation"]
    write_folder(tmp_path / "m", files | {"model.json": json.dumps(fields).encode()})
    model = load(tmp_path / "m", backbone=Sizes(), device="cpu")
    images = torch.randint(0, 256, (3, 1, 8, 8)).to(torch.uint8)
    assert shown(model, images).equal(images.float() / 255)
