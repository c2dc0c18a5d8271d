"""The loss `triplet`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import AllTriplets, Counted, Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import scored
from metricforge_standard.losses._all_triplets import sum_over_all_triplets
from metricforge_standard.losses._listed_triplets import sum_over_listed
from metricforge_standard.losses._triplet_sum import Comparison, Scale


class Triplet:
    """Wants the negative farther than the positive by a margin (Schroff 2015, Hermans 2017).

    With v = d(a, p) - d(a, n) + margin and euclidean d, the loss is the mean of max(0, v) over the
    triplets that violate the margin, or over all. All triplets of a batch are summed without a list
    of them. Without triplets the loss is zero, with a graph. A miner that takes the margin compares
    plain distances.

    `log` compares logarithms of distances, so that v does not change with the scale of the
    embedding, down to distances of about 0.03. Shrinking all distances gains nothing before that,
    and a negative that is too near is pushed harder than a positive that is far is pulled. With
    soft=0.5 and margin=0 this is log(1 + d(a, p)^2 / d(a, n)^2) / 2, the crowd kernel's likelihood
    (Tamuz 2011).

    `soft` T replaces the hinge by T log(1 + exp(v / T)), the mean over all triplets. It still pulls
    where the hinge is zero.

    Args:
        margin: Margin of v, above 0, or 0 with `soft`; a distance, or what is compared instead.
        active_only: Whether the mean is over the triplets that violate the margin; false, or
            `soft`: over all.
        soft: Temperature T of a smooth hinge, above 0; none: the hinge.
        squared: Whether to compare squared distances.
        log: Whether to compare logarithms of distances; not with `squared`.

    Reference: Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering,
        2015. Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
        Tamuz et al., Adaptively Learning the Crowd Kernel, 2011.
    """

    accepts = (Triplets,)

    def __init__(
        self,
        *,
        margin: float = 0.2,
        active_only: bool = True,
        soft: float | None = None,
        squared: bool = False,
        log: bool = False,
    ) -> None:
        if not margin >= 0 or (margin == 0 and soft is None):
            raise UsageError("triplet needs margin > 0, or margin 0 with soft.")
        if soft is not None and not soft > 0:
            raise UsageError("triplet needs soft > 0.")
        if squared and log:
            raise UsageError("triplet compares squared distances or their logarithms, not both.")
        self.margin, self.active_only, self.soft = margin, active_only, soft
        scale: Scale = "squared" if squared else "log" if log else "distance"
        self._by = Comparison(margin, soft, scale)

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets
    ) -> Tensor:
        return self.counted(embeddings, labels, tuples).value

    def counted(
        self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets
    ) -> Counted:
        """The loss, and the number of triplets that violate the margin."""
        if isinstance(tuples, AllTriplets):
            result = sum_over_all_triplets(embeddings, labels, tuples.anchors, self._by)
        else:
            result = sum_over_listed(embeddings, tuples, self._by)
        total = torch.as_tensor(result.total, device=result.active.device)
        mean_over = result.active if self.active_only and self.soft is None else total
        count = mean_over.clamp(min=1)
        dtype = result.gradient.dtype
        slope = result.gradient / count.to(dtype)
        value = scored(embeddings, (result.loss / count).to(dtype), slope)
        return Counted(value, result.active)
