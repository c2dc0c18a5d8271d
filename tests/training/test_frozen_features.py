"""A backbone that does not learn embeds each image once, and nothing else changes by it."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metricforge
from metricforge.contracts import Dataset
from metricforge.data.feature_cache import image_keys
from metricforge.data.images import MemoryImages
from metricforge.entry_points import installed_points
from metricforge.errors import UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs import backbone_features
from metricforge.runs.build import assemble
from metricforge.runtime import Runtime
from metricforge.training import frozen_features
from metricforge.training.frozen_features import BATCH, FrozenFeatures
from metricforge.training.loop import fit
from metricforge.training.setup import TrainState
from tests.cli.forked import ranked
from tests.cli.process import metricforge as command

REGISTRY = Registry.installed()
FROZEN: dict[str, Any] = {
    "backbone": "conv4:channels=8", "rates": "backbone=0", "dim": 8, "epochs": 2, "device": "cpu",
    "orientations": 1, "protocols": ("retrieval",), "sampler": "hard-triplet:classes=4,per_class=4",
}  # fmt: skip


def dataset(count: int = 160, photographs: bool = False) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=rng).to(torch.uint8)
    images[:, :, 4:8] = (labels * 25).to(torch.uint8).view(-1, 1, 1, 1)
    return Dataset("noise", images, labels, tuple("abcdefghij"), (3, 16, 16))


def assembled(**options: Any) -> Any:
    return assemble(Recipe(**{"dataset": dataset(), **FROZEN, **options}), REGISTRY)


class Counting(MemoryImages):
    """Images that count how often each was taken."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(images)
        self.taken = torch.zeros(len(images), dtype=torch.int64)

    def take(self, indices: Tensor) -> Tensor:
        self.taken[indices] += 1
        return super().take(indices)


def features(images: MemoryImages | None = None, **options: Any) -> FrozenFeatures:
    model = assembled().setup.model
    images = images or MemoryImages(dataset().images)  # type: ignore[arg-type]
    return FrozenFeatures(model, images, Runtime(torch.device("cpu")), **options)


def test_features_are_those_of_the_backbone_in_evaluation_mode() -> None:
    model = assembled().setup.model.eval()
    once = FrozenFeatures(model, MemoryImages(dataset().images), Runtime(torch.device("cpu")))
    with torch.inference_mode():
        expected = model.features(dataset().images)
    torch.testing.assert_close(once.take(torch.arange(160)), expected)


def test_each_image_is_taken_once_however_often_its_features_are() -> None:
    images = Counting(dataset().images)  # type: ignore[arg-type]
    once = features(images)
    for _ in range(3):
        once.take(torch.tensor([5, 3, 5]))
    once.compute(torch.arange(100))
    once.take(torch.arange(160))
    assert images.taken.tolist() == [1] * 160


def test_features_do_not_depend_on_how_many_are_embedded_or_in_which_order() -> None:
    """To the last bit: batches are always full."""
    whole = features().take(torch.arange(160))
    order = torch.randperm(160, generator=torch.Generator().manual_seed(1))
    apart = features()
    for part in order.split([1, 7, BATCH, BATCH + 5, 160 - 2 * BATCH - 13]):
        apart.compute(part)
    assert torch.equal(apart.take(torch.arange(160)), whole)


def test_training_on_features_is_training_behind_the_frozen_backbone() -> None:
    """The same embeddings as those of a loop that embeds each batch anew, to rounding."""
    once, anew = assembled(), assembled()
    assert isinstance(once.setup.images, FrozenFeatures)
    object.__setattr__(anew.setup, "images", MemoryImages(dataset().images))
    for assembly in (once, anew):
        list(fit(assembly.setup, TrainState(), assembly.runtime))
    shown = dataset().images[:40]
    ours, theirs = (each.setup.model.eval()(shown) for each in (once, anew))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    before = assembled().setup.model.eval()(shown)
    assert (ours - before).abs().max() > 0.005


def bytes_of(run: Any) -> list[bytes]:
    return [
        (run.path / name).read_bytes() for name in ("model/weights.safetensors", "summary.json")
    ]


