"""The features of a backbone, or of its lower part, that does not learn, once for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from metricforge.data.feature_cache import FeatureCache
from metricforge.data.images import Images
from metricforge.data.prefetch import read_ahead
from metricforge.model import EmbeddingModel
from metricforge.runtime import Runtime
from metricforge.training.augmentation import Chain

BATCH = 64
"""Images that the backbone embeds at a time, fewer if they are large, but always as many: features
then depend, to the last bit, on their own image alone, not on how many are embedded or in which
order."""


class FrozenFeatures:
    """The features of a frozen backbone in place of the images, as `Images` are taken.

    Of a model with a `cut` these are what passes it, [N, ...] in place of [N, F].

    Args:
        model: The model whose backbone, or the part of it below its cut, does not learn.
        images: The images.
        runtime: Device and precision of the backbone.
        views: Augmented views of each image that is trained on; 1 without `augment`.
        augment: What makes a view: that of the epoch of its number.
        cache: Features of earlier runs, or None. Several ranks have none: each would find others.
    """

    in_memory = True

    def __init__(
        self,
        model: EmbeddingModel,
        images: Images,
        runtime: Runtime,
        views: int = 1,
        augment: Chain | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        self._model, self._images, self._runtime = model, images, runtime
        self._views, self._augment = views, augment
        self._cache = cache if runtime.ranks.count == 1 else None
        self._known = torch.zeros(views + 1, len(images), dtype=torch.bool)
        self._features: list[Tensor | None] = [None] * (views + 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image, as :attr:`Images.shape`."""
        return self._images.shape

    def __len__(self) -> int:
        return len(self._images)

    def to(self, device: torch.device | str) -> FrozenFeatures:
        """The same: features are taken on the device of the backbone."""
        return self

    def take(self, indices: Tensor) -> Tensor:
        """The features, float32 [B, F], of the images as they are."""
        return self._taken(indices, 0)

    def in_epoch(self, epoch: int) -> Images:
        """The features of the views that an epoch trains on."""
        return _View(self, 1 + epoch % self._views) if self._augment else self

    @property
    def width(self) -> int:
        """F, the number of features."""
        return self._model.width

    def embed(self, indices: Tensor) -> Tensor:
        """The features, float32 [M, F], computed anew."""
        return self._embedded(0, None, indices)

    def compute(self, indices: Tensor, done: Callable[[int], object] | None = None) -> None:
        """Embed the images [M] at `indices` that are not known yet.

        Of several ranks all must call it, with the same indices: each embeds a part.

        Args:
            indices: int64 [M].
            done: Called with the number of images of each batch that was embedded.
        """
        self._compute(indices, 0, done)

    def compute_views(self, indices: Tensor, done: Callable[[int], object] | None = None) -> None:
        """Embed all views of the images [M] at `indices`, as :meth:`compute` embeds themselves."""
        for view in range(1, self._views + 1) if self._augment else (0,):
            self._compute(indices, view, done)

    def _taken(self, indices: Tensor, view: int) -> Tensor:
        missing = indices[~self._known[view, indices]].unique()
        if len(missing) and self._runtime.ranks.count > 1:
            # Other ranks take other images: what all know must stay the same.
            return self._embedded(view, None, indices).to(self._runtime.device)
        if len(missing):
            self._put(missing, self._embedded(view, None, missing), view)
        features = self._features[view]
        assert features is not None, "they are computed"
        return features[indices].to(self._runtime.device)

    def _compute(self, indices: Tensor, view: int, done: Callable[[int], object] | None) -> None:
        missing = indices[~self._known[view, indices]].unique()
        keys: Sequence[bytes] = ()
        if self._cache and len(missing):
            keys = self._cache.keys(missing, view)
            hits, rows = self._cache.find(keys)
            if rows is not None:
                self._put(missing[hits], rows, view)
            missing, keys = missing[~hits], [keys[i] for i in (~hits).nonzero().flatten()]
            if done:
                done(int(hits.sum()))
        if not len(missing):
            return
        # The same on all ranks, which have computed the same so far.
        rows = self._runtime.ranks.shared(partial(self._embedded, view, done), missing)
        self._put(missing, rows, view)
        if self._cache:
            self._cache.add(keys, rows)

    def _put(self, indices: Tensor, rows: Tensor, view: int) -> None:
        features = self._features[view]
        if features is None:
            features = self._features[view] = torch.zeros(len(self), *rows.shape[1:])
        features[indices] = rows
        self._known[view, indices] = True

    def _embedded(self, view: int, done: Callable[[int], object] | None, indices: Tensor) -> Tensor:
        rows = []
        size = min(BATCH, self._model.batch)
        parts = indices.split(size)
        for part, images in zip(parts, read_ahead(self._images, parts), strict=True):
            whole = images[torch.arange(size) % len(part)]
            if self._augment and view:
                repeated = part[torch.arange(size) % len(part)]
                whole = self._augment(self._runtime.prepare(whole), view - 1, repeated)
            rows.append(self._model.frozen_output(whole, self._runtime)[: len(part)])
            if done:
                done(len(part))
        return torch.cat(rows) if rows else torch.zeros(0, self._model.width)


class _View:
    """One augmented view of the images that are trained on."""

    in_memory = True

    def __init__(self, features: FrozenFeatures, view: int) -> None:
        self._of, self._number = features, view

    @property
    def shape(self) -> tuple[int, ...]:
        return self._of.shape

    def __len__(self) -> int:
        return len(self._of)

    def take(self, indices: Tensor) -> Tensor:
        return self._of._taken(indices, self._number)

    def to(self, device: torch.device | str) -> _View:
        return self
