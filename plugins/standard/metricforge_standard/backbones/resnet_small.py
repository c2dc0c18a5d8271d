"""The backbone `resnet-small`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from metricforge.errors import UsageError

STAGES = 4


class ResNetSmall(nn.Module):
    """A residual network for small images: four stages of 3x3 convolutions, each twice as wide.

    Images [B, C, H, W] to features [B, 8 * width * pool^2] (He 2016, with blocks in the order of
    2016b). The first stage sees all pixels; each further stage halves height and width. The last
    stage's output is averaged to `pool` x `pool`, so that the features still contain where a stroke
    was.

    Args:
        in_channels: C, the channels of an image.
        image_size: H and W, in pixels.
        width: Channels of the first stage, 1 or more; each further stage has twice as many.
        blocks: Residual blocks of a stage, 1 or more.
        pool: Side of the averaged output, in cells, 1 or more.
        stem: Stride of the convolution before the stages, 1 or more, of 2 * stem + 1 pixels a side;
            stem=2 takes images of twice the side for little more time.

    Reference: He et al., Deep Residual Learning for Image Recognition, 2016. He et al., Identity
        Mappings in Deep Residual Networks, 2016 (2016b).
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        *,
        width: int = 24,
        blocks: int = 1,
        pool: int = 2,
        stem: int = 1,
    ) -> None:
        super().__init__()
        if min(width, blocks, pool, stem) < 1:
            raise UsageError("resnet-small needs width, blocks, pool and stem >= 1.")
        widths = [width * 2**stage for stage in range(STAGES)]
        self.stem = nn.Conv2d(in_channels, width, 2 * stem + 1, stem, padding=stem, bias=False)
        layers: list[nn.Module] = []
        inputs = width
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                layers.append(_Block(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.stages = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(inputs)
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.out_features = inputs * pool**2

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.pool(F.relu(self.norm(self.stages(self.stem(images)))))
        return features.flatten(1)


class _Block(nn.Module):
    """Two convolutions, each after batch norm and ReLU, added to the input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm, self.norm_too = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.convolution_too = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.short: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.short = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        bent = F.relu(self.norm(images))
        shortcut = images
        if self.short is not None:
            # Averaged, not strided: a thin stroke may lie on the pixels that a stride skips.
            shortcut = bent if self.stride == 1 else F.avg_pool2d(bent, self.stride, ceil_mode=True)
            shortcut = self.short(shortcut)
        residual: Tensor = self.convolution_too(F.relu(self.norm_too(self.convolution(bent))))
        return shortcut + residual
