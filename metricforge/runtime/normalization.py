"""Batch norm of a batch divided among ranks, or with fixed statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metricforge.runtime.ranks import Added


class SharedBatchNorm(_BatchNorm):
    """Batch norm by the mean and variance of the images of all ranks (Peng 2018), any device.

    The same as torch.nn.SyncBatchNorm on CUDA, which does not take the CPU.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        self._check_input_dim(input)
        mean, variance, count = _statistics(input, self.running_mean)
        if self.track_running_stats:
            self._follow(mean, variance, count)
        shape = (1, -1, *[1] * (input.ndim - 2))
        scale = (variance + self.eps).rsqrt()
        offset = -mean * scale
        if self.affine:
            scale, offset = scale * self.weight, offset * self.weight + self.bias
        normalised: Tensor = input * scale.view(shape) + offset.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running statistics, as torch's own batch norm does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_var.lerp_(unbiased.to(self.running_var), momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm takes [B, C, ...], not {list(input.shape)}")


def _statistics(input: Tensor, near: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], variance [C] and number of the values of all ranks; with gradient.

    `near` [C] is close to the mean and the same on all ranks. From the distances to it both are
    computed in one exchange, without the cancellation of large squares.
    """
    values = input if input.dtype == torch.float64 else input.float()
    dims, shape = [0, *range(2, input.ndim)], (1, -1, *[1] * (input.ndim - 2))
    start = values.new_zeros(values.shape[1]) if near is None else near.to(values)
    apart = values - start.view(shape)
    count = values.new_tensor([values.numel() // max(values.shape[1], 1)])
    added: Tensor = Added.apply(torch.cat([apart.sum(dims), apart.square().sum(dims), count]))
    total, squares, count = added.split([len(start), len(start), 1])
    mean = total / count
    return start + mean, (squares / count - mean.square()).clamp(min=0), count


def share_statistics(network: nn.Module) -> nn.Module:
    """The network with its batch norms sharing statistics between ranks, weights and names kept."""
    if isinstance(network, _BatchNorm):
        on_cuda = any(value.is_cuda for value in network.state_dict().values())
        return nn.SyncBatchNorm.convert_sync_batchnorm(network) if on_cuda else _shared(network)
    for name, child in network.named_children():
        setattr(network, name, share_statistics(child))
    return network


def _shared(norm: _BatchNorm) -> SharedBatchNorm:
    shared = SharedBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    shared.__dict__.update(
        {name: vars(norm)[name] for name in ("_parameters", "_buffers", "training")}
    )
    return shared


def norms(network: nn.Module) -> list[_BatchNorm]:
    """Its layers of batch norm."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Batch norm does not update its running statistics inside: for a pass that is repeated."""
    tracking = [norm for norm in norms(network) if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True
