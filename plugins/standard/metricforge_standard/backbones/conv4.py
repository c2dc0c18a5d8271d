"""The backbone `conv4`."""

from __future__ import annotations

from torch import Tensor, nn


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm, ReLU and pooling: the few-shot standard.

    Images [B, C, H, W] to features [B, channels * h * w] (Vinyals 2016, Snell 2017). A block whose
    input is one pixel high or wide does not pool, so that it takes small images too.

    Args:
        in_channels: C, the channels of an image.
        image_size: H and W, in pixels.
        channels: Channels of each block's output.

    Reference: Vinyals et al., Matching Networks for One Shot Learning, 2016. Snell et al.,
        Prototypical Networks for Few-shot Learning, 2017.
    """

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], *, channels: int = 64
    ) -> None:
        super().__init__()
        height, width = image_size
        blocks: list[nn.Module] = []
        for _ in range(4):
            pool = min(height, width) >= 2
            blocks.append(_block(in_channels, channels, pool))
            in_channels = channels
            height, width = (height // 2, width // 2) if pool else (height, width)
        self.blocks = nn.Sequential(*blocks, nn.Flatten())
        self.out_features = channels * height * width

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(images)
        return features


def _block(inputs: int, outputs: int, pool: bool) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2) if pool else nn.Identity(),
    )
