"""The contract of a hook: it observes a training and changes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from metricforge.contracts import KINDS, OnEnd, OnEpoch, OnStep
from metricforge.testing.checks import Broken, checks
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject

STEP: Mapping[str, Any] = {
    "epoch": 1, "step": 1, "steps_in_epoch": 2, "loss": 0.5, "tuples": None, "images": 4,
    "seconds": 0.1, "lr": 1e-3, "spent": 0.25, "possible": None, "active": None,
    "gradient_norm": None, "active_share": None, "chosen_share": None,
}  # fmt: skip
EPOCH: Mapping[str, Any] = {
    "epoch_end": True, "epoch": 1, "step": 2, "loss": 0.4, "empty_batches": 0,
    "validation": {"map@r": 0.5, "recall@1": 0.75}, "best": True, "seconds": 0.2,
    "active_share": None, "chosen_share": None, "spread": None, "effective_rank": None,
    "collapsed": False, "validation_loss": None, "validation_accuracy": None,
    "validation_loss_failed": None,
}  # fmt: skip


def builds(subject: Subject) -> None:
    """It is built from the run's folder, the steps behind it, and its options."""
    in_a_folder(subject, lambda hook: None)


def listens(subject: Subject) -> None:
    """It has `on_step`, `on_epoch` or `on_end`, and each that it has can be called."""

    def check(hook: Any) -> None:
        if not isinstance(hook, OnStep | OnEpoch | OnEnd):
            raise Broken(f"listens to nothing; give it one of {', '.join(KINDS['hook'].members)}.")

    in_a_folder(subject, check)


def takes_what_it_is_told(subject: Subject) -> None:
    """Steps and epochs, whatever in their records is None, an end, and a resumed run."""
    for step in (0, 7):
        in_a_folder(subject, short_training, step)


def records_and_embeddings_stay(subject: Subject) -> None:
    """It leaves the records and the embeddings that it is given as they are."""

    def check(hook: Any) -> None:
        step, epoch, rows = dict(STEP), {**EPOCH, "validation": dict(EPOCH["validation"])}, _rows()
        _call(hook, "on_step", step, rows)
        _call(hook, "on_epoch", epoch)
        if step != STEP or epoch != EPOCH:
            raise Broken("changed a record; copy it first.")
        if not rows.equal(_rows()):
            raise Broken("changed the embeddings; copy them first.")

    in_a_folder(subject, check)


def global_generators_stay(subject: Subject) -> None:
    """Building and telling it leave the generators of python, numpy and torch alone."""
    set_globals(1)
    with untouched("a hook"):
        in_a_folder(subject, short_training)


HOOK_CHECKS = checks(
    builds,
    listens,
    takes_what_it_is_told,
    records_and_embeddings_stay,
    global_generators_stay,
    first=3,
)


def short_training(hook: Any) -> None:
    """Call a hook for a step and an epoch."""
    _call(hook, "on_step", dict(STEP), _rows())
    _call(hook, "on_epoch", {**EPOCH, "validation": dict(EPOCH["validation"])})


def in_a_folder(subject: Subject, act: Callable[[Any], None], step: int = 0) -> None:
    """Build it for the temporary folder of a run, and act on it."""
    with tempfile.TemporaryDirectory() as folder:
        hook = subject.build(folder=Path(folder), step=step)
        try:
            act(hook)
        finally:
            # As after a training: then it finishes its writes in the background.
            _call(hook, "on_end")


def _call(hook: Any, member: str, *arguments: Any) -> None:
    if listener := getattr(hook, member, None):
        listener(*arguments)


def _rows() -> torch.Tensor:
    return torch.arange(12, dtype=torch.float32).view(4, 3)
