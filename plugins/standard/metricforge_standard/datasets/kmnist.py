"""Kuzushiji-MNIST, as torchvision keeps it."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import KMNIST

from metricforge.contracts import Dataset
from metricforge_standard.datasets._mnist import read_mnist


def kmnist(root: Path, *, size: int = 28) -> Dataset:
    """Kuzushiji-MNIST's 70,000 handwritten Japanese characters in 10 classes.

    Light strokes on black, [1, 28, 28], from the four files in `root/KMNIST/raw`, downloaded
    through torchvision when they are missing (Clanuwat et al. 2018). A class is a syllable in
    cursive writing, of several forms each. The official split has 60,000 images to train and
    10,000 to test, of the same classes. `size` resizes the images.
    """
    return read_mnist(root, "kmnist", KMNIST, KMNIST.classes, size)
