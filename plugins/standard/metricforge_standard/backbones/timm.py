"""timm's image networks as backbones of MetricForge (Wightman 2019, https://timm.fast.ai)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metricforge.contracts import Preprocessing
from metricforge.errors import ResourceError, UsageError, unknown
from metricforge.extras import imported
from metricforge.fetching import refuse_fetching


class Timm(nn.Module):
    """Any of timm's image networks without its last layer, by its name there.

    Images [B, C, H, W] to features [B, F]. With `pretrained` the core normalises images as they
    were in the training of the weights. Requires the package: metricforge[photos].

    Args:
        in_channels: C, the channels of an image.
        model: timm's name of the network; a tag after a dot selects one of several weights.
        pretrained: Whether to start from timm's weights, which are downloaded.
        size: Side to which the core resizes images, 1 or more pixels; none: that of the network.
        drop_path: Rate of stochastic depth, 0 to below 1 (Huang 2016).

    Raises:
        UsageError: timm does not have the name, the tag or the options.
        ResourceError: The weights can't be downloaded.

    Reference: Huang et al., Deep Networks with Stochastic Depth, 2016.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        model: str,
        pretrained: bool = False,
        size: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check(model, pretrained, size, drop_path)
        options: dict[str, Any] = {"in_chans": in_channels, "num_classes": 0}
        if drop_path:
            options["drop_path_rate"] = drop_path
        if size is not None and _has_fixed_size(model):
            options["img_size"] = size
        self.network = _network(model, pretrained, options)
        self.pretrained = pretrained
        self.preprocessing = _preprocessing(self.network, pretrained, size)
        self.pretrained_preprocessing = _preprocessing(self.network, True, size)
        self.out_features = _features(self.network, model, in_channels, self.preprocessing)
        # A saved model has its own weights. The names and numbers need no quotes.
        self.rebuild = f"timm:model={model},pretrained=false,size={_written(size)}"

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features


def _check(model: str, pretrained: bool, size: int | None, drop_path: float) -> None:
    timm = imported("timm", "the backbone timm")
    names = timm.list_pretrained() if "." in model else timm.list_models()
    if model not in names:
        raise unknown("timm model", model, names)
    if pretrained:
        refuse_fetching(f"the weights of {model}", "use pretrained=false")
    if pretrained and not timm.is_model_pretrained(model):
        raise UsageError(f"timm has no weights for {model}; use pretrained=false.")
    if size is not None and size < 1:
        raise UsageError(f"backbone 'timm' needs size >= 1, not {size}.")
    if not 0 <= drop_path < 1:
        raise UsageError(f"backbone 'timm' needs drop_path from 0 to below 1, not {drop_path}.")


def _has_fixed_size(model: str) -> bool:
    """Whether the network is built for one size, like transformers, or takes images of any."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model)
    return bool(config and config.fixed_input_size)


def _network(model: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    import timm

    try:
        network: nn.Module = timm.create_model(model, pretrained=pretrained, **options)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise ResourceError(
            f"the weights of {model} can't be fetched ({reason}); set "
            "pretrained=false, or fetch them where there is a network and copy the Hugging Face "
            "cache (HF_HOME) here."
        ) from error
    # Errors of timm's networks for an unsupported size or option.
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        requested = ", ".join(f"{key}={value}" for key, value in options.items())
        reason = " ".join(str(error).split())
        raise UsageError(f"timm can't build {model} with {requested}: {reason}.") from error
    return network


def _preprocessing(network: nn.Module, pretrained: bool, size: int | None) -> Preprocessing:
    """What the network requires: its own statistics only if its weights were trained with them."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(network)
    _, height, width = config["input_size"]
    return Preprocessing(
        size=(height, width) if size is None else (size, size),
        mean=tuple(config["mean"]) if pretrained else None,
        std=tuple(config["std"]) if pretrained else None,
        interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
    )


def _features(network: nn.Module, model: str, channels: int, preprocessing: Preprocessing) -> int:
    """The number of features of the network, measured: families name it differently."""
    assert preprocessing.size is not None, "a timm network always has a size"
    height, width = preprocessing.size
    network.eval()
    try:  # not in inference mode: some networks keep what they compute once
        with torch.no_grad():
            features: Tensor = network(torch.zeros(1, channels, height, width))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"timm's {model} can't take images of {height} x {width} ({reason}); choose another "
            "size, or none."
        ) from error
    network.train()
    if features.ndim != 2:
        raise UsageError(f"timm's {model} gives {list(features.shape)}, no features [B, F].")
    return features.shape[1]


def _written(size: int | None) -> str:
    return "none" if size is None else str(size)
