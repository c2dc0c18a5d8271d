"""The loss `prototypical`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.errors import UsageError
from metricforge.pairwise import Classes


class Prototypical:
    """Classifies queries by the nearest class mean of the support (Snell 2017).

    A batch is an episode: of each class the first `shot` images are the support, whose mean is the
    class's prototype, and the others are queries. The loss is the mean over queries of the
    cross-entropy of -d^2 / temperature over all prototypes, d the euclidean distance. Without
    queries it is zero, with a graph.

    Args:
        shot: Support images of each class, 1 or more.
        temperature: Divisor of the squared distances, above 0; for embeddings of unit length well
            below 1.

    Reference: Snell et al., Prototypical Networks for Few-shot Learning, 2017.
    """

    accepts = (None,)

    def __init__(self, *, shot: int = 1, temperature: float = 0.1) -> None:
        if shot < 1 or not temperature > 0:
            raise UsageError("prototypical needs shot >= 1 and temperature > 0.")
        self.shot, self.temperature = shot, temperature

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: None) -> Tensor:
        classes = Classes.of(labels)
        wide = embeddings if embeddings.dtype.itemsize > 2 else embeddings.float()
        rows = wide[classes.order_there]
        # Sorting by class keeps the order of the batch within a class.
        position = range(len(rows)) - classes.start[classes.of_row]
        support, queries = (
            classes.there((position < self.shot).nonzero()[0]),
            position >= self.shot,
        )
        of_query = classes.there(queries.nonzero()[0])
        if len(of_query) == 0:
            return wide[:0].sum()
        members = classes.of_row_there.long()
        prototypes = rows.new_zeros(len(classes.size), rows.shape[1])
        prototypes = prototypes.index_add(0, members[support], rows[support])
        sizes = classes.there(classes.size.clip(max=self.shot)).to(rows.dtype)
        distance = _squared_distances(rows[of_query], prototypes / sizes[:, None])
        return F.cross_entropy(-distance / self.temperature, members[of_query])


def _squared_distances(queries: Tensor, prototypes: Tensor) -> Tensor:
    """Squared distances [Q, C] by one matrix product, less the mean, which they don't have."""
    centre = prototypes.mean(0).detach()
    queries, prototypes = queries - centre, prototypes - centre
    norms = queries.square().sum(1)[:, None] + prototypes.square().sum(1)
    return torch.addmm(norms, queries, prototypes.T, alpha=-2)
