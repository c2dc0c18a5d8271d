"""Evaluating a model on a dataset, its own or another, on held-out classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.embedding_files import bare_dataset, embedding_rows
from metricforge.data.images import fingerprint
from metricforge.errors import DataError, UsageError
from metricforge.judging.held_out import ALL, Tested, overlap_message
from metricforge.judging.part_choice import tested_part
from metricforge.judging.protocols import Questions
from metricforge.judging.subject import Subject, load_model, run_of, untrained_model
from metricforge.model import EmbeddingModel
from metricforge.registry import Registry
from metricforge.report.progress import count_line
from metricforge.runs.run import Run
from metricforge.runtime import Ranks, Runtime
from metricforge.scoring.baselines import TRAINED
from metricforge.scoring.embed import embed, how_read
from metricforge.scoring.measure import SELECT, Embedded, Measured, measure


@dataclass(frozen=True, repr=False)
class Evaluation(Measured):
    """Metrics, and what they were measured on: the dataset, its part, the classes.

    The fields of :class:`Measured` come first.

    Args:
        dataset: Name of the dataset.
        part: "train", "validation", "test" or "all".
        classes: Names of the classes.
        images: Number of images.
        seen: Classes that the model was trained or selected on, if that was allowed.
        closed_set: Whether all classes are training classes, by design.
    """

    dataset: str = ""
    part: str = ALL
    classes: tuple[str, ...] = ()
    images: int = 0
    seen: tuple[str, ...] = ()
    closed_set: bool = False

    def _summary(self) -> Iterator[str]:
        images, classes = f"{self.images:,} images", f"{len(self.classes):,} classes"
        yield f"{self.dataset}, {self.part}: {images} of {classes}"
        yield from super()._summary()

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain values for JSON."""
        return super().to_json() | {
            "dataset": self.dataset,
            "part": self.part,
            "classes": list(self.classes),
            "images": self.images,
            "seen_classes": list(self.seen),
            "closed_set": self.closed_set,
        }


