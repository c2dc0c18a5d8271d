"""torchvision's transforms, each image with a draw of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import Draws
from metricforge.errors import UsageError
from metricforge_standard._generators import lent

NAMES = (
    "AugMix", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianBlur", "GaussianNoise",
    "RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast",
    "RandomChannelPermutation", "RandomCrop", "RandomEqualize", "RandomErasing",
    "RandomGrayscale", "RandomHorizontalFlip", "RandomInvert", "RandomPerspective",
    "RandomPhotometricDistort", "RandomPosterize", "RandomResizedCrop", "RandomRotation",
    "RandomSolarize", "RandomVerticalFlip", "TrivialAugmentWide",
)  # fmt: skip
"""The transforms of torchvision.transforms.v2 that make one image into another."""

EXCLUDED = {"self", "policy", "interpolation", "fill", "inplace", "center", "value"}
"""Parameters that a spec can't write, or need not."""

Value = int | float | tuple[int, ...] | tuple[float, ...] | str | None

_OFFERS = [
    inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    for name in ("in_channels", "image_size")
]


class EachImage:
    """A transform of one uint8 image [C, H, W], called for each with a seed of its own.

    On a whole batch torchvision draws once for all. Its transforms draw from torch's global
    generator, whose state is restored.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self._transform = transform

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Images [B, C, H, W] to images of the same shape."""
        whole = images.round().clamp(0, 255).to(torch.uint8)
        changed = []
        with lent(images.device) as seed:
            for image, number in zip(whole, draws.seeds(), strict=True):
                seed(number)
                changed.append(self._transform(image))
        return torch.stack(changed).float() if changed else images


class _Family(Mapping[str, Callable[..., EachImage]]):
    def __getitem__(self, name: str) -> Callable[..., EachImage]:
        if name not in NAMES:
            raise KeyError(name)
        return _factory(name)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


def _factory(name: str) -> Callable[..., EachImage]:
    # Imported here, because it takes a second.
    from torchvision.transforms import v2

    transform: Any = getattr(v2, name)
    parameters = inspect.signature(transform).parameters.values()
    options = [_option(p) for p in parameters if p.name not in EXCLUDED]

    def build(in_channels: int, image_size: tuple[int, int], **arguments: Value) -> EachImage:
        # torchvision takes lists in place of a spec's tuples.
        keywords = {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
        try:
            made = transform(**keywords)
            # Some options are wrong for images of this size only.
            _try_out(made, (in_channels, *image_size))
        except (ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UsageError(f"augmentation 'torchvision.{name}': {reason}.") from error
        return EachImage(made)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"torchvision's {name}, each image with a draw of its own."
    build.__wrapped__ = transform  # type: ignore[attr-defined]
    build.__signature__ = inspect.Signature([*_OFFERS, *options])  # type: ignore[attr-defined]
    return build


def _try_out(transform: Callable[[Tensor], Tensor], shape: tuple[int, int, int]) -> None:
    with lent(torch.device("cpu")) as seed:
        seed(0)
        result = transform(torch.zeros(shape, dtype=torch.uint8))
    if tuple(result.shape) != shape:
        raise ValueError(
            f"it makes images of {list(shape)} into others of {list(result.shape)}; give it a size "
            "that keeps them"
        )


def _option(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter as an option; a list of numbers is written with '+', as in 0.8+1.2."""
    kind: Any = bool if isinstance(parameter.default, bool) else Value
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind)


AUGMENTATIONS = _Family()
"""The transforms of NAMES, as torchvision.NAME."""
