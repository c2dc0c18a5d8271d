"""Few-shot classification of classes that the model has not seen."""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from metricforge.contracts import Labelled, Result
from metricforge.errors import UsageError
from metricforge.evaluation import (
    draw,
    eligible,
    over_episodes,
    score_episodes,
    warnings_about,
)

USUAL_WAY = 20
"""As in the Omniglot challenge (Lake 2015)."""


class OneShot:
    """Random N-way K-shot episodes: tell new classes apart from K images of each.

    `way` none means 20, or as many classes as have shot + queries images when they are fewer
    (a note says so). `queries` are asked of each class, in `episodes` drawn from `seed`. Of the
    values of `classifier`, `prototype` answers with the nearest mean of a class (Snell 2017),
    `nearest` with the class of the nearest support image. The estimate is named after the task,
    as in accuracy@20way1shot; its interval is over episodes.
    """

    def __init__(
        self,
        *,
        way: int | None = None,
        shot: int = 1,
        queries: int = 5,
        episodes: int = 1000,
        classifier: Literal["prototype", "nearest"] = "prototype",
        seed: int = 0,
    ) -> None:
        self.way, self.shot, self.queries = way, shot, queries
        self.episodes, self.classifier, self.seed = episodes, classifier, seed
        least = {"way": 2, "shot": 1, "queries": 1, "episodes": 1, "seed": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise UsageError(
                    f"option '{name}' of protocol 'oneshot' is at least {lowest}, not {value}."
                )

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] to the mean accuracy of the episodes.

        Raises DataError when too few classes have shot + queries images, DivergedError for
        NaN or infinity.
        """
        vectors = embeddings.detach().cpu().numpy()
        labels = images.labels.cpu().numpy()
        found = len(eligible(labels, self.shot + self.queries))
        way = self.way or min(USUAL_WAY, max(2, found))
        episodes = draw(
            labels,
            way=way,
            shot=self.shot,
            queries=self.queries,
            episodes=self.episodes,
            seed=self.seed,
        )
        accuracy = score_episodes(vectors, episodes, self.classifier)
        notes = (*self._notes(way, found, len(np.unique(labels))), *warnings_about(vectors))
        name = f"accuracy@{way}way{self.shot}shot"
        return Result({name: over_episodes(accuracy)}, notes, {name: self._definition(way)})

    def _definition(self, way: int) -> str:
        return (
            f"share of queries answered with their class among {way}, from {self.shot} labelled "
            f"image(s) of each; mean of {self.episodes:,} episodes; classifier {self.classifier}"
        )

    def _notes(self, way: int, found: int, classes: int) -> tuple[str, ...]:
        notes = []
        images = self.shot + self.queries
        if found < classes:
            notes.append(
                f"{classes - found} of {classes} classes have fewer than {images} images and are "
                "in no episode."
            )
        if self.way is None and way < USUAL_WAY:
            notes.append(
                f"Episodes are {way}-way, not {USUAL_WAY}-way: {found} classes have the "
                f"{images} images that an episode needs. Chance is {1 / way:.3g}."
            )
        return tuple(notes)
