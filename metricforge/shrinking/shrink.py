"""Smaller embeddings of a model, compared with its own on the same images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Estimate, Result
from metricforge.errors import DataError, UsageError
from metricforge.judging.compare import paired_differences
from metricforge.judging.held_out import Tested
from metricforge.judging.part_choice import tested_part
from metricforge.judging.subject import Subject, load_model, run_of
from metricforge.model import EmbeddingModel
from metricforge.recipes.components import make_protocol
from metricforge.registry import Registry
from metricforge.report.progress import CountLine
from metricforge.runs.run import Run
from metricforge.scoring.embed import embed
from metricforge.scoring.measure import Embedded, results_of
from metricforge.scoring.pair_thresholds import pair_thresholds
from metricforge.shrinking.form import HEAD, Form, Shrinks, usual
from metricforge.shrinking.search_speed import SearchSpeed
from metricforge.spec import Spec

METRICS = ("recall@1", "map@r")
OWN = "as given"
MOST_FITTED = 20_000
"""Training images that a form is fitted to."""


@dataclass(frozen=True)
class Row:
    """One form of the embeddings.

    Args:
        name: What it is.
        bytes: Bytes of a packed row.
        queries: Queries a second among `SearchSpeed.ROWS` packed rows, on this machine.
        metrics: recall@1 and map@r.
        differences: The same minus those of the model's own embeddings, paired; empty for these.
    """

    name: str
    bytes: int
    queries: float
    metrics: dict[str, Estimate]
    differences: dict[str, Estimate]


@dataclass(frozen=True)
class Shrunken:
    """Forms of the embeddings of a model, on the same images.

    Args:
        dataset: Name of the dataset.
        part: Its part, e.g. "validation".
        images: The number of images.
        classes: The number of their classes.
        rows: The model's own embeddings, then each form.
        model: The model with the first form.
        notes: Sentences for the user.
    """

    dataset: str
    part: str
    images: int
    classes: int
    rows: tuple[Row, ...]
    model: EmbeddingModel
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The table as plain values for JSON."""
        about = {name: getattr(self, name) for name in ("dataset", "part", "images", "classes")}
        rows = [asdict(row) for row in self.rows]
        return about | {"rows": rows, "notes": list(self.notes)}


def shrink(
    subject: Subject,
    forms: Sequence[Form] = (),
    *,
    images: Any = None,
    part: str | None = None,
    data_root: str | None = None,
    registry: Registry | None = None,
    progress: bool = False,
) -> Shrunken:
    """Fit smaller forms of a run's embeddings to its training images, and compare them.

    Queries and gallery both have the form. The scores are leave-one-out retrieval, as of the
    protocol `retrieval`.

    Args:
        subject: A run or its folder.
        forms: The forms. Default: the usual ones, from half of the dimensions to a bit for each.
        images: Dataset to compare on. Default: that of the run.
        part: "train", "validation", "test" or "all". Default: the validation classes for the usual
            forms, among which one is to be chosen, else the held-out test classes.
        data_root: Folder of the run's dataset. Default: that of its recipe.
        registry: Registry of components. Default: what is installed.
        progress: Whether to print how many images are embedded.

    Raises:
        UsageError: The model is none of a run, is shrunk already, or has a head of one's own.
        DataError: There is no validation part, or no query with an image of its class.
    """
    registry = registry or Registry.installed()
    run = run_of(subject)
    if run is None:
        raise UsageError("smaller forms are fitted to training images: give a run, not a model.")
    model = load_model(subject, "cpu", registry)
    _refuse_unfit(model)
    made = [_head(model, form, registry) for form in forms or usual(model.card.dim)]
    if part is None and images is None and not forms:
        part = "validation"
    tested = tested_part(model, run, images, part, True, data_root, registry)
    training = tested_part(model, run, None, "train", True, data_root, registry)
    fitted = _some(training.indices)
    with _line(len(fitted) + len(tested.indices), progress) as done:
        known = embed({OWN: model}, training.decoded, fitted, False, done).rows[OWN]
        wide = embed({OWN: model}, tested.decoded, tested.indices, False, done).rows[OWN]
    for _, _, head in made:
        head.fit(known)
    rows = _compared(tested, wide, model.card.dim, made, registry)
    form, dim, head = made[0]
    small = _model(model, head, form.of(model.card)[0], dim)
    notes = (*tested.notes, *_choose_pairs(small, run, data_root, registry))
    classes = len(tested.dataset.labels[tested.indices].unique())
    return Shrunken(tested.dataset.name, tested.name, len(wide), classes, rows, small, notes)


