"""Testing a model on a dataset, its own or another, on classes that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset, EvaluationProtocol
from metricforge.data.arrays import bare_dataset
from metricforge.data.batches import read_ahead
from metricforge.data.images import open_images
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.model import EmbeddingModel, build, fit, load
from metricforge.registry import Registry
from metricforge.runs.components import make_dataset, make_protocol
from metricforge.runs.episodes import read_episodes, write_episodes
from metricforge.runs.measure import PIXELS, TRAINED, UNTRAINED, Embedded, Measured, measure, pixels
from metricforge.runs.parts import ALL, own_split, part_of, seen_message, validation_of
from metricforge.runs.recipe import OBJECT
from metricforge.runs.run import Run
from metricforge.runs.selection import wants_validation
from metricforge.runtime import Runtime, seed_torch

USUAL_PROTOCOLS = ("retrieval", "oneshot")

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
    protocols: Sequence[str] | None = None,
    part: str | None = None,
    allow_seen: bool = False,
    baselines: bool = True,
    untrained: bool = False,
    episodes: str | Path | None = None,
    episodes_out: str | Path | None = None,
    data_root: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
) -> Evaluation:
    """Measure a run, a model (or its folder), or bare embeddings, on a dataset.

    - `dataset`: a spec or a Dataset; None is the run's own. For embeddings [N, D], their
      labels [N], or :class:`Labels`.
    - `protocols`: specs; retrieval and oneshot by default.
    - `part`: train, validation, test or all; by default the run's test part on its own dataset,
      the official test part of another, or all of it where it has none.
    - `allow_seen`: measure classes, too, whose names the model was trained or selected on.
    - `baselines`: the numbers of raw pixels beside the model's; `untrained`: those of the same
      network before training, too.
    - `episodes`: a file of episodes to answer, and by default nothing else; `episodes_out`: a
      new file for those that are drawn.

    Raises DataError for seen classes or too few of them, and what `load` and plugins raise.
    """
    registry = registry or Registry.installed()
    if isinstance(subject, Tensor | np.ndarray):
        made = bare_dataset(subject, dataset)
        asked = _Questions.read(made, protocols, episodes, registry)
        rows = torch.as_tensor(subject).float()
        part_of_it = Embedded({TRAINED: rows}, torch.arange(len(rows)))
        measured = measure(part_of_it, asked.protocols, asked.dataset)
        _keep(measured, made, episodes_out)
        return Evaluation(
            **vars(measured), dataset=made.name, classes=made.classes, images=len(rows)
        )
    run = _run_of(subject)
    model = subject if isinstance(subject, EmbeddingModel) else _load(subject, device, registry)
    own = dataset is None
    if own and run is None:
        raise UsageError("this model has no run beside it that says on what: name a dataset.")
    if run is not None and own:
        dataset, data_root = _own_dataset(run), data_root or run.recipe.data_root
    made = make_dataset(registry, dataset, data_root or "data")
    split = own_split(run, made) if run is not None and own else None
    chosen, indices = part_of(made, split, part)
    classes = tuple(made.classes[int(c)] for c in made.labels[indices].unique())
    closed_set = split is not None and split.closed_set
    seen = tuple(sorted(set(classes) & set(model.card.seen_classes)))
    if seen and not (closed_set and chosen == "test") and not allow_seen:
        raise DataError(seen_message(seen, made, model))
    asked = _Questions.read(made, protocols, episodes, registry)
    models = {TRAINED: model}
    if untrained:
        models[UNTRAINED] = _before_training(model, run, registry)
    validation = validation_of(made, split, chosen) if asked.want_validation else None
    measured = measure(
        embedded(models, asked.dataset, indices, baselines),
        asked.protocols,
        asked.dataset,
        None if validation is None else embedded(models, made, validation, baselines),
    )
    _keep(measured, made, episodes_out)
    if run is not None and own and chosen == "test" and split is not None:
        record = {"part": chosen, "split_hash": split.hash, "by": "evaluate"}
        of_model = measured.to_json()["results"][TRAINED]
        run.folder.append(run.folder.evaluations, record | {"results": of_model})
    return Evaluation(
        **vars(measured),
        dataset=made.name,
        part=chosen,
        classes=classes,
        images=len(indices),
        seen=seen,
        closed_set=closed_set,
    )


@dataclass(frozen=True)
class _Questions:
    """What is asked: the protocols by spec, and the dataset with the episodes of a file."""

    dataset: Dataset
    protocols: Mapping[str, EvaluationProtocol]

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        protocols: Sequence[str] | None,
        episodes: str | Path | None,
        registry: Registry,
    ) -> _Questions:
        specs = (protocols,) if isinstance(protocols, str) else tuple(protocols or ())
        if episodes is not None:
            given = read_episodes(Path(episodes), dataset)
            dataset = replace(dataset, trials={**dataset.trials, **given})
            specs = (*specs, *(f"oneshot:official={name}" for name in given))
        named = {text: make_protocol(registry, text) for text in specs or USUAL_PROTOCOLS}
        return cls(dataset, named)

    @property
    def want_validation(self) -> bool:
        return any(wants_validation(protocol) for protocol in self.protocols.values())


def _keep(measured: Measured, dataset: Dataset, path: str | Path | None) -> None:
    """Write the episodes that were drawn to a new file."""
    if path is None:
        return
    if not measured.trials:
        raise UsageError("no protocol here draws episodes to write; add --protocol oneshot.")
    write_episodes(Path(path), measured.trials, dataset)


def _before_training(model: EmbeddingModel, run: Run | None, registry: Registry) -> EmbeddingModel:
    """The same network with the weights that training began with, or fresh ones without a run.

    What was pretrained begins anew.
    """
    card = model.card
    if card.backbone.startswith(OBJECT) or card.head.startswith(OBJECT):
        raise UsageError("a network of your own can't be built anew: leave out --untrained.")
    seed_torch(run.recipe.seed if run else 0)
    bare = build(registry, card, None, None)
    return bare.to(next(model.parameters()).device).eval()


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


def embedded(
    models: Mapping[str, EmbeddingModel], dataset: Dataset, indices: Tensor, baselines: bool
) -> Embedded:
    """The embeddings of each model, and raw pixels as a baseline."""
    images = open_images(dataset)
    rows: dict[str, Tensor] = {}
    for name, model in models.items():
        runtime = Runtime(next(model.parameters()).device)
        batches = (fit(batch, model.card.shape) for batch in read_ahead(images, indices.split(512)))
        rows[name] = model.embed(batches, runtime)
    if baselines:
        rows[PIXELS] = pixels(images, indices)
    return Embedded(rows, indices)