def test_a_cache_changes_no_byte_and_spares_the_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str, cache: str) -> Any:
        # A spec: objects are not cached on disk.
        return metricforge.train(
            dataset="digits", **FROZEN, out=tmp_path / name, feature_cache=cache, progress=False
        )

    plain = trained("plain", "none")
    first = trained("first", str(tmp_path / "cache"))
    assert list((tmp_path / "cache" / "features").glob("*/*.safetensors"))

    def embedded(*_: object) -> Tensor:
        pytest.fail("an image was embedded again")

    monkeypatch.setattr(FrozenFeatures, "_embedded", embedded)
    second = trained("second", str(tmp_path / "cache"))
    weights = {bytes_of(run)[0] for run in (plain, first, second)}
    assert len(weights) == 1
    results = [run.results["trained"]["map@r"] for run in (plain, first, second)]
    assert results[0] == results[1] == results[2]


def test_views_are_augmented_and_come_in_turn() -> None:
    shown = assembled(augment=("flip",), views=3, epochs=7).setup
    assert isinstance(shown.images, FrozenFeatures)
    indices = torch.arange(32)
    by_epoch = [shown.shown(epoch).take(indices) for epoch in range(4)]
    assert torch.equal(by_epoch[0], by_epoch[3])
    assert not torch.equal(by_epoch[0], by_epoch[1])
    plain = shown.images.take(indices)
    # A flip leaves about half of the images as they are.
    same = (by_epoch[0] == plain).all(1)
    assert 0 < int(same.sum()) < 32
    assert shown.augment is None


def test_augmented_images_are_embedded_anew_without_a_number_of_views() -> None:
    anew = assembled(augment=("flip",))
    assert not isinstance(anew.setup.images, FrozenFeatures)
    assert any("--views 8" in note for note in anew.notes)
    assert not any("--views 8" in note for note in assembled().notes)


def test_views_need_a_frozen_backbone_and_augmentations() -> None:
    for options in ({"rates": "backbone=0.1", "augment": ("flip",)}, {}):
        with pytest.raises(UsageError, match="views are of augmented images and a backbone"):
            assembled(views=2, **options)


def test_a_backbone_that_learns_has_no_features_to_keep() -> None:
    for options in ({"rates": None}, {"rates": None, "freeze": 1}):
        assert not isinstance(assembled(**options).setup.images, FrozenFeatures)
    assert isinstance(assembled(rates=None, freeze=2).setup.images, FrozenFeatures)


class CountingConv(nn.Conv2d):
    images = 0

    def forward(self, input: Tensor) -> Tensor:
        self.images += len(input)
        return super().forward(input)


class Blocks(nn.Module):
    """Three blocks, of which the last one learns behind `last-blocks:n=1`."""

    out_features = 8

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        sizes = ((in_channels, 4), (4, 4), (4, 8))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(CountingConv(i, o, 3, 2, 1), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1))
                for i, o in sizes
            )
        )

    @property
    def first(self) -> CountingConv:
        return self.blocks[0][0]

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(images).mean((2, 3))


LAST: dict[str, Any] = {"rates": None, "adapters": ("last-blocks:n=1",)}


def test_each_image_passes_the_frozen_lower_part_once() -> None:
    """And the training is that of the whole network, to rounding."""
    torch.manual_seed(0)
    network = Blocks()
    once, anew = (assembled(backbone=copy.deepcopy(network), **LAST) for _ in range(2))
    assert once.setup.model.cut is not None
    assert any("below blocks.2.0 nothing learns" in note for note in once.notes)
    object.__setattr__(anew.setup, "images", MemoryImages(dataset().images))
    object.__setattr__(anew.setup.validate, "images", MemoryImages(dataset().images))
    for assembly in (once, anew):
        assembly.setup.model.backbone.first.images = 0
        if isinstance(assembly.setup.images, FrozenFeatures):
            assembly.setup.images.compute(assembly.split.train)
        list(fit(assembly.setup, TrainState(), assembly.runtime))
    trained_on, shown = len(once.split.train), dataset().images[:40]
    assert trained_on < once.setup.model.backbone.first.images < 160 + BATCH
    assert anew.setup.model.backbone.first.images > 2 * trained_on
    ours, theirs = (each.setup.model.eval()(shown) for each in (once, anew))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    before = assembled(backbone=copy.deepcopy(network), **LAST).setup.model.eval()(shown)
    assert (ours - before).abs().max() > 0.005


