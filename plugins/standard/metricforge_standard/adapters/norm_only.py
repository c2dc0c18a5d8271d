"""The adapter `norm-only`."""

from __future__ import annotations

from torch import nn

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


class NormOnly:
    """Trains the scales and shifts of the backbone's normalisation layers, and nothing else of it.

    Reference: Frankle et al., Training BatchNorm and Only BatchNorm, 2021.
    """

    def adapt(self, backbone: nn.Module) -> None:
        """Freeze all other weights."""
        norms = [module for module in backbone.modules() if isinstance(module, NORMS)]
        learning = {parameter for norm in norms for parameter in norm.parameters()}
        for parameter in backbone.parameters():
            if parameter not in learning:
                parameter.requires_grad_(False)
