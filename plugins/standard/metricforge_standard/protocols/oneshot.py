"""Few-shot classification of classes that the model has not seen."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Estimate, Labelled, Result, Scored, Trials
from metricforge.errors import DataError, UsageError, unknown
from metricforge.evaluation import (
    Episodes,
    draw,
    eligible,
    over_episodes,
    score_episodes,
    warnings_about,
)

USUAL_WAY = 20
"""As in the Omniglot challenge (Lake 2015)."""

USUAL_QUERIES = 5


class OneShot:
    """N-way K-shot episodes: classify images of new classes from K labelled images of each.

    Each episode asks `queries` images of each of its `way` classes. The metric is named after the
    task, e.g. accuracy@20way1shot; its interval is over episodes.

    With `official` the episodes are those of the dataset, and nothing is drawn: official=omniglot
    are the 400 trials of Lake et al. 2015. The metric is then the error, error@omniglot, with an
    interval over the 20 runs.

    Args:
        way: Classes in an episode, 2 or more; none: 20, or as many as have shot + queries images,
            with a note.
        shot: Labelled images of each class, 1 or more.
        queries: Queries of each class, 1 or more; none: 5, or with a note as many as two classes
            (or `way`) have in addition to their shots.
        episodes: Episodes to draw, 1 or more.
        classifier: "prototype" answers with the nearest class mean (Snell 2017), "nearest" with the
            class of the nearest support image.
        within: "group" draws the classes of an episode from one group, e.g. an alphabet, which is
            harder; none: from all.
        official: Name of episodes that the dataset has, e.g. omniglot; none: draw them.
        seed: Seed of the episodes, 0 or more.

    Reference: Snell et al., Prototypical Networks for Few-shot Learning, 2017. Lake et al.,
        Human-level Concept Learning through Probabilistic Program Induction, 2015.
    """

    def __init__(
        self,
        *,
        way: int | None = None,
        shot: int = 1,
        queries: int | None = None,
        episodes: int = 1000,
        classifier: Literal["prototype", "nearest"] = "prototype",
        within: Literal["group"] | None = None,
        official: str | None = None,
        seed: int = 0,
    ) -> None:
        self.way, self.shot, self.queries = way, shot, queries
        self.episodes, self.classifier, self.seed = episodes, classifier, seed
        self.within, self.official = within, official
        least = {"way": 2, "shot": 1, "queries": 1, "episodes": 1, "seed": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise UsageError(
                    f"option '{name}' of protocol 'oneshot' is at least {lowest}, not {value}."
                )

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] to the mean accuracy of the episodes.

        Raises:
            DataError: Too few classes have shot + queries images, or the images lack the groups or
                the official episodes that an option requires.
            DivergedError: The embeddings have NaN or infinity.
        """
        vectors = embeddings.detach().cpu().numpy()
        if self.official:
            return self._official(vectors, images)
        episodes, notes = self._drawn(images)
        accuracy = score_episodes(vectors, episodes, self.classifier)
        task = f"{episodes.way}way{self.shot}shot" + ("-within-group" if self.within else "")
        name = f"accuracy@{task}"
        definition = self._definition(episodes.way)
        notes = (*notes, *warnings_about(vectors))
        return Result(
            {name: over_episodes(accuracy)},
            notes,
            {name: definition},
            {name: Scored(accuracy)},
            trials={
                task: Trials(torch.from_numpy(episodes.support), torch.from_numpy(episodes.queries))
            },
        )

    def _drawn(self, images: Labelled) -> tuple[Episodes, tuple[str, ...]]:
        labels = images.labels.cpu().numpy()
        groups = None
        if self.within:
            if images.groups is None:
                raise DataError("oneshot:within=group needs a dataset that has groups.")
            groups = images.groups.cpu().numpy()
        queries = self.queries or self._usual_queries(labels)
        enough = eligible(labels, self.shot + queries)
        most = len(enough) if groups is None else _largest_group(enough, labels, groups)
        way = self.way or min(USUAL_WAY, max(2, most))
        episodes = draw(
            labels,
            way=way,
            shot=self.shot,
            queries=queries,
            episodes=self.episodes,
            seed=self.seed,
            groups=groups,
        )
        return episodes, self._notes(way, queries, len(enough), len(np.unique(labels)))

    def _usual_queries(self, labels: np.ndarray) -> int:
        sizes = np.sort(np.unique(labels, return_counts=True)[1])[::-1]
        way = self.way or 2
        if len(sizes) < way:
            return USUAL_QUERIES
        return max(1, min(USUAL_QUERIES, int(sizes[way - 1]) - self.shot))

    def _official(self, vectors: np.ndarray, images: Labelled) -> Result:
        assert self.official is not None
        task = images.trials.get(self.official)
        if task is None and images.trials:
            raise unknown("official episodes", self.official, images.trials)
        if task is None:
            raise DataError(
                f"these images don't hold all those of the episodes '{self.official}': evaluate "
                "the part of the dataset that they were drawn from."
            )
        episodes = Episodes(task.support.cpu().numpy(), task.queries.cpu().numpy())
        values = score_episodes(vectors, episodes, self.classifier)
        if task.measure == "error":
            values = 1 - values
        mean = over_episodes(values)
        estimate = Estimate(mean.value, mean.low, mean.high, mean.n, task.over)
        name = f"{task.measure}@{self.official}"
        queries, shots = episodes.queries.shape[1], episodes.support.shape[2]
        definition = (
            f"fraction of queries answered {'wrongly' if task.measure == 'error' else 'rightly'}, "
            f"{episodes.way}-way {shots}-shot, mean of {len(values):,} given {task.over} of "
            f"{queries} queries; classifier {self.classifier}"
        )
        notes = warnings_about(vectors)
        if task.over != "episodes":
            each = ", ".join(f"{value:.3g}" for value in values)
            notes = (f"{name} of the {task.over}: {each}", *notes)
        scores = {name: Scored(values, over=task.over)}
        return Result({name: estimate}, notes, {name: definition}, scores)

    def _definition(self, way: int) -> str:
        return (
            f"fraction of queries answered with their class among {way}"
            f"{' of one group' if self.within else ''}, from {self.shot} labelled "
            f"image(s) of each; mean of {self.episodes:,} episodes; classifier {self.classifier}"
        )

    def _notes(self, way: int, queries: int, usable: int, classes: int) -> tuple[str, ...]:
        notes = []
        images = self.shot + queries
        if self.queries is None and queries < USUAL_QUERIES:
            notes.append(
                f"Episodes ask {queries} of each class, not {USUAL_QUERIES}: classes have few "
                "images."
            )
        if usable < classes:
            notes.append(
                f"{classes - usable} of {classes} classes have fewer than {images} images and are "
                "in no episode."
            )
        if self.way is None and way < USUAL_WAY:
            notes.append(
                f"Episodes are {way}-way, not {USUAL_WAY}-way: {usable} classes have the "
                f"{images} images that an episode needs. Chance is {1 / way:.3g}."
            )
        return tuple(notes)


def _largest_group(
    classes: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
) -> int:
    """How many of these classes the largest group has."""
    known, first = np.unique(labels, return_index=True)
    group = groups[first[np.searchsorted(known, classes)]]
    return int(np.unique(group, return_counts=True)[1].max(initial=0))
