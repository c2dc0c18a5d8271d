"""The embeddings of a part of a dataset by several models, and its raw pixels or vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from metricforge.contracts import AS_IT_LIES, Dataset, Reading
from metricforge.data.images import Images, open_images
from metricforge.data.model_inputs import fit
from metricforge.data.prefetch import read_ahead
from metricforge.model import EmbeddingModel
from metricforge.runtime import Ranks, Runtime
from metricforge.scoring.baselines import raw
from metricforge.scoring.measure import Embedded


def embed(
    models: Mapping[str, EmbeddingModel],
    dataset: Dataset,
    indices: Tensor,
    baselines: bool,
    done: Callable[[int], object] | None = None,
) -> Embedded:
    """The embeddings of each model, and raw pixels or vectors as a baseline.

    `done` is called with the number of images of each batch.

    All models must read files in the same way.
    """
    (reading,) = {reading_of(dataset, model) for model in models.values()}
    images, rows = open_images(replace(dataset, reading=reading)), {}
    for name, model in models.items():
        rows[name] = Ranks.current().shared(partial(_embed, model, images, done), indices)
    if baselines:
        rows |= raw(images, indices)
    return Embedded(rows, indices)


def reading_of(dataset: Dataset, model: EmbeddingModel) -> Reading:
    """The dataset's own reading, or by default that of the model's training files."""
    return model.card.reading if dataset.reading == AS_IT_LIES else dataset.reading


def how_read(dataset: Dataset, model: EmbeddingModel) -> Iterator[str]:
    """A note on files that are read differently from their dataset's own reading."""
    reading = reading_of(dataset, model)
    if isinstance(dataset.images, Tensor) or reading == dataset.reading:
        return
    done = ["inverted"] if reading.inverted else []
    done += ["made to fill their image"] if reading.margin is not None else []
    done += [f"resized by {reading.fit}"] if reading.fit != dataset.reading.fit else []
    done += [f"scaled from {reading.depth} bits"] if reading.depth != dataset.reading.depth else []
    yield f"files are {' and '.join(done)}, as those were that the model is trained on."


def _embed(
    model: EmbeddingModel,
    images: Images,
    done: Callable[[int], object] | None,
    indices: Tensor,
) -> Tensor:
    runtime = Runtime(model.device)

    def batches() -> Iterator[Tensor]:
        for batch in read_ahead(images, indices.split(model.batch)):
            yield fit(batch, model.card.shape, model.card.reading)
            if done:
                done(len(batch))

    return model.embed(batches(), runtime)
