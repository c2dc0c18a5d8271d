"""The dataset `kmnist`: read as its likenesses are, from files of the same form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from metricforge_standard.datasets.kmnist import kmnist

from metricforge.contracts import TEST, TRAIN
from metricforge.errors import DataError
from metricforge.testing import check_dataset
from tests.standard.test_datasets import write_idx


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files like KMNIST's: image i is of the value i % 251, its label i % 10."""
    folder = tmp_path_factory.mktemp("data")
    write_idx(folder / "KMNIST" / "raw")
    return folder


def test_kmnist_is_read_resized_and_named(root: Path) -> None:
    dataset = kmnist(root, size=3)
    assert dataset.name == "kmnist"
    assert dataset.shape == (1, 3, 3)
    assert dataset.classes == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 60_000 + [TEST] * 10_000
    assert isinstance(dataset.images, torch.Tensor)
    assert dataset.images[60_007].unique().tolist() == [7]
    assert dataset.labels[60_007] == 7


def test_kmnist_passes_the_kit(root: Path) -> None:
    assert check_dataset("kmnist", root=root, size=5).passed


def test_kmnist_is_not_another_likeness_of_mnist(tmp_path: Path) -> None:
    write_idx(tmp_path / "KMNIST" / "raw", train=59_999)
    with pytest.raises(DataError, match=r"'train-\*' in '.*KMNIST/raw' do not hold 60000 images"):
        kmnist(tmp_path)


def test_kmnist_says_what_to_do_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DataError, match=r"'kmnist' is not in '.*KMNIST/raw' .*no network.*--data-"):
        kmnist(tmp_path)
    assert list(tmp_path.iterdir()) == []
