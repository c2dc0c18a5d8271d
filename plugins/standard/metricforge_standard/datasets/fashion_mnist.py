"""Fashion-MNIST, as torchvision keeps it."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import FashionMNIST

from metricforge.contracts import Dataset
from metricforge_standard.datasets._mnist import read_mnist


def fashion_mnist(root: Path, *, size: int = 28) -> Dataset:
    """Fashion-MNIST's 70,000 pictures of clothes in 10 classes.

    Light on black, [1, 28, 28], from the four files in `root/FashionMNIST/raw`, downloaded
    through torchvision when they are missing (Xiao et al. 2017). The official split has 60,000
    images to train and 10,000 to test, of the same classes. `size` resizes the images.
    """
    return read_mnist(root, "fashion-mnist", FashionMNIST, FashionMNIST.classes, size)
