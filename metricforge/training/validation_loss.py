"""The loss on validation images, from the embeddings that validate an epoch."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from metricforge.contracts import Loss, Miner, Predicting
from metricforge.enforcement import check_labels, check_tuples, miner_of_step
from metricforge.errors import PluginError, ResourceError
from metricforge.plugin_errors import blaming
from metricforge.runtime import Runtime, generator, seed_torch
from metricforge.training.balanced_batches import balanced_batches
from metricforge.training.mining import effective_miner, margin_of, mine
from metricforge.training.setup import TrainingSetup, TrainState, Validated

# Follows the epoch and the batch: no other draws of a run are a function of four numbers.
SEED_SUFFIX = (0, 0)


@dataclass(frozen=True)
class HeldOut:
    """The loss on validation images, and the accuracy of its own classifier, None without one.

    The loss is the mean over batches like those of the training: as many classes, or all if there
    are fewer, and as many images of each, drawn by the seed and the same in every epoch. The miner
    is that of the epoch's last step, with draws of its own. The miner, the loss and the training
    don't change.
    """

    loss: float | None = None
    accuracy: float | None = None
    failed: str | None = None
    """Why there is no loss, if the loss or the miner could not process the images."""


def held_out(
    setup: TrainingSetup, state: TrainState, validated: Validated, runtime: Runtime
) -> HeldOut:
    """The loss on validation images at the end of the open epoch, on all ranks.

    A loss that knows the training classes (it has parameters other than single numbers) has nothing
    to compare images of others with. There is no loss either if the loss or the miner can't be
    copied, or can't process these batches, e.g. a miner that requires those of its sampler.
    `failed` then has the reason, and the training continues.
    """
    ranks = runtime.ranks
    known = asdict(_measured(setup, state, validated, runtime)) if ranks.first else {}
    return HeldOut(**json.loads(ranks.broadcast(json.dumps(known))))


def knows_classes(loss: Loss) -> bool:
    """Whether a loss has parameters for each class: proxies, a classifier."""
    return isinstance(loss, nn.Module) and any(p.numel() > 1 for p in loss.parameters())


def _measured(
    setup: TrainingSetup, state: TrainState, validated: Validated, runtime: Runtime
) -> HeldOut:
    of_classes = knows_classes(setup.loss)
    if not len(validated.labels) or (of_classes and not validated.known):
        return HeldOut()
    # The training's own steps seed torch again, each step.
    seed_torch(setup.seed, state.epoch, 0, *SEED_SUFFIX)
    try:
        loss, miner = _copied(setup.loss, _last_miner(setup, state))
        batches = _batches(setup, state, validated.labels, miner)
        with torch.no_grad():
            value = _mean_loss(setup.seed, state.epoch, loss, miner, validated, batches, runtime)
            accuracy = _accuracy(loss, validated, batches, runtime) if validated.known else None
    except (PluginError, ResourceError) as error:
        # It can train: a failure outside of training must not end the run.
        return HeldOut(failed=str(error))
    return HeldOut(value, accuracy, "it is not finite" if batches and value is None else None)


def _copied(loss: Loss, miner: Miner) -> tuple[Loss, Miner]:
    """Copies that don't change the training, the loss in evaluation mode."""
    try:
        loss, miner = copy.deepcopy((loss, miner))
    except (RuntimeError, TypeError, copy.Error) as error:
        # Some member can't be copied, e.g. a tensor with a graph or an open file.
        raise PluginError(f"the loss or its miner can't be copied: {error}") from error
    if isinstance(loss, nn.Module):
        loss.eval()
    return loss, miner


def _last_miner(setup: TrainingSetup, state: TrainState) -> Miner:
    """The miner of the last batch of the open epoch."""
    if setup.miner_at is None:
        return setup.miner
    # The last step may have had fewer batches than the others.
    step = min(state.step * setup.accumulate, len(state.batches)) - 1
    return miner_of_step(setup.sampler, setup.miner_at, state.epoch, max(step, 0), setup.miner)


def _batches(setup: TrainingSetup, state: TrainState, labels: Tensor, miner: Miner) -> list[Tensor]:
    """Batches of the rows of `labels` [M], like the largest of the open epoch."""
    largest = max(state.batches, key=len)
    classes = len(setup.labels[largest].unique())
    per_class = max(2, round(len(largest) / classes))
    rng = generator(setup.seed, 0, 0, *SEED_SUFFIX)
    return balanced_batches(labels, classes, per_class, miner.kind, rng)


def _mean_loss(
    seed: int,
    epoch: int,
    loss: Loss,
    miner: Miner,
    validated: Validated,
    batches: Sequence[Tensor],
    runtime: Runtime,
) -> float | None:
    values = []
    for number, batch in enumerate(batches):
        embeddings, labels = _rows(validated, batch, runtime)
        with blaming(miner):
            rng = generator(seed, epoch, number, *SEED_SUFFIX)
            tuples = mine(effective_miner(miner, loss), embeddings, labels, rng, margin_of(loss))
        check_tuples(miner, tuples, labels)
        check_labels(miner, tuples, labels)
        with blaming(loss):
            values.append(float(loss(embeddings, labels, tuples)))
    mean = float(np.mean(values)) if values else math.nan
    return mean if math.isfinite(mean) else None


def _accuracy(
    loss: Loss, validated: Validated, batches: Sequence[Tensor], runtime: Runtime
) -> float | None:
    """The fraction of images that the loss's own classifier classifies correctly, if it has one."""
    if not isinstance(loss, Predicting) or not batches:
        return None
    hits = total = 0
    for batch in batches:
        embeddings, labels = _rows(validated, batch, runtime)
        with blaming(loss):
            hits += int((loss.predict(embeddings) == labels).sum())
        total += len(batch)
    return hits / total


def _rows(validated: Validated, batch: Tensor, runtime: Runtime) -> tuple[Tensor, Tensor]:
    device = runtime.device
    return validated.embeddings[batch].to(device), validated.labels[batch].to(device)
