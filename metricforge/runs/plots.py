"""The plots of a run: its embeddings, its loss, its health."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Answers
from metricforge.data.images import Images
from metricforge.report.answers import Answered, draw_answers
from metricforge.report.pairs import draw_pairs
from metricforge.report.plots import health_curves, loss_curve, scatter
from metricforge.runs.build import Assembly
from metricforge.runs.folder import RunFolder
from metricforge.runs.metrics_log import entries
from metricforge.runtime import Runtime
from metricforge.scoring.apply import labelled_part
from metricforge.scoring.baselines import TRAINED
from metricforge.scoring.examples import examples
from metricforge.scoring.failures import Failures
from metricforge.training.loop import embed_images
from metricforge.training.setup import TrainingSetup, TrainState

MOST_SHOWN = 10


Rows = tuple[Tensor, Tensor]
"""Embeddings [M, D], and the indices [M] of their images."""


def train_sample(assembly: Assembly) -> Rows:
    """Embeddings of train images, thinned evenly within their classes; each rank does its share."""
    dataset, split = assembly.dataset, assembly.split
    # Sorted by class before it is thinned: a stride could miss whole classes that alternate.
    train = split.train[torch.argsort(dataset.labels[split.train], stable=True)]
    train = train[:: max(1, len(train) // 5_000)]
    return embed_images(assembly.setup.model, assembly.inputs, train, assembly.runtime), train


def draw_plots(
    assembly: Assembly, folder: RunFolder, embeddings: dict[str, Tensor], sample: Rows
) -> None:
    """Draw them into the run's folder: a `sample` of the train part, and the test part's.

    `embeddings` [M, D] are those of the test part, by model.
    """
    dataset, split = assembly.dataset, assembly.split
    parts = {"train": sample}
    if TRAINED in embeddings:
        parts["test"] = (embeddings[TRAINED], split.test)
    for part, (rows, indices) in parts.items():
        title = f"{dataset.name}, {part} {'images' if split.closed_set else 'classes'}"
        labels = dataset.labels[indices].numpy()
        scatter(rows.numpy(), labels, dataset.classes, folder.plots / f"{part}.png", title)
    records = entries(folder)
    loss_curve(records, folder.plots / "loss.png")
    health_curves(records, folder.plots / "health.png")


def draw_first_batch(
    setup: TrainingSetup, state: TrainState, runtime: Runtime, folder: RunFolder
) -> None:
    """Draw images of the first batch, before and after augmentation; of vectors none."""
    if setup.augment is None or not state.batches or len(setup.images.shape) == 1:
        return
    indices = setup.train[state.batches[0][:MOST_SHOWN]]
    images = setup.images.take(indices)
    changed = setup.augment(runtime.prepare(images), 0, indices).round().clamp(0, 255)
    before, after = (part.cpu().to(torch.uint8).numpy() for part in (images, changed))
    none = [""] * len(indices)
    draw_pairs(before, after, none, none, folder.plots / "augmentation.png")


def draw_failures(failures: Failures | None, images: Images, folder: RunFolder) -> None:
    """Draw the worst queries above their nearest images, if there are any; of vectors none."""
    if failures is None or not failures.worst or len(images.shape) == 1:
        return
    shown = failures.worst[:MOST_SHOWN]
    indices = [[f.image for f in shown], [f.nearest for f in shown]]
    queries, neighbors = (images.take(torch.tensor(row)).cpu().numpy() for row in indices)
    names = [[failures.class_of(index) for index in row] for row in indices]
    draw_pairs(queries, neighbors, names[0], names[1], folder.plots / "failures.png")


def draw_examples(
    answers: Answers | None, embeddings: dict[str, Tensor], assembly: Assembly, folder: RunFolder
) -> None:
    """Draw queries of easy and of hard classes beside their nearest images; of vectors none.

    The answers are the trained network's to the test part, whose embeddings [M, D] by model are
    `embeddings`.
    """
    images, test = assembly.images, assembly.split.test
    if answers is None or len(images.shape) == 1:
        return
    labelled = labelled_part(assembly.dataset, test)
    names = [assembly.dataset.classes[label] for label in labelled.labels.tolist()]
    drawn = []
    for example in examples(answers, embeddings[TRAINED].cpu().numpy(), labelled):
        rows = [example.query, *example.nearest]
        pixels = images.take(test[rows]).cpu().numpy()
        classes = [names[row] for row in rows]
        drawn.append(Answered(pixels[0], pixels[1:], classes[0], classes[1:]))
    draw_answers(drawn, folder.plots / "answers.png")