def test_a_head_begins_at_the_features_of_the_whole_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = Blocks()
    options = {**LAST, "head": "linear:start=pca"}
    once = assembled(backbone=copy.deepcopy(network), **options).setup.model
    monkeypatch.setattr(backbone_features, "cut_of", lambda *_: None)
    whole = assembled(backbone=copy.deepcopy(network), **options).setup.model
    assert (once.cut is None, whole.cut is None) == (False, True)
    ours, theirs = once.head.state_dict(), whole.head.state_dict()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)


def test_a_lower_part_that_is_kept_for_later_runs_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")

    def trained(name: str, cache: str, **options: Any) -> Any:
        network = "timm:model=resnet18,pretrained=false,size=64"
        return metricforge.train(
            **{"dataset": "digits", **FROZEN, **LAST, "backbone": network, "epochs": 1, **options},
            batch_norm="frozen", out=tmp_path / name, feature_cache=cache, progress=False,
        )  # fmt: skip

    plain = trained("plain", "none", augment=("affine",), views=2)
    first = trained("first", str(tmp_path / "cache"), augment=("affine",), views=2)
    whole = trained("whole", str(tmp_path / "cache"), adapters=(), rates="backbone=0")
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2

    def embedded(*_: object) -> Tensor:
        pytest.fail("an image was embedded again")

    monkeypatch.setattr(FrozenFeatures, "_embedded", embedded)
    second = trained("second", str(tmp_path / "cache"), augment=("affine",), views=2)
    assert len({bytes_of(run)[0] for run in (plain, first, second)}) == 1
    scores = [run.results["trained"]["map@r"] for run in (plain, first, second, whole)]
    assert scores[0] == scores[1] == scores[2] != scores[3]
    # What is saved is the whole network.
    again = metricforge.evaluate(second, untrained=True).results
    for row in ("trained", "untrained"):
        recorded = second.results[row]["map@r"].value
        assert again[row]["map@r"].value == pytest.approx(recorded, abs=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_lower_part_of_a_transformer_puts_out_rows_of_tokens(precision: str) -> None:
    pytest.importorskip("timm")
    assembly = assembled(
        backbone="timm:model=vit_tiny_patch16_224,pretrained=false,size=32", epochs=1,
        adapters=("last-blocks:n=2",), rates=None, channels_last=True, precision=precision,
    )  # fmt: skip
    assert assembly.setup.model.cut.shape == (5, 192)
    before = assembly.setup.model.backbone.network.blocks[11].mlp.fc1.weight.clone()
    list(fit(assembly.setup, TrainState(), assembly.runtime))
    assert not before.equal(assembly.setup.model.backbone.network.blocks[11].mlp.fc1.weight)


@pytest.mark.fault(141)
@pytest.mark.parametrize("rates", ["backbone=0", None])
def test_a_training_in_bf16_is_measured_in_float32(rates: str | None, tmp_path: Path) -> None:
    run = metricforge.train(
        **{"dataset": "digits", **FROZEN, "rates": rates, "dim": 3, "precision": "bf16"},
        out=tmp_path / "run", feature_cache="none", progress=False,
    )  # fmt: skip
    again = metricforge.evaluate(run, untrained=True).results
    for row in ("trained", "untrained"):
        for name, estimate in run.results[row].items():
            assert again[row][name].value == pytest.approx(estimate.value, abs=1e-6), (row, name)


def test_images_that_are_new_in_each_epoch_pass_the_whole_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Blocks()
    for options in (
        {"augment": ("flip",)},
        {"orientations": 4},
        {"train_scale": 0.5},
        {"freeze": 2, "adapters": ()},
        {"compile": True},
    ):
        assembly = assembled(backbone=copy.deepcopy(network), **{**LAST, **options})
        assert assembly.setup.model.cut is None, options
    views = assembled(backbone=copy.deepcopy(network), **LAST, augment=("flip",), views=2)
    assert views.setup.model.cut is not None
    monkeypatch.setattr(backbone_features, "MOST_BYTES", 160 * 3 * 4 * 4 * 4 * 4 - 1)
    with pytest.raises(UsageError, match="views are of"):
        assembled(backbone=copy.deepcopy(network), **LAST, augment=("flip",), views=2)
    assert assembled(backbone=copy.deepcopy(network), **LAST).setup.model.cut is not None


@pytest.mark.fault(140)
def test_more_than_a_few_images_are_tried() -> None:
    class Masked(Blocks):
        """What is black in an image has no part in its features, and few images have any."""

        def forward(self, images: Tensor) -> Tensor:
            black = nn.functional.adaptive_max_pool2d(images.amax(1, keepdim=True), 2) <= 0
            return (self.blocks(images) * ~black).mean((2, 3))

    usual = dataset()
    network = Masked()
    assert assembled(backbone=copy.deepcopy(network), **LAST).setup.model.cut is not None
    some = usual.images.clone()  # type: ignore[union-attr]
    some[7::9, :, :8, :8] = 0
    banded = replace(usual, images=some)
    assert assembled(dataset=banded, backbone=network, **LAST).setup.model.cut is None


def test_what_is_larger_than_the_image_is_not_kept() -> None:
    class Wide(Blocks):
        def __init__(self) -> None:
            super().__init__()
            self.blocks[0] = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1))
            self.blocks[1] = nn.Sequential(nn.Conv2d(16, 4, 1), nn.Conv2d(4, 4, 1))

    network = Wide()
    assert assembled(backbone=copy.deepcopy(network), **LAST).setup.model.cut is None
    narrow = {**LAST, "adapters": ("last-blocks:n=2",)}
    assert assembled(backbone=copy.deepcopy(network), **narrow).setup.model.cut is None
    network.blocks[1][1] = nn.Conv2d(4, 3, 1)
    network.blocks[2][0] = nn.Conv2d(3, 8, 3)
    assert assembled(backbone=copy.deepcopy(network), **LAST).setup.model.cut is not None


