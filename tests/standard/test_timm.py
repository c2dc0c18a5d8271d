"""timm's networks keep the contract, train through the real command and come back when loaded."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from metricforge_standard.backbones.timm import Timm

import metricforge
from metricforge.atomic_files import read_folder, write_folder
from metricforge.errors import ArtefactError, ResourceError, UsageError
from metricforge.loading import build
from metricforge.model_card import Card
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing import check_backbone

# One of each family that names its width in another way, small.
FAMILIES = {
    "resnet10t": 512,
    "vit_tiny_patch16_224": 192,
    "mobilenetv3_small_050": 1024,
    "convnext_atto": 320,
    "efficientnet_b0": 1280,
    "swin_tiny_patch4_window7_224": 768,
    "test_vit2": 64,
}


QUICK: dict[str, Any] = {
    "dataset": "digits", "epochs": 1, "orientations": 1, "progress": False,
}  # fmt: skip


def run(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """`metricforge WORDS...`, to its end."""
    command = [str(Path(sys.executable).with_name("metricforge")), *map(str, words)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize("model", ["test_vit", "test_efficientnet", "test_convnext"])
def test_it_keeps_the_contract(model: str) -> None:
    check_backbone(f"timm:model={model},size=32")


@pytest.mark.parametrize(("model", "features"), FAMILIES.items())
def test_every_family_says_how_many_features_it_gives(model: str, features: int) -> None:
    backbone = Timm(1, model=model).eval()
    assert backbone.preprocessing.size is not None
    with torch.inference_mode():
        shown = backbone(torch.zeros(1, 1, *backbone.preprocessing.size))
    assert backbone.out_features == features
    assert shown.shape == (1, features)


@pytest.mark.parametrize("model", ["resnet10t", "vit_tiny_patch16_224"])
def test_another_size_is_the_one_that_it_wants(model: str) -> None:
    backbone = Timm(3, model=model, size=64)
    assert backbone.preprocessing.size == (64, 64)
    assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, backbone.out_features)


def test_untrained_it_leaves_the_statistics_to_the_train_set() -> None:
    wanted = Timm(3, model="resnet10t", size=32).preprocessing
    assert (wanted.mean, wanted.std, wanted.interpolation) == (None, None, "bicubic")


def test_pretrained_it_has_its_weights_and_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm loads from a file in the place of the Hub; all else is as with the network."""
    source = weights_file(tmp_path / "weights.pth", monkeypatch)
    backbone = Timm(3, model="test_resnet", pretrained=True)
    assert backbone.preprocessing.mean == (0.5, 0.5, 0.5)
    for name, value in backbone.network.state_dict().items():
        assert torch.equal(value, source[name]), name


def test_what_is_saved_is_built_again_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        weights_file(tmp_path / "weights.pth", patched)
        backbone = "timm:model=test_resnet,pretrained=true,size=32"
        trained = metricforge.train(backbone=backbone, out=tmp_path / "run", **QUICK)
        images = np.zeros((3, 16, 16), dtype=np.uint8)
        before = trained.model.encode(images)
    assert "pretrained=true" in (tmp_path / "run" / "config.toml").read_text()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = metricforge.load(tmp_path / "run")
    assert Spec.parse(model.card.backbone).options["pretrained"] == "false"
    np.testing.assert_array_equal(model.encode(images), before)


def weights_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights of a test_resnet in a file, which timm then takes for those of the Hub."""
    import timm
    from timm.models import _builder as builder

    torch.manual_seed(7)
    state: dict[str, torch.Tensor] = timm.create_model("test_resnet").state_dict()
    torch.save(state, path)
    resolve = builder.resolve_pretrained_cfg

    def local(*words: object, **options: object) -> object:
        config = resolve(*words, **options)
        config.file, config.hf_hub_id, config.url = str(path), None, ""
        return config

    monkeypatch.setattr(builder, "resolve_pretrained_cfg", local)
    return state


def test_it_trains_and_what_it_saves_encodes(tmp_path: Path) -> None:
    backbone = "timm:model=test_efficientnet,size=32"
    metricforge.train(backbone=backbone, out=tmp_path / "run", **QUICK)
    record = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    options = Spec.parse(record["backbone"]).options
    assert options == {
        "model": "test_efficientnet",
        "pretrained": "false",
        "size": "32",
        "drop_path": "0.0",
    }
    encoded = metricforge.load(tmp_path / "run").encode(np.zeros((2, 16, 16), dtype=np.uint8))
    assert encoded.shape == (2, 64)
    assert np.isfinite(encoded).all()


def test_an_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        Timm(3, model="resnet_18")
    with pytest.raises(UsageError, match=r"did you mean 'resnet10t.c3_in1k'"):
        Timm(3, model="resnet10t.c3_1k")


def test_a_network_without_weights_is_refused_before_it_is_built() -> None:
    with pytest.raises(UsageError, match="no weights for coatnet_0_224"):
        Timm(3, model="coatnet_0_224", pretrained=True)


def test_a_size_or_an_option_that_it_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match="size >= 1"):
        Timm(3, model="resnet10t", size=0)
    with pytest.raises(UsageError, match="choose another size"):
        Timm(3, model="vgg11", size=1)
    with pytest.raises(UsageError, match="drop_path_rate"):
        Timm(3, model="vgg11", drop_path=0.1)
    with pytest.raises(UsageError, match="to below 1"):
        Timm(3, model="resnet10t", drop_path=1.0)


def test_weights_that_cannot_be_fetched_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(
        "train", "--backbone", "timm:model=resnet10t.c3_in1k,pretrained=true",
        "--dataset", "digits", "--out", tmp_path / "run",
        HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == ResourceError.exit_code
    assert "pretrained=false, or fetch them" in done.stderr
    assert not (tmp_path / "run").exists()


def test_it_is_listed_without_loading_timm() -> None:
    done = run("plugins", "list", "backbone")
    assert "metricforge 0.1.0" in done.stdout
    assert Timm.__doc__ is not None
    assert Timm.__doc__.partition("\n")[0] in done.stdout


def test_a_saved_model_that_asks_for_pretrained_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the name of the model and its weights are known: nothing is fetched or unpickled."""

    def opened(*given: object, **options: object) -> NoReturn:
        pytest.fail(f"a socket or a pickle is opened: {given}")

    backbone = "timm:model=resnet10t,pretrained=false,size=32"
    card = Card(backbone, "linear", 4, (1, 16, 16), (0.5,), (0.25,))
    build(Registry.installed(), card, None, None).save(tmp_path / "model")
    files = read_folder(tmp_path / "model")
    text = files["model.json"].decode()
    assert text.count("pretrained=false") == 1
    asking = text.replace("pretrained=false", "pretrained=true").encode()
    write_folder(tmp_path / "model", files | {"model.json": asking})
    for module, name in ((socket, "socket"), (socket, "getaddrinfo"), (torch, "load")):
        monkeypatch.setattr(module, name, opened)
    with pytest.raises(ArtefactError, match=r"fetch the weights of resnet10t; use pretrained=f"):
        metricforge.load(tmp_path, device="cpu")
