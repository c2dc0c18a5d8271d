"""The moving average of the weights, which varies less than the newest (Polyak 1992)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model that follows it: each update moves it by 1 - decay towards the model.

    The first updates move it by more, 9 / (10 + n); otherwise the initial weights would make up
    most of it in a short run.
    """

    def follow(mine: Sequence[Tensor], current: Sequence[Tensor], updates: Any) -> None:
        done = int(updates)
        moved = 1 - min(decay, (1 + done) / (10 + done))
        # Torch passes tensors of one dtype at a time; counters are not floats.
        if mine[0].is_floating_point():
            torch._foreach_lerp_(list(mine), list(current), moved)
        else:
            torch._foreach_copy_(list(mine), list(current))

    average = AveragedModel(model, multi_avg_fn=torch.no_grad()(follow), use_buffers=True)
    return average.requires_grad_(False)
