"""A backbone and a head: images in, embeddings out; saved without pickles, loaded by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metricforge.artefact import parsed, read_folder, write_folder
from metricforge.contracts import AS_IT_LIES, Reading
from metricforge.data.decode import as_tensor, read_image
from metricforge.errors import ArtefactError, DataError, PluginError, UsageError
from metricforge.registry import Registry
from metricforge.runtime import Runtime
from metricforge.spec import Spec

FORMAT = 3
"""Raised when an older metricforge could not read what this one saves."""

Encodable = Tensor | NDArray[Any] | Sequence[Path | str | Image.Image]


@dataclass(frozen=True)
class Card:
    """What a model is, for whoever loads it.

    `shape` is (C, H, W) of the images it takes, `reading` what is done with files beside that,
    `input_size` the height and width that the backbone is given (default: the same); `trained_on`
    names the dataset, and `seen_classes` its classes used in training or selection, on which no
    held-out number may be measured.
    """

    backbone: str
    head: str
    dim: int
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    reading: Reading = AS_IT_LIES
    trained_on: str = ""
    seen_classes: tuple[str, ...] = ()
    split: str = ""
    format: int = FORMAT


class EmbeddingModel(nn.Module):
    """Images to embeddings: normalisation, backbone, head, and unit length where the head wants it.

    uint8 images [B, C, H, W] to float32 embeddings [B, D].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, card: Card) -> None:
        super().__init__()
        self.backbone, self.head, self.card = backbone, head, card
        self.unit_length = bool(getattr(head, "unit_length", True))
        channels = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(card.mean).view(channels), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.head(self.features(images))
        if embedding.dtype != torch.float64:
            embedding = embedding.float()
        return F.normalize(embedding) if self.unit_length else embedding

    def features(self, images: Tensor) -> Tensor:
        """uint8 images [B, C, H, W] to what the backbone makes of them, [B, F]."""
        normalised = (self._resized(images.float()) / 255 - self.mean) / self.std
        features: Tensor = self.backbone(normalised)
        return features

    def _resized(self, images: Tensor) -> Tensor:
        wanted, mode = self.card.input_size, self.card.interpolation
        if wanted is None or images.shape[2:] == wanted:
            return images
        resized = F.interpolate(images, wanted, mode=mode, antialias=True, align_corners=False)
        return resized.clamp(0, 255)  # bicubic overshoots

    def embed(self, batches: Iterable[Tensor], runtime: Runtime | None = None) -> Tensor:
        """Batches of uint8 images of the model's shape to embeddings [N, D] on the CPU."""
        runtime = runtime or Runtime(next(self.parameters()).device)
        training = self.training
        self.eval()
        try:
            with torch.inference_mode(), runtime.autocast():
                found = [self(runtime.prepare(images)).cpu() for images in batches]
        finally:
            self.train(training)
        return torch.cat(found) if found else torch.zeros(0, self.card.dim)

    def encode(self, images: Encodable, batch_size: int = 256) -> NDArray[np.float32]:
        """Images to embeddings, float32 [N, D].

        `images` are uint8 [N, C, H, W], [N, H, W] (grey) or [N, H, W, 3] as a tensor or an
        array, or a sequence of files or PIL images. Other sizes are resized, grey and colour
        are converted to what the model was trained on. Files and PIL images are read as those of
        its dataset were, inverted for one; an array is as that dataset's images are. DataError for
        anything else.
        """
        if isinstance(images, str | bytes | Path | Image.Image):
            raise DataError("encode takes a list of images; put the one into a list.")
        rows = range(0, len(images), batch_size)
        batches = (as_batch(images[row : row + batch_size], self.card) for row in rows)
        embeddings: NDArray[np.float32] = self.embed(batches).numpy()
        return embeddings

    def save(self, folder: str | Path) -> None:
        """Write the model as safetensors, JSON and a readable card into `folder`."""
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        files = {
            "weights.safetensors": save_tensors(weights),
            "model.json": json.dumps(asdict(self.card) | {"format": FORMAT}, indent=1).encode(),
            "README.md": _readme(self.card).encode(),
        }
        write_folder(Path(folder), files)


def without_head(model: EmbeddingModel) -> EmbeddingModel:
    """The same backbone, whose features, scaled to unit length, are the embedding."""
    return EmbeddingModel(model.backbone, nn.Identity(), model.card)


def build(
    registry: Registry, card: Card, backbone: nn.Module | None, head: nn.Module | None
) -> EmbeddingModel:
    """The untrained model that a card describes; finished modules may stand in for its specs.

    Raises PluginError when a backbone does not say its `out_features`.
    """
    if backbone is None:
        offers: dict[str, Any] = {"in_channels": card.shape[0], "image_size": card.shape[1:]}
        backbone = registry.build("backbone", Spec.parse(card.backbone), offers)
    features = getattr(backbone, "out_features", None)
    if not isinstance(backbone, nn.Module) or not isinstance(features, int):
        raise PluginError(f"backbone '{card.backbone}' must be an nn.Module with int out_features.")
    if head is None:
        offers = {"in_features": features, "dim": card.dim}
        head = registry.build("head", Spec.parse(card.head), offers)
    if not isinstance(head, nn.Module):
        raise PluginError(f"head '{card.head}' must be an nn.Module.")
    return EmbeddingModel(backbone, head, card)


