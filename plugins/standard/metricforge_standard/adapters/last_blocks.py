"""The adapter `last-blocks`."""

from __future__ import annotations

from torch import nn

from metricforge.errors import UsageError
from metricforge_standard.adapters._blocks import blocks_of


class LastBlocks:
    """Trains the last blocks of the backbone; a step takes no gradient of those before.

    Args:
        n: How many blocks learn, from the output, 1 or more. A block is a transformer's block, or a
            residual one; the last has the layers after it.
    """

    def __init__(self, *, n: int = 2) -> None:
        if n < 1:
            raise UsageError(f"adapter 'last-blocks' needs n of 1 or more, not {n}.")
        self._n = n

    def adapt(self, backbone: nn.Module) -> None:
        """Freeze all blocks before the last."""
        blocks = blocks_of(backbone)
        if self._n >= len(blocks):
            raise UsageError(
                f"adapter 'last-blocks:n={self._n}' freezes nothing: this backbone has "
                f"{len(blocks)} blocks; take fewer, or leave it out."
            )
        frozen = {name for names in blocks[: -self._n] for name in names}
        for name, parameter in backbone.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
