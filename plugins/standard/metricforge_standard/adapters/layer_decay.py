"""The adapter `layer-decay`."""

from __future__ import annotations

from torch import nn

from metricforge.errors import UsageError
from metricforge_standard.adapters._blocks import blocks_of


class LayerDecay:
    """Trains each block of the backbone more slowly than the one after it.

    Args:
        factor: The learning rate of a block, as a fraction of that of the block after it, above 0
            and up to 1. The last block has the rate of the backbone.

    Reference: Clark et al., ELECTRA: Pre-training Text Encoders as Discriminators Rather Than
    Generators, 2020.
    """

    def __init__(self, *, factor: float = 0.75) -> None:
        if not 0 < factor <= 1:
            raise UsageError(f"adapter 'layer-decay' needs a factor above 0, to 1, not {factor:g}.")
        self._factor = factor

    def adapt(self, backbone: nn.Module) -> None:
        """Change nothing: all weights learn."""

    def rates(self, backbone: nn.Module) -> dict[str, float]:
        """The factor on the learning rate of each parameter, by its block."""
        blocks = blocks_of(backbone)
        return {
            name: self._factor ** (len(blocks) - 1 - index)
            for index, names in enumerate(blocks)
            for name in names
        }
