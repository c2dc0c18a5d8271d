"""MNIST, as torchvision keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torchvision.datasets import MNIST

from metricforge.contracts import Dataset
from metricforge_standard.datasets._mnist import read_mnist


def mnist(root: Path, *, size: int = 28) -> Dataset:
    """MNIST's 70,000 handwritten digits in 10 classes.

    Light strokes on black, [1, size, size], from the four files in `root/MNIST/raw`, which
    torchvision downloads if they are missing (LeCun et al. 1998). The official split has 60,000
    images to train and 10,000 to test, of the same classes.

    Args:
        root: Folder of the datasets.
        size: Side to resize the images to, 1 to 4,096 pixels.

    Reference: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998.
    """
    read = read_mnist(root, "mnist", MNIST, [str(digit) for digit in range(10)], size)
    return replace(read, turns_into_classes=True, nouns=("digits", "groups"))
