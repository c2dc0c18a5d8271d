"""What a training is given, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor
from torch.optim import Optimizer

from metricforge.contracts import Loss, Miner, Sampler
from metricforge.data.images import Images
from metricforge.model import EmbeddingModel
from metricforge.training.augmentation import Chain
from metricforge.training.optimizer import Schedule

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Task:
    """Everything that a training needs, finished.

    `train` [N] are the indices in `images` of those to train on, and `labels` [N] their
    classes 0 .. C-1; image i of the dataset has the indices i * views .. i * views + views - 1.
    `validate` measures the model on validation classes;
    its first score is the one to select by. `miner_at` gives the miner of an epoch and step, both
    from 0, where it changes from step to step; without it `miner` is that of all. `replaced` says
    that `miner` is not the sampler's own: it knows nothing of images that a batch repeats.
    `augment` changes the images of a batch before the network sees them.
    """

    model: EmbeddingModel
    loss: Loss
    sampler: Sampler
    miner: Miner
    images: Images
    train: Tensor
    labels: Tensor
    optimizer: Optimizer
    schedule: Schedule
    validate: Callable[[EmbeddingModel], Scores]
    epochs: int
    seed: int
    views: int = 1
    miner_at: Callable[[int, int], Miner] | None = None
    replaced: bool = False
    augment: Chain | None = None


@dataclass
class Position:
    """How far a training is: whole epochs done, then steps done in the one that is open.

    `batches` are those of the open epoch, each int64 [B] into the train set.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    best_score: float = float("-inf")
    best_epoch: int = 0
    batches: list[Tensor] = field(default_factory=list, repr=False, compare=False)
