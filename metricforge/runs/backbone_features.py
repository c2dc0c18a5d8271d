"""The features of a run's backbone before training: of a frozen one, and for the head's start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
from metricforge.training.augmentation import Chain
from metricforge.training.frozen_features import FrozenFeatures

SAMPLED_FOR_HEAD = 5_000
"""The most training images whose features a head begins at."""


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
        """Those of a backbone that never learns, which embeds each image once.

        None if it learns, or if each epoch shows other images: augmented ones without a number of
        `views`, or turned ones. Raises UsageError for views of anything else.
        """
        frozen, views = frozen_throughout(self.recipe), self.recipe.views
        if views is not None and not (frozen and augmentation):
            raise UsageError(
                "views are of a frozen backbone and augmented images: add --rates backbone=0, and "
                "--augment if the images are no photographs."
            )
        if views is not None and self._turned:
            raise UsageError("views are of images as they are: add --orientations 1.")
        new_each_epoch = self._turned or (augmentation and views is None)
        if not frozen or new_each_epoch or self._passes_on:
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
            begun = features.take(sample).cpu()
        with blaming(head):
            head.initialize(begun)

    def notes(self, augmentation: Chain | None) -> Iterator[str]:
        """A note on a frozen backbone that embeds the images anew in each epoch."""
        if self._passes_on:
            return
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

    def _features(self, views: int, augmentation: Chain | None) -> FrozenFeatures:
        cache = feature_cache(
            self.recipe, self.registry, self.dataset, self.model, augmentation, self.runtime
        )
        return FrozenFeatures(self.model, self.images, self.runtime, views, augmentation, cache)
