"""Fashion-MNIST, as torchvision keeps it."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import FashionMNIST

from metricforge.contracts import Dataset
from metricforge_standard.datasets._mnist import read_mnist


def fashion_mnist(root: Path, *, size: int = 28) -> Dataset:
    """Fashion-MNIST's 70,000 pictures of clothes in 10 classes.

    Light on black, [1, size, size], from the four files in `root/FashionMNIST/raw`, which
    torchvision downloads if they are missing (Xiao et al. 2017). The official split has 60,000
    images to train and 10,000 to test, of the same classes.

    Args:
        root: Folder of the datasets.
        size: Side to resize the images to, 1 to 4,096 pixels.

    Reference: Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
        Algorithms, 2017.
    """
    return read_mnist(root, "fashion-mnist", FashionMNIST, FashionMNIST.classes, size)
