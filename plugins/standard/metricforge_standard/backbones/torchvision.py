"""torchvision's classification networks as backbones, by their own names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from torch import Tensor, nn

from metricforge.contracts import Preprocessing
from metricforge.errors import ResourceError
from metricforge.fetching import refuse_fetching

Factory = Callable[..., nn.Module]

# ImageNet's statistics, with which torchvision's weights were trained.
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# Two return auxiliary outputs in training, which no loss here could use; two end in a convolution
# and have no last linear layer to remove.
UNUSABLE = frozenset({"googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1"})


class Trunk(nn.Module):
    """A torchvision network without its last layer: images [B, C, H, W] to features [B, F].

    A grey image is repeated on all three channels. `rebuild` is the spec that makes the same
    network without fetching weights, for a saved model, which has its own.
    """

    def __init__(self, network: nn.Module, pretrained: bool, rebuild: str) -> None:
        super().__init__()
        name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
        parent, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(parent), attribute, nn.Identity())
        self.network = network
        self.out_features = last.in_features
        self.pretrained = pretrained
        self.preprocessing = IMAGENET if pretrained else Preprocessing()
        self.pretrained_preprocessing = replace(IMAGENET, size=(224, 224))
        self.rebuild = rebuild

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return features


def resnet18(*, weights: bool = False) -> nn.Module:
    """torchvision's ResNet-18 (He 2016).

    Args:
        weights: Whether to start from its ImageNet weights, which are downloaded.

    Reference: He et al., Deep Residual Learning for Image Recognition, 2016.
    """
    return _trunk("resnet18", weights)


def resnet50(*, weights: bool = False) -> nn.Module:
    """torchvision's ResNet-50 (He 2016).

    Args:
        weights: Whether to start from its ImageNet weights, which are downloaded.

    Reference: He et al., Deep Residual Learning for Image Recognition, 2016.
    """
    return _trunk("resnet50", weights)


class _ByName(Mapping[str, Factory]):
    def __getitem__(self, name: str) -> Factory:
        if name not in self._names():
            raise KeyError(name)

        def backbone(*, weights: bool = False) -> nn.Module:
            return _trunk(name, weights)

        weights = "weights: Whether to start from its ImageNet weights, which are downloaded."
        backbone.__doc__ = f"torchvision's {name}.\n\nArgs:\n    {weights}"
        return backbone

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        from torchvision import models

        return [n for n in models.list_models(models) if n not in UNUSABLE]


BACKBONES = _ByName()
"""Any of torchvision's classification networks, as torchvision.NAME."""


def _trunk(name: str, weights: bool) -> nn.Module:
    from torchvision import models

    if weights:
        refuse_fetching(f"the weights of {name}", "use weights=false")
    try:
        network = models.get_model(name, weights="DEFAULT" if weights else None)
    except OSError as error:
        raise ResourceError(
            f"the weights of {name} can't be fetched ({error}); without a network, put the file "
            "into torch's hub cache or use weights=false."
        ) from error
    return Trunk(network, weights, f"torchvision.{name}:weights=false")
