"""Testing a model on a dataset, its own or another, on classes that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.batches import read_ahead
from metricforge.data.images import fingerprint, open_images
from metricforge.data.rules import PARTS
from metricforge.data.split import Split, split_dataset
from metricforge.errors import ArtefactError, DataError, UsageError, unknown
from metricforge.model import EmbeddingModel, fit, load
from metricforge.registry import Registry
from metricforge.runs.components import make_dataset, make_protocol
from metricforge.runs.folder import RunFolder
from metricforge.runs.measure import PIXELS, TRAINED, Measured, measure, pixels
from metricforge.runs.recipe import OBJECT
from metricforge.runs.run import Run
from metricforge.runtime import Runtime
from metricforge.spec import Spec

USUAL_PROTOCOLS = ("retrieval", "oneshot")
ALL = "all"

Subject = Run | EmbeddingModel | str | Path | Tensor | NDArray[Any]


@dataclass(frozen=True)
class Evaluation(Measured):
    """Measured numbers, and on what: the dataset, its part, the classes.

    `seen` lists the classes the model was trained or selected on, where that was allowed;
    `closed_set` says that they are all of them by design.
    """

    dataset: str = ""
    part: str = ALL
    classes: tuple[str, ...] = ()
    images: int = 0
    seen: tuple[str, ...] = ()
    closed_set: bool = False

    def to_json(self) -> dict[str, Any]:
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
    protocols: Sequence[str] = USUAL_PROTOCOLS,
    part: str | None = None,
    allow_seen: bool = False,
    baselines: bool = True,
    data_root: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
) -> Evaluation:
    """Measure a run, a model (or its folder), or bare embeddings, on a dataset.

    - `dataset`: a spec or a Dataset; None is the run's own. For embeddings [N, D], their
      labels [N].
    - `part`: train, validation, test or all; by default the run's test part on its own dataset,
      the official test part of another, or all of it where it has none.
    - `allow_seen`: measure classes, too, whose names the model was trained or selected on.
    - `baselines`: the numbers of raw pixels beside the model's.

    Raises DataError for seen classes or too few of them, and what `load` and plugins raise.
    """
    registry = registry or Registry.installed()
    protocols = (protocols,) if isinstance(protocols, str) else protocols
    named = {text: make_protocol(registry, text) for text in protocols}
    if isinstance(subject, Tensor | np.ndarray):
        return _bare(subject, dataset, named)
    run = _run_of(subject)
    model = subject if isinstance(subject, EmbeddingModel) else _load(subject, device, registry)
    own = dataset is None
    if own and run is None:
        raise UsageError("this model has no run beside it that says on what: name a dataset.")
    if run is not None and own:
        dataset, data_root = _own_dataset(run), data_root or run.recipe.data_root
    made = make_dataset(registry, dataset, data_root or "data")
    split = own_split(run, made) if run is not None and own else None
    chosen, indices = _part(made, split, part)
    labels = made.labels[indices]
    classes = tuple(made.classes[int(c)] for c in labels.unique())
    closed_set = split is not None and split.closed_set
    seen = tuple(sorted(set(classes) & set(model.card.seen_classes)))
    if seen and not (closed_set and chosen == "test") and not allow_seen:
        raise DataError(_seen_message(seen, made, model))
    measured = measure(embeddings_of(model, made, indices, baselines), named, made, indices)
    if run is not None and own and chosen == "test" and split is not None:
        record = {"part": chosen, "split_hash": split.hash, "by": "evaluate"}
        run.folder.append(run.folder.evaluations, record)
    return Evaluation(
        **vars(measured),
        dataset=made.name,
        part=chosen,
        classes=classes,
        images=len(indices),
        seen=seen,
        closed_set=closed_set,
    )


def _bare(embeddings: Tensor | NDArray[Any], labels: Any, protocols: dict[str, Any]) -> Evaluation:
    rows = torch.as_tensor(embeddings).float()
    if labels is None or len(labels) != len(rows) or rows.ndim != 2:
        raise DataError("embeddings [N, D] need their N labels as the second argument.")
    names, places = np.unique(np.asarray(labels), return_inverse=True)
    classes = tuple(str(name) for name in names)
    shape = (1, 1, 1)
    dataset = Dataset("embeddings", (), torch.from_numpy(places).long(), classes, shape)
    measured = measure({TRAINED: rows}, protocols, dataset, torch.arange(len(rows)))
    return Evaluation(**vars(measured), dataset="embeddings", classes=classes, images=len(rows))


def _run_of(subject: Subject) -> Run | None:
    if isinstance(subject, Run):
        return subject
    if isinstance(subject, str | Path) and (Path(subject) / "config.toml").is_file():
        return Run.open(subject)
    return None


def _load(subject: Subject, device: str, registry: Registry) -> EmbeddingModel:
    path = subject.path if isinstance(subject, Run) else Path(str(subject))
    if (path / "config.toml").is_file() and not (path / "model").is_dir():
        raise ArtefactError(
            f"{path} has no model yet: its training has not ended; go on with "
            f"metricforge train --resume {path}."
        )
    return load(path, device=device, registry=registry)


def _own_dataset(run: Run) -> str:
    named = str(run.recipe.dataset)
    if named.startswith(OBJECT):
        raise UsageError(
            f"{run.path} was trained on a Dataset of your own ({named[len(OBJECT) :]}): pass one, "
            "evaluate(run, dataset)."
        )
    return named


def own_split(run: Run, dataset: Dataset) -> Split:
    rule = run.recipe.split
    split = split_dataset(dataset, Spec.parse(rule) if rule else None)
    record = RunFolder(run.path).read("split")
    same = record.get("dataset_fingerprint") == fingerprint(dataset)
    if split.hash != record.get("hash") or not same:
        raise DataError(
            f"the dataset '{dataset.name}' is not the one that {run.path} was trained on: its "
            "images or classes have changed, so what was held out can't be told."
        )
    return split


def _part(dataset: Dataset, split: Split | None, part: str | None) -> tuple[str, Tensor]:
    """The part to measure, and the indices of its images."""
    everything = torch.arange(len(dataset))
    if part is not None and part not in (*PARTS, ALL):
        raise unknown("part", part, (*PARTS, ALL))
    if part == ALL:
        return ALL, everything
    if split is not None:
        name = part or "test"
        return name, split.part(name)
    if dataset.official is None:
        if part is not None:
            raise DataError(f"dataset '{dataset.name}' has no parts of its own; take --part all.")
        return ALL, everything
    name = part or "test"
    wanted = PARTS[name]
    indices = (dataset.official == wanted).nonzero().flatten()
    if len(indices) == 0:
        raise DataError(f"dataset '{dataset.name}' has no {name} part of its own.")
    return name, indices


def embeddings_of(
    model: EmbeddingModel, dataset: Dataset, indices: Tensor, baselines: bool
) -> dict[str, Tensor]:
    images = open_images(dataset)
    runtime = Runtime(next(model.parameters()).device)
    batches = (fit(batch, model.card.shape) for batch in read_ahead(images, indices.split(512)))
    found = {TRAINED: model.embed(batches, runtime)}
    if baselines:
        found[PIXELS] = pixels(images, indices)
    return found


def _seen_message(seen: tuple[str, ...], dataset: Dataset, model: EmbeddingModel) -> str:
    shown = ", ".join(seen[:8]) + (", ..." if len(seen) > 8 else "")
    return (
        f"{len(seen)} classes of '{dataset.name}' have names that the model was trained or "
        f"selected on (on '{model.card.trained_on}'): {shown}; a held-out number can't be "
        "measured on them. If they are other things, or you want it all the same, pass "
        "--allow-seen."
    )
