"""Features on disk: found again by content and network alone, and never trusted when damaged."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from metricforge.contracts import Dataset, Reading
from metricforge.data import feature_cache
from metricforge.data.feature_cache import FeatureCache, image_keys, network_key


def of_tensor() -> Dataset:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 4, 4), generator=rng).to(torch.uint8)
    return Dataset("noise", images, torch.arange(6) % 2, ("a", "b"), (3, 4, 4))


def cache(folder: Path, network: str = "net") -> FeatureCache:
    dataset = of_tensor()
    return FeatureCache(
        folder, network, lambda indices, view: image_keys(dataset, indices, str(view))
    )


EVERY = torch.arange(6)


def test_what_was_added_is_found_and_nothing_else(tmp_path: Path) -> None:
    first = cache(tmp_path)
    keys, rows = first.keys(EVERY, 0), torch.randn(6, 5)
    hits, found = first.find(keys)
    assert (hits.any(), found) == (False, None)
    first.add(keys[:2], rows[:2])
    first.add(keys[3:], rows[3:])
    hits, found = cache(tmp_path).find(keys)
    assert hits.tolist() == [True, True, False, True, True, True]
    assert found is not None
    assert torch.equal(found, rows[hits])
    assert not cache(tmp_path, "another").find(keys)[0].any()
    assert not cache(tmp_path).find(first.keys(EVERY, 1))[0].any()


def test_the_same_image_twice_is_found_twice(tmp_path: Path) -> None:
    one = cache(tmp_path)
    keys = one.keys(torch.tensor([1, 1, 2]), 0)
    assert keys[0] == keys[1] != keys[2]
    one.add(keys[1:], torch.tensor([[1.0], [2.0]]))
    hits, rows = one.find(keys)
    assert hits.all()
    assert rows is not None
    assert rows.flatten().tolist() == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("damage", ["truncated", "altered", "replaced"])
def test_a_damaged_file_is_removed_and_its_images_are_unknown(tmp_path: Path, damage: str) -> None:
    one = cache(tmp_path)
    keys = one.keys(EVERY, 0)
    one.add(keys, torch.randn(6, 5))
    (file,) = (tmp_path / "net").glob("*.safetensors")
    content = file.read_bytes()
    changed = content[:-3] if damage == "truncated" else content[:-1] + b"x"
    file.write_bytes(b"hello" if damage == "replaced" else changed)
    assert not one.find(keys)[0].any()
    assert not file.exists()


def test_the_networks_used_longest_ago_go_when_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 2_000)
    for number, name in enumerate(("old", "used", "new")):
        one = cache(tmp_path, name)
        one.add(one.keys(EVERY, 0), torch.randn(6, 30))
        os.utime(tmp_path / name, (number, number))
    assert cache(tmp_path, "used").find(cache(tmp_path).keys(EVERY, 0))[0].all()
    last = cache(tmp_path, "last")
    last.add(last.keys(EVERY, 0), torch.randn(6, 30))
    assert {path.name for path in tmp_path.iterdir()} == {"used", "last"}


def test_the_key_of_an_image_is_of_its_content_and_of_how_it_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    dataset = Dataset("files", files, torch.arange(2), ("a", "b"), (3, 4, 4))
    one, other = image_keys(dataset, torch.arange(2))
    assert one == other  # wherever it lies
    several = {
        one,
        *image_keys(dataset, torch.tensor([0]), "augmented"),
        *image_keys(replace(dataset, shape=(3, 5, 5)), torch.tensor([0])),
        *image_keys(replace(dataset, reading=Reading(inverted=True)), torch.tensor([0])),
    }
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    several |= {image_keys(dataset, torch.tensor([0]))[0]}
    assert len(several) == 5


class Net(nn.Module):
    def __init__(self, slope: float = 0.1) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(2, 2), nn.LeakyReLU(slope)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(x))


def test_the_key_of_a_network_is_of_weights_layers_and_settings() -> None:
    torch.manual_seed(0)
    net = Net()
    same = Net()
    same.load_state_dict(net.state_dict())
    assert network_key(net, 1) == network_key(same, 1)
    sloped = Net(0.2)
    sloped.load_state_dict(net.state_dict())
    changed = Net()
    changed.load_state_dict(net.state_dict())
    with torch.no_grad():
        changed.layer.bias[0] += 1e-6
    keys = {
        network_key(net, 1),
        network_key(net, 2),
        network_key(sloped, 1),
        network_key(changed, 1),
    }
    assert len(keys) == 4


def test_the_key_of_a_network_is_of_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that its writer has edited gives no features of yesterday."""
    monkeypatch.syspath_prepend(str(tmp_path))
    code = """from torch import nn
class N(nn.Module):
    def forward(self, x):
        return x * {}
"""
    keys = []
    for name, factor in (("edited_one", 2), ("edited_two", 3)):
        (tmp_path / f"{name}.py").write_text(code.format(factor))
        keys.append(network_key(__import__(name).N()))
    assert keys[0] != keys[1]


def test_files_that_another_process_takes_away_are_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "net"):
        (tmp_path / name).mkdir()
        # Its entry is listed, and it is gone when one looks at it.
        (tmp_path / name / ".x.partial").symlink_to(tmp_path / "gone")
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 0)
    mine = cache(tmp_path)
    keys = mine.keys(EVERY, 0)
    mine.add(keys, torch.randn(6, 5))
    assert mine.find(keys)[0].all()
    assert not (tmp_path / "old").exists()
