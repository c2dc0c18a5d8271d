"""The backbone `lenet-prelu`."""

from __future__ import annotations

from torch import Tensor, nn

from metricforge.errors import UsageError

SMALLEST = 16


class LeNetPReLU(nn.Module):
    """The network of the siamese MNIST example: two 5x5 convolutions and two layers of 256.

    Images [B, C, H, W] of at least 16 x 16 pixels to features [B, 256].

    Args:
        in_channels: C, the channels of an image.
        image_size: H and W, in pixels, 16 or more each.
        pool_first: Whether each convolution is pooled before its activation, which then computes a
            quarter: the same function while no slope is below 0 (they begin at 0.25), and the same
            weights.
    """

    out_features = 256

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], *, pool_first: bool = False
    ) -> None:
        super().__init__()
        if min(image_size) < SMALLEST:
            raise UsageError(
                f"lenet-prelu needs images of {SMALLEST} x {SMALLEST} pixels or more, and these "
                f"are {image_size[0]} x {image_size[1]}; take a larger size=... or conv4."
            )
        height, width = ((side - 4) // 2 for side in image_size)
        height, width = ((side - 4) // 2 for side in (height, width))
        self.pool_first = pool_first
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 32, 5),
            nn.PReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5),
            nn.PReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * height * width, 256),
            nn.PReLU(),
            nn.Linear(256, 256),
            nn.PReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        if not self.pool_first:
            features: Tensor = self.layers(images)
            return features
        first, bent, pool, second, bent_too, pool_too, *dense = self.layers
        images = bent(pool(first(images)))
        images = bent_too(pool_too(second(images)))
        for layer in dense:
            images = layer(images)
        return images
