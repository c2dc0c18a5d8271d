"""Smaller embeddings of a model, compared with its own on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Estimate
from metricforge.errors import UsageError, few
from metricforge.judging.compare import paired_differences
from metricforge.judging.held_out import Tested
from metricforge.judging.part_choice import tested_part
from metricforge.judging.rankings import main_metrics, ranked
from metricforge.judging.subject import Subject, load_model, run_of
from metricforge.model import EmbeddingModel
from metricforge.model_card import PairThreshold
from metricforge.registry import Registry
from metricforge.report.progress import count_line
from metricforge.scoring.embed import embed
from metricforge.scoring.pair_thresholds import pair_thresholds
from metricforge.shrinking.form import HEAD, EmbeddingForm, Shrinks, usual
from metricforge.shrinking.search_speed import flat_speed, packed_speed
from metricforge.spec import Spec

OWN = "as given"
UNJUDGED = "no class validates: the smaller model has no threshold for verify."
MOST_FITTED = 20_000
"""Training images that a form is fitted to."""


@dataclass(frozen=True)
class Row:
    """One form of the embeddings.

    Args:
        name: What it is.
        bytes: Bytes of a packed row.
        queries: Queries a second among 100,000 packed rows, on this machine.
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
        model: The model with the first of the forms that were named, or None.
        notes: Sentences for the user.
    """

    dataset: str
    part: str
    images: int
    classes: int
    rows: tuple[Row, ...]
    model: EmbeddingModel | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The table as plain values for JSON."""
        about = {name: getattr(self, name) for name in ("dataset", "part", "images", "classes")}
        rows = [asdict(row) for row in self.rows]
        return about | {"rows": rows, "notes": list(self.notes)}


@dataclass(frozen=True)
class _Fitted:
    """A head that shrinks, with its name in a table, its spec, and its dimensions."""

    name: str
    spec: str
    dim: int
    head: Any

    @classmethod
    def of(cls, model: EmbeddingModel, form: EmbeddingForm, registry: Registry) -> _Fitted:
        """One around the head of a model, that is yet to be fitted."""
        spec, dim = form.of(model.card)
        head = registry.build("head", Spec.parse(spec), {"in_features": model.width, "dim": dim})
        assert isinstance(head, Shrinks), "it is metricforge's own"
        head.of.load_state_dict(model.head.state_dict())
        return cls(form.name(dim), spec, dim, head)

    def put_on(
        self, model: EmbeddingModel, wide: Tensor | None, labels: Tensor | None
    ) -> EmbeddingModel:
        """The model with this head, on the CPU.

        Its thresholds for pairs are chosen by embeddings [M, W] of validation images, with labels
        int64 [M]: the distances of the model's own mean nothing to it.
        """
        thresholds: tuple[PairThreshold, ...] = ()
        if wide is not None and labels is not None:
            with torch.inference_mode():
                rows = self.head.smaller(wide).numpy()
            thresholds = tuple(pair_thresholds(rows, labels.numpy()))
        card = replace(model.card, head=self.spec, dim=self.dim, pair_thresholds=thresholds)
        return EmbeddingModel(model.backbone.cpu(), self.head, card, model.adapters).eval()


def shrink(
    subject: Subject,
    forms: Sequence[EmbeddingForm] = (),
    *,
    images: Any = None,
    part: str | None = None,
    data_root: str | None = None,
    device: str = "auto",
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
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.
        progress: Whether to print how many images are embedded.

    Raises:
        UsageError: The model is none of a run, is shrunk already, or has a head of one's own.
        DataError: There is no validation part, or no query with an image of its class.
    """
    registry = registry or Registry.installed()
    run = run_of(subject)
    model = load_model(subject, device, registry)
    _refuse_unfit(model)
    if run is None:
        raise UsageError(
            "a model alone has no training images, which smaller forms are fitted to: give its run."
        )
    made = [_Fitted.of(model, form, registry) for form in forms or usual(model.card.dim)]
    if part is None and images is None and not forms:
        part = "validation"
    tested = tested_part(model, run, images, part, False, data_root, registry)
    own = tested
    if tested.split is None:  # another dataset than the run's
        own = tested_part(model, run, None, None, False, data_root, registry)
    fitted = _some(Tested.of(own.dataset, own.split, "train").indices)
    judges = _validating(own) if forms else None
    counts = map(len, (fitted, tested.indices, judges if judges is not None else ()))
    with count_line("images", sum(counts), progress) as done:

        def embedded(part: Tested, indices: Tensor) -> Tensor:
            return embed({OWN: model}, part.decoded, indices, False, done).rows[OWN]

        known, wide = embedded(own, fitted), embedded(tested, tested.indices)
        validating = None if judges is None else embedded(own, judges)
    made, unfit = _fit(made, known, skip=not forms)
    rows = _compared(tested, wide, model.card.dim, made, registry)
    small = None
    if forms:
        labels = None if judges is None else own.dataset.labels[judges]
        small = made[0].put_on(model, validating, labels)
        unfit += () if judges is not None else (UNJUDGED,)
    notes = (*tested.notes, *_on_seen(tested, model), *unfit)
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
        raise UsageError("the model is shrunk already: give a run with another head.")


def _fit(
    made: Sequence[_Fitted], known: Tensor, skip: bool
) -> tuple[list[_Fitted], tuple[str, ...]]:
    """Those that could be fitted, and why others could not; an error if none may be skipped."""
    fitted: list[_Fitted] = []
    notes: dict[str, None] = {}  # each once
    for each in made:
        try:
            each.head.fit(known)
        except UsageError as error:
            if not skip:
                raise
            notes[str(error)] = None
        else:
            fitted.append(each)
    return fitted, tuple(notes)


def _on_seen(tested: Tested, model: EmbeddingModel) -> Iterator[str]:
    """A note on classes that the model knows, where the question is of others."""
    validates = tested.split is not None and tested.name == "validation"
    closed = tested.closed_set and tested.name == "test"
    seen = () if validates or closed else tested.overlap_with(model)
    if seen:
        yield (
            f"the model was trained or selected on {len(seen)} of the classes ({few(seen)}): "
            "smaller embeddings may cost more on others."
        )


def _some(indices: Tensor) -> Tensor:
    drawn = np.random.default_rng(0).permutation(indices.numpy())[:MOST_FITTED]
    return torch.from_numpy(np.sort(drawn))


def _compared(
    tested: Tested,
    wide: Tensor,
    width: int,
    made: Sequence[_Fitted],
    registry: Registry,
) -> tuple[Row, ...]:
    """A row for the model's own embeddings, and one for each form."""
    with torch.inference_mode():
        small = [each.head.smaller(wide) for each in made]
    own = ranked(OWN, wide, tested.dataset, registry, tested.indices)
    table = [Row(OWN, 4 * width, flat_speed(wide), main_metrics(own.estimates), {})]
    for each, rows in zip(made, small, strict=True):
        result = ranked(each.name, rows, tested.dataset, registry, tested.indices)
        metrics, speed = main_metrics(result.estimates), packed_speed(each.head, rows)
        apart = main_metrics(paired_differences(own, result))
        table.append(Row(each.name, each.head.code_bytes, speed, metrics, apart))
    return tuple(table)


def _validating(own: Tested) -> Tensor | None:
    """The validation images of a run; None if their classes trained it, or if there are none."""
    split = own.split
    if split is None or split.closed_set or not len(split.validation):
        return None
    return split.validation
