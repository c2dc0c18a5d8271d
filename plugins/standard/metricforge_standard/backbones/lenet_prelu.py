"""The backbone `lenet-prelu`."""

from __future__ import annotations

from torch import Tensor, nn

from metricforge.errors import UsageError

SMALLEST = 16


class LeNetPReLU(nn.Module):
    """The network of the siamese MNIST example: two 5x5 convolutions and two layers of 256.

    Images [B, C, H, W] of at least 16 x 16 pixels to features [B, 256].
    """

    out_features = 256

    def __init__(self, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        if min(image_size) < SMALLEST:
            raise UsageError(
                f"lenet-prelu needs images of {SMALLEST} x {SMALLEST} pixels or more, and these "
                f"are {image_size[0]} x {image_size[1]}; take a larger size=... or conv4."
            )
        height, width = ((side - 4) // 2 for side in image_size)
        height, width = ((side - 4) // 2 for side in (height, width))
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
        features: Tensor = self.layers(images)
        return features
