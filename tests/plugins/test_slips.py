"""Slips of plugin writers: each is met with a sentence, by a training and by the kit alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metricforge_standard.losses.triplet import Triplet
from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.protocols.retrieval import Retrieval
from metricforge_standard.samplers.balanced import Balanced
from numpy.typing import NDArray
from torch import Tensor

import metricforge
from metricforge.contracts import (
    Build,
    Counted,
    InnerSpec,
    Labelled,
    Result,
    Sampler,
    Triplets,
)
from metricforge.errors import DivergedError, PluginError
from metricforge.scoring.apply import apply_protocol
from metricforge.spec import Spec, bind, complete, options_of
from metricforge.testing import check

QUICK: dict[str, Any] = {
    "dataset": "digits", "orientations": 1, "images": 64, "backbone": "conv4:channels=4",
    "dim": 8, "protocols": "retrieval", "progress": False,
}  # fmt: skip


class Hard(Balanced):
    """Balanced batches, of which the hardest triplets are compared."""

    default_loss = "triplet"

    def __init__(self, labels: Tensor) -> None:
        super().__init__(labels, per_class=2)
        self.miner = BatchHard()


class Refreshes(Hard):
    """A sampler that means `refresh`."""

    def refesh(self, embeddings: Tensor) -> None: ...


class Suggests:
    """A sampler that means `default_loss`."""

    default_los = "triplet"
    miner = BatchHard()

    def __init__(self, labels: Tensor) -> None:
        self.epoch = Hard(labels).epoch


class Remembers(Hard):
    """A sampler that means `remember`; letters are swapped."""

    def remembre(self, embeddings: Tensor, labels: Tensor, images: Tensor) -> None: ...


class Listens:
    """A hook that means `on_step`, beside a right `on_epoch`."""

    def on_steps(self, record: Mapping[str, Any], embeddings: Tensor) -> None: ...

    def on_epoch(self, record: Mapping[str, Any]) -> None: ...


class Accepts:
    """A loss that means `accepts`."""

    accept = (Triplets,)

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Any) -> Tensor:
        return embeddings.sum()


class Leaves(BatchHard):
    """A miner that means `left_to`."""

    def leftto(self, loss: Any) -> None: ...


class Activates:
    """A loss that says by an attribute what it has counted."""

    active = 3

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Any) -> Tensor:
        return embeddings.sum()


class Changes(Triplet):
    """A loss that changes the call and not what a training calls."""

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Any) -> Tensor:
        return 2 * super().__call__(embeddings, labels, tuples)


NEAR_MISSES: list[tuple[str, Callable[..., Any], str]] = [
    ("sampler", Refreshes, "has `refesh`, which nothing calls; did you mean `refresh`"),
    ("sampler", Suggests, "has `default_los`, .* did you mean `default_loss`"),
    ("sampler", Remembers, "has `remembre`, .* did you mean `remember`"),
    ("hook", Listens, "has `on_steps`, .* did you mean `on_step`"),
    ("loss", Accepts, "has `accept`, .* did you mean `accepts`"),
    ("miner", Leaves, "has `leftto`, .* did you mean `left_to`"),
    ("loss", Activates, "has `active`, which nothing reads: the count is what `counted"),
    ("loss", Changes, "override `counted`, and let the call return its value"),
]


@pytest.mark.fault(79)
@pytest.mark.parametrize(("kind", "component", "told"), NEAR_MISSES, ids=lambda x: str(x)[-40:])
def test_a_name_that_is_nearly_a_member_is_refused(
    kind: str, component: Callable[..., Any], told: str, tmp_path: Path
) -> None:
    (first, *_) = check(kind, component).failures
    assert first.check == "builds"
    assert re.search(told, first.says)
    options = {**QUICK, "loss": "triplet", {"hook": "hooks"}.get(kind, kind): component}
    with pytest.raises(PluginError, match=told) as caught:
        metricforge.train(out=tmp_path / "r", **options)
    assert component.__name__ in str(caught.value)


class Slots:
    """A miner that has no __dict__, and takes the margin."""

    __slots__ = ("seen",)
    kind = Triplets

    def __init__(self) -> None:
        self.seen: list[float | None] = []

    def __call__(self, embeddings: Tensor, labels: Tensor, margin: float | None = None) -> Triplets:
        self.seen.append(margin)
        return BatchHard()(embeddings, labels)


def test_a_margin_is_handed_over_in_the_call(tmp_path: Path) -> None:
    miner = Slots()
    metricforge.train(out=tmp_path / "r", miner=miner, loss="triplet:margin=0.3", **QUICK)
    assert set(miner.seen) == {0.3}


class Pooling(Enum):
    """Two ways."""

    MEAN = "mean"
    MAX = "max"


class Options:
    """Options of every kind."""

    def __init__(
        self,
        *,
        weights: tuple[float, ...] = (1.0, 0.5),
        steps: tuple[int, ...] = (),
        pooling: Pooling = Pooling.MEAN,
        either: int | tuple[int, ...] = 3,
    ) -> None: ...


def test_an_option_may_be_a_tuple_or_an_enum() -> None:
    spec = Spec.parse("options:weights=1e+3+2.5,steps=1+2,pooling=max,either=4+5")
    assert bind(Options, spec, "options") == {
        "weights": (1000.0, 2.5), "steps": (1, 2), "pooling": Pooling.MAX, "either": (4, 5),
    }  # fmt: skip
    whole = str(complete(Options, Spec("options"), "options"))
    assert whole == "options:weights=1.0+0.5,steps=,pooling=mean,either=3"
    assert bind(Options, Spec.parse(whole), "options")["weights"] == (1.0, 0.5)


def lists(*, sizes: list[int] = []) -> None: ...  # noqa: B006
def texts(*, size: int = "many") -> None: ...  # type: ignore[assignment]
def numbers(*, size: bool = 1) -> None: ...  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (lists, r"list\[int\] is not one"),
        (lists, r"tuple\[int, \.\.\.\]"),
        (texts, "its default 'many' is none"),
        (numbers, "its default 1 is none"),
    ],
)
def test_an_option_or_a_default_of_another_type_is_refused(
    factory: Callable[..., Any], told: str
) -> None:
    with pytest.raises(PluginError, match=told):
        options_of(factory)


class WithoutMiner:
    """A sampler that brings no miner and suggests no loss."""

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        yield torch.from_numpy(rng.permutation(len(self._labels)))


def test_a_sampler_without_a_miner_is_told_of_that_first(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="WithoutMiner must bring a miner"):
        metricforge.train(out=tmp_path / "r", sampler=WithoutMiner, **QUICK)


class Arrays(WithoutMiner):
    """A sampler that yields arrays."""

    default_loss = "triplet"
    miner = BatchHard()

    def epoch(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:  # type: ignore[override]
        order = rng.permutation(len(self._labels))
        yield from (order[start : start + 64] for start in range(0, len(order), 64))


def test_an_epoch_may_yield_arrays(tmp_path: Path) -> None:
    run = metricforge.train(out=tmp_path / "r", sampler=Arrays, **QUICK)
    assert run.finished
    failed = {found.check for found in check("sampler", Arrays).failures}
    assert "batches-are-indices" not in failed


WRAPS = '''
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge.contracts import Build, InnerSpec, Sampler


class Twice:
    """Each epoch of another sampler, twice."""

    def __init__(self, build: Build[Sampler], *, inner: InnerSpec = "balanced") -> None:
        self._inner = build(inner)
        self.miner = self._inner.miner

    def epoch(self, rng: np.random.Generator) -> Iterator[object]:
        yield from self._inner.epoch(rng)
        yield from self._inner.epoch(rng)
'''


@pytest.mark.exhaustive
def test_a_wrapper_is_typed(tmp_path: Path) -> None:
    """As mypy --strict sees it; `build` gives a component of the same kind."""
    from mypy import api

    (tmp_path / "twice.py").write_text(WRAPS)
    told, _, code = api.run(["--strict", "--no-incremental", str(tmp_path / "twice.py")])
    assert code == 0, told
    assert Build[Sampler]
    assert InnerSpec


class Undefined:
    """A protocol that does not say what its metric is."""

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        found = Retrieval().evaluate(embeddings, images)
        return Result({"purity": found.estimates["recall@1"]})


def test_a_metric_needs_a_definition(tmp_path: Path) -> None:
    images = Labelled(torch.tensor([0, 0, 1, 1]), ("a", "b"))
    with pytest.raises(
        PluginError, match=r"Undefined must say in Result\.definitions what 'purity'"
    ):
        apply_protocol(Undefined(), torch.eye(4), images)
    assert "estimates-are-defined" in {f.check for f in check("protocol", Undefined).failures}


def test_no_protocol_sees_what_is_not_finite() -> None:
    images = Labelled(torch.tensor([0, 0, 1, 1]), ("a", "b"))
    rows = torch.eye(4)
    rows[1, 2] = torch.nan
    with pytest.raises(DivergedError, match="NaN or infinite"):
        apply_protocol(Undefined(), rows, images)


class NeverZero:
    """A loss that is not zero without tuples."""

    accepts = (Triplets,)

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Any) -> Tensor:
        return Triplet()(embeddings, labels, tuples) + 1


def test_a_loss_must_be_zero_without_tuples() -> None:
    (failed,) = check("loss", NeverZero).failures
    assert failed.check == "no-tuples-give-zero"
    assert "gave 1 without tuples" in failed.says


class MiscountsTriplets(Triplet):
    """A loss that counts more triplets than there are."""

    def counted(self, embeddings: Tensor, labels: Tensor, tuples: Any) -> Counted:
        value, active = super().counted(embeddings, labels, tuples)
        return Counted(value, active + 10**9)


def test_a_count_is_of_the_tuples_that_there_are() -> None:
    failed = {found.check for found in check("loss", MiscountsTriplets).failures}
    assert failed == {"counted-gives-the-value"}


@pytest.mark.fault(80)
def test_a_miner_with_slots_and_without_a_margin_trains(tmp_path: Path) -> None:
    class Slotted:
        __slots__ = ("margin", "miner")
        kind = Triplets

        def __init__(self) -> None:
            self.margin, self.miner = None, BatchHard()

        def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
            return self.miner(embeddings, labels)

    run = metricforge.train(miner=Slotted(), sampler="balanced:classes=4,per_class=4",
                            loss="triplet", out=tmp_path / "run", **QUICK)  # fmt: skip
    assert run.finished