def evaluate(
    subject: Subject,
    dataset: Any = None,
    *,
    protocols: Sequence[str] | None = None,
    part: str | None = None,
    allow_seen: bool = False,
    baselines: bool = True,
    untrained: bool = False,
    episodes: str | Path | None = None,
    episodes_out: str | Path | None = None,
    pairs: str | Path | None = None,
    cosine: bool = False,
    data_root: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a run, a model (or its folder), or bare embeddings, on a dataset.

    Under `torchrun` all ranks embed, and the first alone evaluates; the others return no results.

    Args:
        subject: A run, a model, the folder of one, or embeddings float32 [N, D].
        dataset: A spec, a path or a Dataset. Default: the run's own, whose split also applies to a
            given dataset with the same images and labels. Of a dataset that has changed since, the
            classes that the run held out are tested. For embeddings: their labels [N], or
            :class:`Labels`.
        protocols: Specs of the protocols. Default: retrieval and oneshot.
        part: "train", "validation", "test" or "all". Default: the run's test part on its own
            dataset; on another the official test part, or all of it if it has none.
        allow_seen: Whether to include classes whose names the model was trained or selected on.
        baselines: Whether to evaluate raw pixels as well.
        untrained: Whether to evaluate the network at the start of the run's training as well.
        episodes: File of episodes to answer, by default nothing else.
        episodes_out: New file for the episodes that are drawn.
        pairs: CSV file of pairs of images to verify, by default nothing else.
        cosine: Whether to scale bare embeddings to unit length, so that they are compared by
            cosine.
        data_root: Folder of the datasets. Default: that of the run's recipe.
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.
        progress: Whether to print how many images are embedded.

    Returns:
        The metrics of the model and of its baselines.

    Raises:
        DataError: The model has seen the classes, or there are too few of them.
        MetricForgeError: As `load` and plugins raise.
    """
    registry = registry or Registry.installed()

    def questions(made: Dataset) -> Questions:
        return Questions.of(made, protocols, episodes, episodes_out, pairs, registry)

    table: Any = subject
    if hasattr(table, "to_numpy"):  # of pandas or polars
        subject = table.to_numpy()
    if isinstance(subject, Tensor | np.ndarray | list | tuple):
        subject = embedding_rows(subject)
        if part or allow_seen or untrained:
            raise UsageError("part, allow_seen and untrained are for models, not for embeddings.")
        if Runtime.resolve(device).device.type == "cuda":
            torch.cuda.init()
        return _of_arrays(subject, questions(_told(bare_dataset(subject, dataset))), cosine)
    run = run_of(subject)
    model = load_model(subject, device, registry)
    tested = tested_part(model, run, dataset, part, allow_seen, data_root, registry)
    overlap = tested.overlap_with(model)
    if overlap and not (tested.closed_set and tested.name == "test") and not allow_seen:
        raise DataError(overlap_message(overlap, tested.dataset, model))
    requested = questions(tested.dataset)
    models = {TRAINED: model}
    if untrained:
        name, before = untrained_model(model, run, registry)
        models[name] = before
    embeddings, validation = _embedded(models, tested, requested, baselines, progress)
    if not Ranks.current().first:
        return Evaluation({})
    select = run.recipe.select if run else SELECT
    measured = measure(embeddings, requested.protocols, requested.dataset, validation, select)
    requested.keep(measured)
    if run is not None and tested.split_hash and tested.name == "test":
        _record(run, tested, requested, measured)
    notes = (
        *tested.notes,
        *_pairs_left_out(requested.dataset, tested),
        *how_read(requested.dataset, model),
        *requested.dataset.warnings,
        *measured.notes,
    )
    return Evaluation(
        **vars(measured) | {"notes": notes},
        dataset=tested.dataset.name,
        part=tested.name,
        classes=tested.classes,
        images=len(tested.indices),
        seen=overlap,
        closed_set=tested.closed_set,
    )


def _pairs_left_out(dataset: Dataset, tested: Tested) -> Iterator[str]:
    """A note on listed pairs of images that are not tested."""
    if dataset.pairs is None:
        return
    out = int((~torch.isin(dataset.pairs, tested.indices).all(dim=1)).sum())
    if out:
        yield (
            f"{out:,} of {len(dataset.pairs):,} listed pairs have an image that is not in the part "
            f"'{tested.name}', and are left out."
        )


def _embedded(
    models: Mapping[str, EmbeddingModel],
    tested: Tested,
    questions: Questions,
    baselines: bool,
    progress: bool,
) -> tuple[Embedded, Embedded | None]:
    """The embeddings of the tested images, and of the validation images if they are needed."""
    dataset = tested.decoded
    parts = [tested.indices]
    if questions.want_validation and tested.validation is not None:
        parts.append(tested.validation)
    ranks = Ranks.current()
    own_part = -(-sum(map(len, parts)) * len(models) // ranks.count)
    line = count_line("images", own_part, progress and ranks.first)
    with line as done:
        first, *rest = [embed(models, dataset, part, baselines, done) for part in parts]
    return first, next(iter(rest), None)


def _record(run: Run, tested: Tested, questions: Questions, measured: Measured) -> None:
    """Record that a run's test classes were tested."""
    record: dict[str, Any] = {"part": "test", "split_hash": tested.split_hash, "by": "evaluate"}
    if tested.split is None:  # the dataset has changed since
        record["dataset_fingerprint"] = fingerprint(tested.dataset)
    of_model = measured.to_json()["results"][TRAINED]
    metrics = {"protocols": list(questions.protocols), "results": of_model}
    run.folder.append(run.folder.evaluations, record | metrics)


def _of_arrays(embeddings: NDArray[Any], questions: Questions, cosine: bool) -> Evaluation:
    if not Ranks.current().first:
        return Evaluation({})
    # A copy, since torch warns of an array that is a read-only map of a file.
    rows = torch.from_numpy(np.array(embeddings, dtype=np.float32))
    if cosine:
        # In float64 no length of a float32 row is too small or too large.
        rows = F.normalize(rows.double(), dim=1, eps=1e-300).float()
    part = Embedded({TRAINED: rows}, torch.arange(len(rows)))
    measured = measure(part, questions.protocols, questions.dataset)
    about = (*questions.dataset.notes, *questions.dataset.warnings)
    measured = replace(measured, notes=(*about, *measured.notes))
    questions.keep(measured)
    name, classes = questions.dataset.name, questions.dataset.classes
    return Evaluation(**vars(measured), dataset=name, classes=classes, images=len(rows))


def _told(dataset: Dataset) -> Dataset:
    """Labels of embeddings, with a note on flags that mark nothing."""
    if dataset.queries is None or dataset.gallery is None:
        return dataset
    if dataset.queries.any() or dataset.gallery.any():
        return dataset
    note = "no row is flagged as query or gallery: every row queries all others."
    return replace(dataset, notes=(*dataset.notes, note))