def test_batches_are_as_large_as_they_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    model = assembled().setup.model
    original = model.features_of

    def noted(images: Tensor, runtime: Runtime) -> Tensor:
        sizes.append(len(images))
        return original(images, runtime)

    monkeypatch.setattr(model, "features_of", noted, raising=False)
    monkeypatch.setattr(frozen_features, "BATCH", 32)
    once = FrozenFeatures(model, MemoryImages(dataset().images), Runtime(torch.device("cpu")))
    once.compute(torch.arange(70))
    assert sizes == [32, 32, 32]


@pytest.mark.parametrize("given", [None, "own"])
def test_the_environment_names_the_folder_unless_the_recipe_does(
    given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICFORGE_CACHE", str(tmp_path / "of the environment"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = str(tmp_path / given) if given else None
    metricforge.train(
        dataset="digits", **FROZEN, out=tmp_path / "run", feature_cache=folder, progress=False
    )
    expected = given or "of the environment"
    kept = {path.parent.parent.name for path in tmp_path.glob("*/features/*")}
    assert kept == {expected}
    assert not (tmp_path / "home" / ".cache" / "metricforge").exists()


class Powered(nn.Module):
    """A backbone whose options are in its code alone: no weight and no layer shows them."""

    out_features = 6

    def __init__(self, in_channels: int, *, power: float = 1.0) -> None:
        super().__init__()
        self.layer, self.power = nn.Conv2d(in_channels, 6, 3), power

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).abs().pow(self.power).mean((2, 3))


def map_of(tmp_path: Path, name: str, cache: str, **options: Any) -> float:
    run = metricforge.train(
        **{"dataset": "digits", **FROZEN, **options}, out=tmp_path / name, progress=False,
        feature_cache=cache,
    )  # fmt: skip
    return float(run.results["trained"]["map@r"].value)


