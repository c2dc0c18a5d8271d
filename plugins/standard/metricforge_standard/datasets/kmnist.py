"""Kuzushiji-MNIST, as torchvision keeps it."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import KMNIST

from metricforge.contracts import Dataset
from metricforge_standard.datasets._mnist import read_mnist


def kmnist(root: Path, *, size: int = 28) -> Dataset:
    """Kuzushiji-MNIST's 70,000 handwritten Japanese characters in 10 classes.

    Light strokes on black, [1, size, size], from the four files in `root/KMNIST/raw`, which
    torchvision downloads if they are missing (Clanuwat et al. 2018). A class is a syllable in
    cursive writing, which has several forms. The official split has 60,000 images to train and
    10,000 to test, of the same classes.

    Args:
        root: Folder of the datasets.
        size: Side to resize the images to, 1 to 4,096 pixels.

    Reference: Clanuwat et al., Deep Learning for Classical Japanese Literature, 2018.
    """
    return read_mnist(root, "kmnist", KMNIST, KMNIST.classes, size)