def _refuse_unfit(model: EmbeddingModel) -> None:
    head = model.card.head
    if head.startswith("object "):
        raise UsageError(
            f"the model has a head of your own ({head[7:]}), which is not made by name: make it a "
            "plugin."
        )
    if Spec.parse(head).name == HEAD:
        raise UsageError("the model is shrunk already: shrink the one that it was made of.")


def _head(model: EmbeddingModel, form: Form, registry: Registry) -> tuple[Form, int, Any]:
    """An unfitted head of that form, around the model's own."""
    spec, dim = form.of(model.card)
    head = registry.build("head", Spec.parse(spec), {"in_features": model.width, "dim": dim})
    assert isinstance(head, Shrinks), "it is metricforge's own"
    head.of.load_state_dict(model.head.state_dict())
    return form, dim, head


def _some(indices: Tensor) -> Tensor:
    drawn = np.random.default_rng(0).permutation(indices.numpy())[:MOST_FITTED]
    return torch.from_numpy(np.sort(drawn))


def _line(count: int, progress: bool) -> AbstractContextManager[Any]:
    return CountLine("images", count) if progress else nullcontext()


def _compared(
    tested: Tested,
    wide: Tensor,
    width: int,
    made: Sequence[tuple[Form, int, Any]],
    registry: Registry,
) -> tuple[Row, ...]:
    """A row for the model's own embeddings, and one for each form."""
    with torch.inference_mode():
        small = [head.smaller(wide) for _, _, head in made]
    protocols = {"retrieval": make_protocol(registry, Spec.parse("retrieval"))}

    def scored(rows: Tensor) -> Result:
        part = Embedded({OWN: rows}, tested.indices)
        return results_of(OWN, part, protocols, tested.dataset, None)[0]

    own = scored(wide)
    table = [Row(OWN, 4 * width, SearchSpeed.flat(wide), _of(own.estimates), {})]
    for (form, dim, head), rows in zip(made, small, strict=True):
        result = scored(rows)
        differences = _of(paired_differences(own, result))
        speed = SearchSpeed.packed(head, rows)
        table.append(
            Row(form.name(dim), head.code_bytes, speed, _of(result.estimates), differences)
        )
    return tuple(table)


def _of(estimates: Any) -> dict[str, Estimate]:
    return {name: estimates[name] for name in METRICS}


def _model(model: EmbeddingModel, head: Any, spec: str, dim: int) -> EmbeddingModel:
    """The model with a fitted head; it has no thresholds for pairs yet."""
    card = replace(model.card, head=spec, dim=dim, pair_thresholds=())
    backbone = copy.deepcopy(model.backbone)
    return EmbeddingModel(backbone, head, card, model.adapters).eval()


def _choose_pairs(
    small: EmbeddingModel, run: Run, data_root: str | None, registry: Registry
) -> tuple[str, ...]:
    """Choose the thresholds of `verify` anew: those of other embeddings are distances there."""
    try:
        part = tested_part(small, run, None, "validation", True, data_root, registry)
    except DataError:
        return ("no class validates: the smaller model has no threshold for verify.",)
    rows = embed({OWN: small}, part.decoded, part.indices, False).rows[OWN]
    labels = part.dataset.labels[part.indices].numpy()
    small.card = replace(small.card, pair_thresholds=tuple(pair_thresholds(rows.numpy(), labels)))
    return ()