def test_an_option_without_weights_has_features_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("powered", f"{__name__}:Powered", "metricforge.backbones")
    registry = Registry([*installed_points(), point])
    monkeypatch.setattr(Registry, "installed", lambda: registry)
    sys.modules.setdefault(__name__, sys.modules[Powered.__module__])
    cache = str(tmp_path / "cache")
    kept = [map_of(tmp_path, f"{p}", cache, backbone=f"powered:power={p}") for p in (1, 4)]
    anew = [map_of(tmp_path, f"{p}-", "none", backbone=f"powered:power={p}") for p in (1, 4)]
    assert kept == anew
    assert kept[0] != kept[1]


class Noise:
    def __init__(self, amount: float) -> None:
        self.amount = amount

    def __call__(self, images: Tensor, draws: Any) -> Tensor:
        return (images + self.amount * (draws.uniform(0, 1).view(-1, 1, 1, 1) - 0.5)).clamp(0, 255)


def keys_of(**options: Any) -> Any:
    """The keys of two views of the training images, None without a cache on disk."""
    features = assembled(**{"augment": ("affine:rotate=30",), "views": 2, **options}).setup.images
    cache = features._cache
    return None if cache is None else (cache._folder.name, tuple(cache.keys(torch.arange(4), 1)))


def test_the_keys_of_views_are_of_all_that_makes_them(tmp_path: Path) -> None:
    cache = str(tmp_path)
    base = keys_of(feature_cache=cache)
    assert keys_of(feature_cache=cache) == base
    others = {
        "options": {"augment": ("affine:rotate=31",)},
        "seed": {"seed": 1},
        "border": {"split": "classes:train=a+b+c+d,validation=e+f,test=g+h"},
        "order": {"augment": ("affine:rotate=30", "flip")},
    }
    found = {name: keys_of(feature_cache=cache, **options) for name, options in others.items()}
    assert len({base, *found.values()}) == 1 + len(found)
    # An object's code may be anywhere, and so may its numbers.
    assert keys_of(feature_cache=cache, augment=(Noise(3.0),)) is None


def test_views_of_turned_images_are_refused() -> None:
    with pytest.raises(UsageError, match="add --orientations 1"):
        assembled(dataset="digits", augment=("affine",), views=2, orientations=4)


def test_a_tensor_that_is_not_contiguous_has_the_same_features(tmp_path: Path) -> None:
    plain = dataset()
    turned = replace(plain, images=plain.images.to(memory_format=torch.channels_last))  # type: ignore[union-attr]
    indices = torch.arange(160)
    assert image_keys(turned, indices) == image_keys(plain, indices)
    one, other = (
        assembled(dataset=each, feature_cache=str(tmp_path)).inputs.take(indices)
        for each in (plain, turned)
    )
    assert torch.equal(one, other)


def test_a_cache_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="has no name"):
        assembled(feature_cache="")


def test_two_ranks_test_what_one_tests(tmp_path: Path) -> None:
    """Each rank embeds a part of the test images: none may mix up its rows with another's."""
    words = (
        "train", "--dataset", "glyphs:per_class=4", "--backbone", "conv4:channels=4", "--rates",
        "backbone=0", "--epochs", "1", "--protocol", "retrieval", "--dim", "8", "--device", "cpu",
        "--sampler", "hard-triplet:classes=8,per_class=4", "--quiet",
    )  # fmt: skip
    cache = ("--feature-cache", str(tmp_path / "cache"))
    done = ranked(2, (*words, *cache, "--out", "two"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert command(*words, "--out", "one", cwd=tmp_path).returncode == 0
    two, one = (
        json.loads((tmp_path / name / "summary.json").read_text())["results"]
        for name in ("two", "one")
    )
    for row in ("trained", "untrained"):
        for metric in ("recall@1", "map@r"):
            assert two[row][metric]["value"] == pytest.approx(one[row][metric]["value"], abs=0.01)
