"""Images turned by right angles and mirrored, each way a further class to train on."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.data.images import Images
from metricforge.errors import UsageError

CHOICES = (1, 4, 8)


class Oriented:
    """Square images in several orientations: index `image * views + view`.

    With 4 views an image is turned by 0, 90, 180 and 270 degrees; with 8 also mirrored. A
    turned character is another character, so each view of a class can be a class of its own:
    few classes become many (Santoro 2016). UsageError for other views or images not square.
    """

    def __init__(self, images: Images, views: int) -> None:
        if views not in CHOICES:
            raise UsageError(f"orientations are 1, 4 or 8, not {views}.")
        if views > 1 and len(images.shape) == 1:
            raise UsageError("orientations are of images, and the dataset has vectors.")
        if views > 1 and images.shape[1] != images.shape[2]:
            _, height, width = images.shape
            raise UsageError(f"orientations need square images, not {height} x {width}.")
        self._images, self.views = images, views

    @property
    def in_memory(self) -> bool:
        return self._images.in_memory

    @property
    def shape(self) -> tuple[int, ...]:
        return self._images.shape

    def __len__(self) -> int:
        return len(self._images) * self.views

    def take(self, indices: Tensor) -> Tensor:
        """The oriented images [B, C, H, W] at these indices [B], uint8."""
        batch = self._images.take(indices // self.views)
        view = (indices % self.views).to(batch.device)
        for turned in range(1, self.views):
            rows = (view == turned).nonzero().squeeze(1)
            batch[rows] = _turned(batch[rows], turned)
        return batch

    def to(self, device: torch.device | str) -> Oriented:
        """The same images on a device."""
        return Oriented(self._images.to(device), self.views)


def _turned(images: Tensor, view: int) -> Tensor:
    images = torch.rot90(images, view % 4, (2, 3))
    return images.flip(3) if view >= 4 else images


def oriented_labels(labels: Tensor, views: int) -> Tensor:
    """Labels [N] to [N * views], in the order of :class:`Oriented`: label * views + view."""
    return (labels[:, None] * views + torch.arange(views)).flatten()
