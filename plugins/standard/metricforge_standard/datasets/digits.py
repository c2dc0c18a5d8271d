"""scikit-learn's digits, which come with it: a dataset that is always there."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from metricforge.contracts import Dataset
from metricforge_standard.datasets._pixels import check_size, resized


def digits(*, size: int = 16) -> Dataset:
    """scikit-learn's 1,797 handwritten digits in 10 classes; nothing to download.

    Light strokes on black, [1, size, size]: the original 8 x 8 images (Alpaydin and Kaynak 1998)
    have values 0..16, here 0..255, and are resized. There is no official split.

    Args:
        size: Side of the images, 1 to 4,096 pixels.

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998.
    """
    check_size(size, "digits")
    source = load_digits()
    return Dataset(
        name="digits",
        images=resized(torch.from_numpy(source.images) * (255 / 16), size),
        labels=torch.from_numpy(source.target).long(),
        classes=tuple(str(digit) for digit in range(10)),
        shape=(1, size, size),
        turns_into_classes=True,
        nouns=("digits", "groups"),
    )
