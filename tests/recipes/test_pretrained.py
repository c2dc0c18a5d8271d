"""The defaults of a pretrained backbone, and that what the user sets stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from metricforge.recipes.pretrained import with_network_defaults
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import Assembly, assemble
from metricforge.spec import Spec

timm = pytest.importorskip("timm", reason="requires metricforge[photos]")
REGISTRY = Registry.installed()
SMALL = "efficientnet-lite0:size=32"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small noisy images of ten classes, each of its own colour."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(10):
        (root / f"class{number}").mkdir()
        colour = rng.integers(0, 256, 3)
        for index in range(8):
            pixels = np.clip(colour + rng.normal(0, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"class{number}" / f"{index}.png")
    return root


def assembled(photos: Path, **options: Any) -> Assembly:
    quick = {
        "dataset": str(photos), "sampler": "hard-triplet:classes=3,per_class=4", "device": "cpu",
        "protocols": ("retrieval",), "backbone": SMALL,
    }  # fmt: skip
    return assemble(Recipe.from_values({**quick, **options}, "test"), REGISTRY)


def test_a_pretrained_backbone_has_defaults_of_its_own(photos: Path) -> None:
    recipe = assembled(photos).recipe
    assert isinstance(recipe.dataset, Spec)
    assert recipe.dataset.options["size"] == "32"
    assert str(recipe.head) == "linear:normalize=none,start=pca,whiten=0.5"
    assert recipe.dim == 512
    assert str(recipe.optimizer) == "adamw:lr=0.0001,weight_decay=0.0001"
    assert (recipe.batch_norm, recipe.rates) == ("frozen", "backbone=0.3")


def test_what_the_user_sets_stays(photos: Path) -> None:
    recipe = assembled(
        photos, dataset=f"folder:path={photos},size=24", head="linear", dim=7, optimizer="adamw",
        batch_norm="batch", augment="flip", rates="head=2",
    ).recipe  # fmt: skip
    assert isinstance(recipe.dataset, Spec)
    assert recipe.dataset.options["size"] == "24"
    assert Spec.parse(str(recipe.head)).options["start"] == "random"
    assert (recipe.dim, recipe.batch_norm, recipe.rates) == (7, "batch", "head=2")
    assert Spec.parse(str(recipe.optimizer)).options["lr"] == "0.001"
    assert [str(step).partition(":")[0] for step in recipe.augment or ()] == ["flip"]


def test_a_backbone_without_weights_keeps_the_usual_ones(photos: Path) -> None:
    for backbone in ("conv4", "efficientnet-lite0:size=32,pretrained=false"):
        recipe = assembled(photos, backbone=backbone).recipe
        assert isinstance(recipe.dataset, Spec)
        assert recipe.dataset.options["size"] == "64"
        assert Spec.parse(str(recipe.head)).options["start"] == "random"
        assert (recipe.dim, recipe.batch_norm, recipe.rates) == (64, "batch", None)


def test_weights_from_a_file_are_pretrained_too(photos: Path, tmp_path: Path) -> None:
    torch.save(models.resnet18().state_dict(), tmp_path / "w.pth")
    assembly = assembled(
        photos, backbone=f"resnet18:weights={tmp_path / 'w.pth'}", rates="backbone=0"
    )
    assert isinstance(assembly.recipe.dataset, Spec)
    assert assembly.recipe.dataset.options["size"] == "224"
    assert assembly.recipe.dim == 512
    # Without a size of its own the network takes the images as they are decoded.
    assert assembly.setup.model.card.input_size == (224, 224)


def test_an_image_in_memory_is_not_enlarged(photos: Path) -> None:
    recipe = assembled(photos, dataset="digits", rates="backbone=0", orientations=1).recipe
    assert isinstance(recipe.dataset, Spec)
    assert recipe.dataset.options["size"] == "16"


def test_the_first_embeddings_rank_as_the_features_do(photos: Path) -> None:
    """Before any step the head is no worse than the features that it begins at."""
    assembly = assembled(photos, rates="backbone=0")
    model = assembly.setup.model.eval()
    with torch.inference_mode():
        features = assembly.inputs.take(assembly.split.train)
        spread = features - features.mean(0)
        embeddings = model.head(features)
    ours, theirs = (each @ each.T for each in (embeddings, spread))
    correlation = np.corrcoef(ours.flatten().numpy(), theirs.flatten().numpy())[0, 1]
    assert correlation > 0.8


def test_the_line_on_the_training_tells_of_the_head(photos: Path) -> None:
    line = assembled(photos).defaults
    assert "head linear:start=pca to 512 dimensions, batch norm frozen" in line


@pytest.mark.parametrize(
    ("adapters", "rates"),
    [((), "backbone=0.3"), (("last-blocks:n=2",), "backbone=0.3"), (("lora",), None)],
)
def test_weights_that_an_adapter_adds_learn_at_the_full_rate(
    adapters: tuple[str, ...], rates: str | None
) -> None:
    recipe = Recipe.from_values({"backbone": "efficientnet-lite0", "adapters": adapters}, "x")
    own, _ = with_network_defaults(recipe, REGISTRY)
    assert own.rates == rates


def test_the_embedding_has_no_more_dimensions_than_the_features(tmp_path: Path) -> None:
    network = timm.create_model("test_efficientnet", num_classes=0)
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    backbone = f"timm:model=test_efficientnet,weights={tmp_path / 'small.safetensors'}"
    recipe = Recipe.from_values({"backbone": backbone}, "x")
    own, pretrained = with_network_defaults(recipe, REGISTRY)
    assert pretrained
    assert own.dim == network.num_features < 512
