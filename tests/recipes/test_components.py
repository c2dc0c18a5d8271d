"""What a backbone wants to be given is given to it, and modules of wrong shapes are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metricforge import train
from metricforge.contracts import Dataset, Preprocessing
from metricforge.errors import PluginError, UsageError
from metricforge.loading import load
from metricforge.model import EmbeddingModel
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import Assembly, assemble

REGISTRY = Registry.installed()


class Net(nn.Module):
    """A backbone that notes what it is given."""

    out_features = 6

    def __init__(self, channels: int = 1, **said: Any) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, 6, 3)
        self.shown: list[Tensor] = []
        for name, value in said.items():
            setattr(self, name, value)

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.detach().clone())
        return self.layer(images).relu().mean((2, 3))


def dataset(channels: int = 1, side: int = 12) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 8
    images = torch.randint(0, 256, (96, channels, side, side), generator=rng).to(torch.uint8)
    return Dataset("noise", images, labels, tuple("abcdefgh"), (channels, side, side))


def assembled(backbone: Any, channels: int = 1, **options: Any) -> Assembly:
    recipe = Recipe(
        dataset=dataset(channels), backbone=backbone, dim=5, epochs=1, orientations=1,
        device="cpu", protocols=("retrieval",),
    )  # fmt: skip
    return assemble(recipe.but(**options), REGISTRY)


def model_of(preprocessing: Preprocessing, channels: int = 1) -> EmbeddingModel:
    return assembled(Net(channels, preprocessing=preprocessing), channels).setup.model


def test_without_wishes_images_are_as_they_are_and_normalised_by_the_train_set() -> None:
    found = assembled(Net(3), channels=3)
    card = found.setup.model.card
    assert card.input_size == (12, 12)
    assert card.interpolation == "bilinear"
    pixels = dataset(3).images[found.split.train].double() / 255
    assert card.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-5)
    assert card.std == pytest.approx(
        pixels.transpose(0, 1).flatten(1).std(1, False).tolist(), abs=1e-5
    )
    assert {tuple(images.shape[1:]) for images in found.setup.model.backbone.shown} == {(3, 12, 12)}


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_resized_as_the_backbone_wants_them(interpolation: Any) -> None:
    wanted = Preprocessing(size=(20, 18), interpolation=interpolation, mean=(0.5,), std=(0.25,))
    model = model_of(wanted)
    assert (model.card.shape, model.card.input_size) == ((1, 12, 12), (20, 18))
    assert model.card.interpolation == interpolation
    backbone = model.backbone
    assert {tuple(images.shape[1:]) for images in backbone.shown} == {(1, 20, 18)}
    images = dataset().images[:3]
    model.eval()
    backbone.shown.clear()
    model.encode(images)
    by_hand = nn.functional.interpolate(
        images.float(), (20, 18), mode=interpolation, antialias=True, align_corners=False
    ).clamp(0, 255)
    assert torch.allclose(backbone.shown[0], (by_hand / 255 - 0.5) / 0.25, atol=1e-5)


def test_the_network_trains_on_smaller_images_than_it_is_evaluated_on(tmp_path: Path) -> None:
    backbone = Net(preprocessing=Preprocessing(size=(20, 16)))
    run = train(
        dataset=dataset(), backbone=backbone, dim=5, epochs=1, orientations=1, device="cpu",
        protocols=("retrieval",), train_scale=0.75, out=tmp_path / "run",
        sampler="hard-triplet:classes=2,per_class=2",
    )  # fmt: skip
    trained_on = {tuple(images.shape[2:]) for images in backbone.shown if len(images) == 4}
    others = {tuple(images.shape[2:]) for images in backbone.shown if len(images) > 4}
    assert (trained_on, others) == ({(15, 12)}, {(20, 16)})
    assert load(run, backbone=Net(), device="cpu").card.input_size == (20, 16)


def test_a_scale_of_one_is_none_and_another_is_told() -> None:
    one, smaller = assembled(Net(), train_scale=1.0), assembled(Net(), train_scale=0.75)
    assert one.setup.model.train_size is None
    assert "of the size" not in one.defaults
    assert "trained at 0.75 of the size" in smaller.defaults


def test_a_backbone_of_one_size_takes_no_scale() -> None:
    class Fixed(Net):
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[2:] == (12, 12)
            return super().forward(images)

    class Flat(Net):
        out_features = 600

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images).flatten(1)

    for backbone in (Fixed(), Flat()):
        with pytest.raises(UsageError, match="no images of 9 x 9 pixels: leave train-scale out"):
            assembled(backbone, train_scale=0.75)


def test_a_frozen_backbone_takes_no_scale() -> None:
    with pytest.raises(
        UsageError, match="backbone that learns, and this run has a frozen backbone"
    ):
        assembled(Net(), train_scale=0.75, rates="backbone=0")


def test_a_saved_model_resizes_the_same_when_it_is_loaded(tmp_path: Path) -> None:
    wanted = Preprocessing(size=(20, 18), interpolation="bicubic")
    model = model_of(wanted).eval()
    model.save(tmp_path / "model")
    again = load(tmp_path / "model", backbone=Net(), device="cpu")
    assert again.card == model.card
    images = dataset().images[:9]
    assert np.array_equal(again.encode(images), model.encode(images))
    # An image of the wanted size is first made one of the train set's, as those it learned from.
    assert again.encode(torch.zeros(2, 1, 40, 30, dtype=torch.uint8)).shape == (2, 5)


RGB = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}


def test_three_numbers_are_taken_for_colour_and_averaged_for_grey() -> None:
    colour, grey = model_of(Preprocessing(**RGB), 3).card, model_of(Preprocessing(**RGB)).card
    assert (colour.mean, colour.std) == (RGB["mean"], RGB["std"])
    assert (grey.mean, grey.std) == ((0.5,), (0.3,))


def test_what_is_left_none_is_the_train_sets_and_the_rest_is_kept() -> None:
    plain = model_of(Preprocessing()).card
    mean = model_of(Preprocessing(mean=(0.25,))).card
    assert (mean.mean, mean.std) == ((0.25,), plain.std)
    std = model_of(Preprocessing(std=(0.75,))).card
    assert (std.mean, std.std) == (plain.mean, (0.75,))


@pytest.mark.parametrize("wanted", [{"size": (8, 8)}, (8, 8), None, "imagenet", Preprocessing])
def test_wishes_of_another_type_are_refused(wanted: Any) -> None:
    with pytest.raises(PluginError, match="preprocessing must be a metricforge") as caught:
        assembled(Net(preprocessing=wanted))
    assert "Net" in str(caught.value)
    assert type(wanted).__name__ in str(caught.value)


@pytest.mark.parametrize("size", [(0, 0), (-1, 4), (4,), (4, 4, 4)])
def test_a_size_that_is_none_is_the_backbones_fault(size: Any) -> None:
    with pytest.raises(PluginError, match=r"backbone object .*Net can't embed"):
        assembled(Net(preprocessing=Preprocessing(size=size)))


def test_an_interpolation_that_is_none_is_the_backbones_fault() -> None:
    wanted = Preprocessing(size=(20, 20), interpolation="nearly")  # type: ignore[arg-type]
    with pytest.raises(PluginError, match=r"backbone object .*Net can't embed"):
        assembled(Net(preprocessing=wanted))


class Gives(Net):
    """A backbone that gives what it is told."""

    def __init__(self, made: Any, **said: Any) -> None:
        super().__init__(**said)
        self.made = made

    def forward(self, images: Tensor) -> Any:
        return self.made(super().forward(images))


WRONG_FEATURES = {
    "too few": (lambda f: f[:, :4], r"must give \[B, 6\] for B images, not \[2, 4\] for 2"),
    "a map": (lambda f: f[:, :, None, None], r"not \[2, 6, 1, 1\] for 2"),
    "fewer rows": (lambda f: f[:1], r"not \[1, 6\] for 2"),
    "a tuple": (lambda f: (f, f), r"not tuple"),
    "none": (lambda f: None, r"not NoneType"),
    "an error": (lambda f: f @ f, "can't embed: RuntimeError: .*mat1 and mat2"),
}


@pytest.mark.parametrize(("made", "told"), WRONG_FEATURES.values(), ids=WRONG_FEATURES)
def test_a_backbone_must_give_what_it_promises(made: Any, told: str) -> None:
    with pytest.raises(PluginError, match=told) as caught:
        assembled(Gives(made))
    assert "backbone object tests.recipes.test_components:Gives" in str(caught.value)


@pytest.mark.parametrize(
    "backbone",
    [
        Net(out_features=None),
        Net(out_features=6.0),
        Net(out_features="6"),
        nn.Conv2d(1, 3, 3),
        3,
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'out_features', '')}",
)
def test_a_backbone_must_be_a_module_that_says_its_features(backbone: Any) -> None:
    with pytest.raises(PluginError, match=r"must be an nn\.Module with an int out_features"):
        assembled(backbone)


class Head(nn.Module):
    def __init__(self, made: Any) -> None:
        super().__init__()
        self.layer, self.made = nn.Linear(6, 5), made

    def forward(self, features: Tensor) -> Any:
        return self.made(self.layer(features))


WRONG_EMBEDDINGS = {
    "too few": (lambda e: e[:, :4], r"must give \[B, 5\] for B images, not \[2, 4\] for 2"),
    "fewer rows": (lambda e: e[0], r"not \[5\] for 2"),
    "a list": (lambda e: [e], "not list"),
    "an error": (lambda e: e.view(7, 7), "can't embed: RuntimeError"),
}


@pytest.mark.parametrize(("made", "told"), WRONG_EMBEDDINGS.values(), ids=WRONG_EMBEDDINGS)
def test_a_head_must_give_what_was_asked_for(made: Any, told: str) -> None:
    with pytest.raises(PluginError, match=told) as caught:
        assembled(Net(), head=Head(made))
    assert "head object tests.recipes.test_components:Head" in str(caught.value)


def test_a_head_must_be_a_module() -> None:
    with pytest.raises(PluginError, match=r"head .* must be an nn\.Module"):
        assembled(Net(), head=lambda features: features)


def test_a_model_is_saved_by_the_spec_that_needs_no_fetching() -> None:
    card = assembled(Net(rebuild="conv4:channels=8")).setup.model.card
    assert card.backbone == "conv4:channels=8"
    assert assembled("conv4:channels=8").setup.model.card.backbone.startswith("conv4:channels=8")


def test_trying_it_out_leaves_it_training_and_its_statistics_alone() -> None:
    net = Net()
    net.norm = nn.BatchNorm2d(1)
    before = net.norm.running_mean.clone()
    found = assembled(net).setup.model
    assert found.training
    assert found.backbone.norm.running_mean.equal(before)


@pytest.mark.fault(128)
def test_two_classes_of_one_name_are_refused() -> None:
    """One would train and the other test, by the same name."""
    named = replace(dataset(), classes=tuple("abcdefga"))
    with pytest.raises(PluginError, match="has two classes by the name 'a'"):
        assemble(Recipe(dataset=named, dim=5), REGISTRY)
