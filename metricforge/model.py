"""A backbone and a head: images or vectors in, embeddings out; saved without pickles."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metricforge.atomic_files import write_folder
from metricforge.contracts import Adapter, ScalingItself
from metricforge.data.model_inputs import Encodable, batches
from metricforge.errors import DivergedError, UsageError
from metricforge.model_card import FORMAT, Card, readme
from metricforge.pairwise.unit_length import unit_rows
from metricforge.runtime import Runtime
from metricforge.runtime.allocator import keep_large_blocks
from metricforge.runtime.evaluation_mode import evaluating
from metricforge.runtime.forks import without_lost_threads
from metricforge.weights.adapting import merge
from metricforge.weights.cut import Cut
from metricforge.weights.reading import WEIGHTS

MOST_PIXELS, MOST_IMAGES = 512 * 64 * 64, 512
"""Pixels and images that a network embeds at a time: the outputs of its layers take many times the
memory of its input, 15 GB for 512 images of 224 x 224 pixels."""


class EmbeddingModel(nn.Module):
    """Images to embeddings: normalisation, backbone, head, and unit length if the head requires it.

    uint8 images [B, C, H, W], or vectors float32 [B, V], to float32 embeddings [B, D].

    Args:
        backbone: `nn.Module` from normalised images [B, C, H, W], or vectors [B, V], to features
            [B, F].
        head: `nn.Module` from features to embeddings [B, D].
        card: Description of the model.
        adapters: The adapters that the backbone has got.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        card: Card,
        adapters: Sequence[Adapter] = (),
    ) -> None:
        super().__init__()
        self.adapters = tuple(adapters)
        self.backbone, self.head, self.card = backbone, head, card
        self.unit_length = bool(head.unit_length) if isinstance(head, ScalingItself) else True
        self.train_size: tuple[int, int] | None = None
        """Height and width of the backbone's input in training. Default: as in evaluation."""
        self.cut: Cut | None = None
        """Where the backbone is cut, if it is: what passes is then taken in place of images."""
        mean, std = card.mean or (0.0,), card.std or (1.0,)
        channels = (1, 1) if card.of_vectors else (1, len(mean), 1, 1)
        self.register_buffer("mean", torch.tensor(mean).view(channels), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images, or what the backbone has made of them.

        Args:
            images: uint8 [B, C, H, W], or features [B, F] of the backbone, or what passes its `cut`
                float32 [B, ...]; of a model of vectors float32 [B, V].

        Returns:
            float32 [B, D].
        """
        if self.cut is not None and images.is_floating_point():
            features = self.cut.upper(self.backbone, images)
        elif images.ndim == 2 and not self.card.of_vectors:
            features = images
        else:
            features = self.features(images)
        embedding: Tensor = self.head(features)
        if embedding.dtype != torch.float64:
            embedding = embedding.float()
        return unit_rows(embedding) if self.unit_length else embedding

    def features(self, images: Tensor) -> Tensor:
        """The features of the backbone, before the head.

        Args:
            images: uint8 [B, C, H, W], or vectors float32 [B, V].

        Returns:
            [B, F].
        """
        features: Tensor = self.backbone(self.network_input(images))
        return features

    def network_input(self, images: Tensor) -> Tensor:
        """What the backbone gets: images in its size, with its mean and standard deviation."""
        shown = images if self.card.of_vectors else self._resized(images.float()) / 255
        # The statistics have the type of a model that was made .half() or .double().
        return ((shown - self.mean) / self.std).to(self.mean.dtype)

    @property
    def device(self) -> torch.device:
        """The device of the model, which may have no parameters."""
        return self.mean.device

    @property
    def batch(self) -> int:
        """The images to embed at a time, by the pixels of the network's input."""
        if self.card.of_vectors:
            return MOST_IMAGES
        height, width = self.card.input_size or self.card.shape[1:]
        return min(MOST_IMAGES, max(1, MOST_PIXELS // (height * width)))

    @property
    def width(self) -> int:
        """F, the number of features of the backbone."""
        return int(self.backbone.out_features)  # type: ignore[arg-type]

    def features_of(self, images: Tensor, runtime: Runtime) -> Tensor:
        """The features of a batch, in evaluation mode and without gradient.

        Args:
            images: uint8 [B, C, H, W].
            runtime: Device and precision.

        Returns:
            float32 [B, F] on the CPU.
        """
        with evaluating(self), torch.inference_mode(), runtime.autocast():
            return self.features(runtime.prepare(images)).float().cpu()

    def frozen_output(self, images: Tensor, runtime: Runtime) -> Tensor:
        """What passes the `cut` of the backbone, float32 [B, ...]; uncut, the features [B, F].

        As `features_of` otherwise.
        """
        if self.cut is None:
            return self.features_of(images, runtime)
        with evaluating(self), torch.inference_mode(), runtime.autocast():
            shown = self.network_input(runtime.prepare(images))
            return self.cut.lower(self.backbone, shown).float().cpu()

    def _resized(self, images: Tensor) -> Tensor:
        size, mode = self.card.input_size, self.card.interpolation
        if self.training and self.train_size:
            size = self.train_size
        if size is None or images.shape[2:] == size:
            return images
        resized = F.interpolate(images, size, mode=mode, antialias=True, align_corners=False)
        return resized.clamp(0, 255)  # bicubic overshoots

    def embed(self, batches: Iterable[Tensor], runtime: Runtime | None = None) -> Tensor:
        """Embed batches that have the model's shape, in evaluation mode and without gradient.

        Args:
            batches: uint8 [B, C, H, W] each, or vectors float32 [B, V].
            runtime: Device and precision. Default: the model's device, in float32.

        Returns:
            float32 embeddings [N, D] on the CPU.
        """
        runtime = runtime or Runtime(self.device)
        keep_large_blocks()
        without_lost_threads()
        with evaluating(self), torch.inference_mode(), runtime.autocast():
            rows = [self(runtime.prepare(images)).cpu() for images in batches]
        return torch.cat(rows) if rows else torch.zeros(0, self.card.dim)

    def encode(
        self,
        images: Encodable,
        batch_size: int | None = None,
        *,
        broken: dict[int, str] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> NDArray[np.float32]:
        """Embed images of any size or source.

        Images are resized, and converted to the channels that the model was trained on. Files and
        PIL images are read as those of its dataset were, e.g. inverted. An array must look as that
        dataset's images do.

        Args:
            images: uint8 [N, C, H, W], [N, H, W, C] or [N, H, W] (grey) as a tensor or an array; or
                a list or another iterable of files, PIL images and arrays [H, W, C], [C, H, W] or
                [H, W]. Of a model of vectors: real numbers [N, V], as a tensor, an array or lists.
            batch_size: Images in a batch, 1 or more. Default: up to 512, fewer if they are large.
            broken: Dict that gets the index of each listed image that can't be decoded, with the
                reason; these have no row. Default: the first of them raises.
            progress: Called with the number of images of each batch, when it is embedded.

        Returns:
            Embeddings float32 [N, D].

        Raises:
            DataError: `images` is anything else, e.g. one image that is in no list.
            UsageError: `batch_size` is below 1.
            DivergedError: An embedding is NaN or infinite; the error names the image.
        """
        without_lost_threads()
        rows = []
        card, size = self.card, self.batch if batch_size is None else batch_size
        for names, batch in batches(images, size, card.shape, card.reading, broken):
            embeddings = self.embed([batch]).float().numpy()
            _refuse_not_finite(embeddings, names)
            rows.append(embeddings)
            if progress:
                progress(len(batch))
        return np.concatenate(rows) if rows else np.zeros((0, self.card.dim), np.float32)

    def merged(self) -> EmbeddingModel:
        """A copy without adapters, whose weights have what these added.

        It embeds as this model does, and costs what the backbone alone does.
        """
        model = copy.deepcopy(self)
        merge(model.backbone, model.adapters)
        model.adapters, model.card = (), replace(self.card, adapters=(), base="")
        return model.requires_grad_(True)

    def save(self, folder: str | Path, base: bool = True) -> None:
        """Save the model as safetensors, JSON and a readable card.

        Args:
            folder: Folder to write.
            base: Whether to save the weights of the backbone that adapters keep from learning.
                Without them, `load` takes them from a file.

        Raises:
            UsageError: The model has no adapters, and nothing to leave out.
        """
        write_folder(Path(folder), self.files(base))

    def files(self, base: bool = True) -> dict[str, bytes]:
        """The files of :meth:`save`, by name."""
        if not base and not self.adapters:
            raise UsageError("the model has no adapters: base=False leaves nothing out.")
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        left_out = set() if base else self.base_weights()
        kept = {name: value for name, value in weights.items() if name not in left_out}
        return {
            WEIGHTS: save_tensors(kept),
            "model.json": json.dumps(asdict(self.card) | {"format": FORMAT}, indent=1).encode(),
            "README.md": readme(self.card).encode(),
        }

    def base_weights(self) -> set[str]:
        """The names of the backbone's weights that do not learn."""
        every = self.backbone.named_parameters(prefix="backbone")
        return {name for name, parameter in every if not parameter.requires_grad}


def without_head(model: EmbeddingModel) -> EmbeddingModel:
    """The same backbone; its features, scaled to unit length, are the embedding."""
    return EmbeddingModel(model.backbone, nn.Identity(), model.card)


def _refuse_not_finite(rows: NDArray[np.float32], names: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DivergedError(
            f"the embedding of '{names[bad[0]]}' is NaN or infinite: the model has diverged, or "
            "its mean and std are none; train it with a smaller learning rate or in float32."
        )
