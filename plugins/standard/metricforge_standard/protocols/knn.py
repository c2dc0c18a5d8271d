"""Nearest neighbour: how many labelled images does a new class require?"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from metricforge.contracts import Labelled, Result, Scored
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import label_some, nearest_label, over_seeds, warnings_about


class KNN:
    """Classifies among all classes by the nearest of n labelled images of each: a learning curve.

    For each n of `shots`, `repeats` choices of the labelled images are drawn, and all other images
    are queries. The metric is the mean over classes of the fraction of correct answers. The
    interval is over the repeats: it covers the choice of the labelled images alone. A class without
    an image to query can still be an answer.

    Args:
        shots: Labelled images n of each class, 1 or more each.
        repeats: Choices of the labelled images for each n, 1 or more.
        seed: Seed of the choices, 0 or more.
    """

    def __init__(
        self, *, shots: tuple[int, ...] = (1, 2, 5, 10), repeats: int = 10, seed: int = 0
    ) -> None:
        if not shots or min(shots) < 1 or len(set(shots)) < len(shots):
            raise UsageError("knn needs different shots, each 1 or more, e.g. shots=1+2+5.")
        self.shots = tuple(sorted(shots))
        if repeats < 1 or seed < 0:
            raise UsageError("knn needs repeats >= 1 and seed >= 0.")
        self.repeats, self.seed = repeats, seed

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] to accuracy@n-labelled for every n that the classes allow.

        Raises:
            DataError: No class has more images than the fewest shots.
            DivergedError: The embeddings have NaN or infinity.
        """
        vectors, labels = embeddings.detach().cpu().numpy(), images.labels.cpu().numpy()
        largest = int(np.unique(labels, return_counts=True)[1].max(initial=0))
        shots = [n for n in self.shots if n < largest]
        if not shots:
            raise DataError(
                f"knn with {self.shots[0]} labelled images needs a class of {self.shots[0] + 1}, "
                f"and the largest here has {largest}; ask for fewer shots or hold out more."
            )
        accuracies = {
            f"accuracy@{n}-labelled": np.array(
                [self._accuracy(vectors, labels, n, repeat) for repeat in range(self.repeats)]
            )
            for n in shots
        }
        estimates = {name: over_seeds(values) for name, values in accuracies.items()}
        definitions = {
            f"accuracy@{n}-labelled": f"fraction of images told rightly among all classes by the "
            f"nearest of {n} labelled image(s) of each; mean over classes, then over "
            f"{self.repeats} choices of the labelled ones"
            for n in shots
        }
        left = [str(n) for n in self.shots if n >= largest]
        notes = (
            (f"No class has more than {', '.join(left)} images: so many can't be labelled.",)
            if left
            else ()
        )
        scores = {name: Scored(values, over="seeds") for name, values in accuracies.items()}
        return Result(estimates, (*notes, *warnings_about(vectors)), definitions, scores)

    def _accuracy(
        self,
        vectors: np.ndarray,
        labels: np.ndarray,
        shots: int,
        repeat: int,
    ) -> float:
        rng = np.random.default_rng((self.seed, shots, repeat))
        support, queries = label_some(labels, shots, rng)
        right = nearest_label(vectors, labels, support, queries) == labels[queries]
        _, inverse, count = np.unique(labels[queries], return_inverse=True, return_counts=True)
        return float((np.bincount(inverse, weights=right) / count).mean())
