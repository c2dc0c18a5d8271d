"""What does not learn of a run's backbone runs once an image; features for the head's start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metricforge.contracts import Dataset, Initializing, Pretrained
from metricforge.data.images import Images
from metricforge.errors import UsageError
from metricforge.model import EmbeddingModel
from metricforge.plugin_errors import blaming
from metricforge.recipes.defaults import frozen_throughout
from metricforge.recipes.feature_cache import feature_cache
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runtime import Runtime
from metricforge.runtime.evaluation_mode import evaluating
from metricforge.training.augmentation import Chain
from metricforge.training.frozen_features import FrozenFeatures
from metricforge.weights.cut import Cut, cut_of

SAMPLED_FOR_HEAD = 5_000
"""The most training images whose features a head begins at."""

TRIED = 32
"""The most training images by which it is tried whether a network can be cut."""

MOST_BYTES = 4 << 30
"""The most memory for what passes the cut of a network, of all images in all views."""


@dataclass(frozen=True)
class BackboneFeatures:
    """What the features are made of: a recipe with its defaults, images, and the network."""

    recipe: Recipe
    registry: Registry
    dataset: Dataset
    images: Images
    train: Tensor
    model: EmbeddingModel
    runtime: Runtime

    def of_frozen(self, augmentation: Chain | None) -> FrozenFeatures | None:
        """Those of a backbone, or of its lower part, that never learns and runs once an image.

        None if all of it learns, or if each epoch shows other images: augmented ones without a
        number of `views`, or turned ones. Raises UsageError for views of anything else.
        """
        views = self.recipe.views
        if views is not None and self._turned:
            raise UsageError("views are of images as they are: add --orientations 1.")
        new_each_epoch = self._turned or (augmentation and views is None)
        never_learns = frozen_throughout(self.recipe)
        if not (new_each_epoch or never_learns):
            self.model.cut = self._cut(1 + (views or 0))
        if views is not None and not (augmentation and (never_learns or self.model.cut)):
            raise UsageError(
                "views are of augmented images and a backbone that does not learn, or whose lower "
                "part does not: add --rates backbone=0 or --adapter last-blocks, and --augment if "
                "the images are no photographs."
            )
        if new_each_epoch or self._passes_on or not (never_learns or self.model.cut):
            return None
        return self._features(views or 1, augmentation)

    def initialize_head(self, frozen: FrozenFeatures | None) -> None:
        """Set the first weights of a head that depend on the features of the training images."""
        head = self.model.head
        if not isinstance(head, Initializing) or not head.wants_features:
            return
        if isinstance(head, Pretrained) and head.pretrained is True:
            return  # it has the weights of a run
        sample = self.train[:: -(-len(self.train) // SAMPLED_FOR_HEAD)]
        if self._passes_on:
            begun = self.model.features_of(self.images.take(sample), self.runtime)
        else:
            features = frozen or self._features(1, None)
            features.compute(sample)
            parts = sample.split(self.model.batch)
            begun = torch.cat([self._whole(features.take(part)) for part in parts])
        with blaming(head):
            head.initialize(begun)

    def notes(self, augmentation: Chain | None) -> Iterator[str]:
        """Notes on what runs once an image, and on a frozen backbone that embeds them anew."""
        if self._passes_on:
            return
        if self.model.cut is not None:
            yield f"below {self.model.cut.above} nothing learns, and each image passes once."
        if frozen_throughout(self.recipe) and self.recipe.views is None:
            if self._turned:
                yield "the frozen backbone embeds all orientations anew in each epoch."
            elif augmentation:
                yield (
                    "the frozen backbone embeds the augmented images anew in each epoch; --views 8 "
                    "embeds eight views of each, once."
                )

    @property
    def _passes_on(self) -> bool:
        """Whether the backbone passes vectors on, of which nothing need be kept."""
        return self.model.card.passes_on

    @property
    def _turned(self) -> bool:
        return self.recipe.orientations not in (None, 1)

    def _cut(self, views: int) -> Cut | None:
        """Where the backbone is cut for images in so many `views`; None if it stays whole."""
        recipe, model, runtime = self.recipe, self.model, self.runtime
        alone = runtime.ranks.count == 1 and not recipe.compile
        if not alone or model.train_size or model.card.of_vectors:
            return None
        few = runtime.prepare(self.images.take(self.train[:: -(-len(self.train) // TRIED)]))
        with runtime.autocast():
            given = model.network_input(few)
            cut = cut_of(model.backbone, given, recipe.batch_norm == "frozen")
        # Early layers put out more than they get.
        if cut is None or cut.size > given[0].numel() * given.element_size():
            return None
        return cut if cut.size * len(self.images) * views <= MOST_BYTES else None

    def _whole(self, taken: Tensor) -> Tensor:
        """The features [B, F] on the CPU of what was taken: these, or what passes the cut."""
        if self.model.cut is None:
            return taken.cpu()
        with evaluating(self.model), torch.inference_mode(), self.runtime.autocast():
            return self.model.cut.upper(self.model.backbone, taken).float().cpu()

    def _features(self, views: int, augmentation: Chain | None) -> FrozenFeatures:
        cache = feature_cache(
            self.recipe, self.registry, self.dataset, self.model, augmentation, self.runtime
        )
        return FrozenFeatures(self.model, self.images, self.runtime, views, augmentation, cache)