def load(
    folder: str | Path,
    *,
    backbone: nn.Module | None = None,
    head: nn.Module | None = None,
    device: str = "auto",
    registry: Registry | None = None,
) -> EmbeddingModel:
    """The model in `folder`: a run's folder, or its `model/`.

    Pass `backbone` or `head` when the model was trained with a module of your own. Raises
    ArtefactError when the folder is damaged, foreign, or its weights don't fit.
    """
    folder = model_folder(folder)
    files = read_folder(folder)
    card = _read_card(folder, files)
    for name, given in (("backbone", backbone), ("head", head)):
        if given is None and getattr(card, name).startswith("object "):
            raise UsageError(
                f"{folder} was trained with a {name} of your own ({getattr(card, name)[7:]}): "
                f"pass it, load(..., {name}=...)."
            )
    model = build(registry or Registry.installed(), card, backbone, head)
    load_weights(model, files.get("weights.safetensors", b""), folder)
    runtime = Runtime.resolve(device)
    runtime.place(model)
    return model.eval()


def model_folder(folder: str | Path) -> Path:
    """Where a model lies: `model/` of a run's folder, or the folder itself."""
    inside = Path(folder) / "model"
    return inside if inside.is_dir() else Path(folder)


def load_weights(module: nn.Module, content: bytes, source: Path) -> None:
    """Put safetensors bytes into a module; ArtefactError names the keys or shapes that differ."""
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise ArtefactError(f"the weights in {source} are no safetensors: {error}.") from error
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise ArtefactError(f"the weights in {source} are of another network: {detail}") from error


def as_batch(images: Encodable, card: Card) -> Tensor:
    """Images as :meth:`EmbeddingModel.encode` takes them, to uint8 [N, C, H, W] of its shape."""
    if isinstance(images, Tensor | np.ndarray):
        return fit(_as_tensor(images), card.shape)
    return torch.stack([_read_one(image, card) for image in images])


def fit(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """uint8 images [N, C, H, W] with the channels and size of `shape`; bilinear, antialiased."""
    channels, height, width = shape
    if images.shape[1] != channels:
        luma = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
        grey = images if channels == 3 else (images * luma).sum(1, keepdim=True).round()
        images = grey.to(torch.uint8).expand(-1, channels, -1, -1)
    if images.shape[2:] != (height, width):
        resized = F.interpolate(
            images.float(), (height, width), mode="bilinear", antialias=True, align_corners=False
        )
        images = resized.round().clamp(0, 255).to(torch.uint8)
    return images


def _as_tensor(images: Tensor | NDArray[Any]) -> Tensor:
    if images.dtype not in (torch.uint8, np.uint8):
        raise DataError(f"images are uint8 (0 to 255), not {images.dtype}.")
    # A copy: an array may be read-only or run backwards, which torch can't share.
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(images.copy())
    if tensor.ndim == 3:
        tensor = tensor[:, None]
    if tensor.ndim == 4 and tensor.shape[1] not in (1, 3) and tensor.shape[3] in (1, 3):
        tensor = tensor.permute(0, 3, 1, 2)
    if tensor.ndim != 4 or tensor.shape[1] not in (1, 3):
        raise DataError(f"images are [N, C, H, W] with C 1 or 3, not {list(tensor.shape)}.")
    return tensor


def _read_one(image: Path | str | Image.Image, card: Card) -> Tensor:
    if isinstance(image, Image.Image):
        return as_tensor(ImageOps.exif_transpose(image), card.shape, reading=card.reading)
    if isinstance(image, str | Path):
        return read_image(Path(image), card.shape, reading=card.reading)
    raise DataError(
        f"encode takes a list of files or PIL images, or one array of all images; "
        f"the list holds {type(image).__name__}."
    )


def _read_card(folder: Path, files: dict[str, bytes]) -> Card:
    try:
        fields = parsed(files["model.json"])
        if fields.get("format", 0) > FORMAT:
            raise ArtefactError(
                f"{folder} has model format {fields['format']} and this metricforge reads up to "
                f"{FORMAT}: upgrade metricforge."
            )
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return Card(**fields | {"reading": Reading(**fields.get("reading", {}))})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{folder} is not a saved model: model.json can't be read.") from error


def _read_how(reading: Reading) -> Iterator[str]:
    """What is done with files and not with arrays."""
    if reading.inverted:
        yield "- files: dark on light, as they are inverted; arrays are light on dark already"
    if reading.margin is not None:
        share = f"{reading.margin:g} of a side"
        yield f"- files: drawings, which are made to fill the image but for {share} at every edge"


def _readme(card: Card) -> str:
    channels, height, width = card.shape
    seen = card.input_size or (height, width)
    return "\n".join([
        "# An image embedding by MetricForge",
        "",
        f"- network: backbone `{card.backbone}`, head `{card.head}`",
        f"- input: {height} x {width} pixels, {channels} channel(s), uint8; the network sees "
        f"{seen[0]} x {seen[1]}",
        *_read_how(card.reading),
        f"- output: {card.dim} dimensions, float32",
        f"- trained on: {card.trained_on}, split {card.split[:16]}",
        f"- classes it has seen ({len(card.seen_classes)}): held-out numbers are measured on "
        "others",
        "",
        "```python",
        "import metricforge",
        'embeddings = metricforge.load("this folder").encode(images)  # float32 [N, D]',
        "```",
        "",
    ])  # fmt: skip
