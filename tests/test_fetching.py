"""A model that a stranger saved is loaded without a download, whatever its card asks for."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import NoReturn

import pytest
import torch

import metricforge as mf
from metricforge.atomic_files import read_folder, write_folder
from metricforge.errors import ArtefactError
from tests.cli.process import metricforge
from tests.cli.small_model import make_model

PRETRAINED = ("torchvision.resnet18:weights=true", "resnet50:weights=true")


def card_of(folder: Path, **changes: object) -> Path:
    """`folder` with the model of a run, whose card has these values."""
    model = make_model(folder) / "model"
    files = read_folder(model)
    card = json.loads(files["model.json"]) | changes
    write_folder(model, files | {"model.json": json.dumps(card).encode()})
    return folder


@pytest.fixture
def no_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """torch's cache, an empty folder; a socket or a pickle that is opened fails the test."""

    def opened(*given: object, **options: object) -> NoReturn:
        pytest.fail(f"a socket or a pickle is opened: {given}")

    monkeypatch.setattr(socket, "socket", opened)
    monkeypatch.setattr(socket, "getaddrinfo", opened)
    monkeypatch.setattr(torch, "load", opened)
    cache = tmp_path / "cache"
    monkeypatch.setenv("TORCH_HOME", str(cache))
    return cache


@pytest.mark.fault(70)
@pytest.mark.parametrize("backbone", PRETRAINED)
def test_a_card_that_asks_for_pretrained_weights_is_refused(
    backbone: str, tmp_path: Path, no_fetch: Path
) -> None:
    run = card_of(tmp_path / "run", backbone=backbone)
    # Weights of an earlier download would be a pickle, which is not opened either.
    for name in ("resnet18-f37072fd.pth", "resnet50-11ad3fa6.pth"):
        (no_fetch / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
        (no_fetch / "hub" / "checkpoints" / name).write_bytes(b"a pickle")
    told = r"loading the model in .* fetches nothing, .* the weights of resnet\d\d; use weights=f"
    with pytest.raises(ArtefactError, match=told):
        mf.load(run, device="cpu")


@pytest.mark.fault(70)
def test_the_command_refuses_it_with_exit_code_5(tmp_path: Path) -> None:
    card_of(tmp_path / "run", backbone=PRETRAINED[0])
    (tmp_path / "a.png").write_bytes(b"never opened")
    env = {"TORCH_HOME": str(tmp_path / "cache")}
    done = metricforge("encode", "run", "a.png", "--out", "e.npy", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (5, "")
    assert "would have to fetch the weights of resnet18; use weights=false.\n" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run", "a.png"}
