"""The contract of a sampler that remembers: further embeddings, with their own labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import Remembering
from metricforge.enforcement import check_memory, checked_batches
from metricforge.runtime import generator
from metricforge.testing.checkpoints import put_state, state_of
from metricforge.testing.checks import Broken, Skipped, obey
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.sampler.train_sets import BALANCED, ORDINARY, TrainSet, unit_rows
from metricforge.testing.subject import Subject

Memory = tuple[Tensor, Tensor]


def step_through(
    sampler: Any, case: TrainSet, batches: list[Tensor], epoch: int = 0, dtype: Any = torch.float32
) -> list[Memory]:
    """The memory at each step of an epoch of random embeddings."""
    return [memory for _, memory in _steps(sampler, case, batches, epoch, dtype)]


def remembers_as_agreed(subject: Subject) -> None:
    """`remember` gives embeddings [M, D] and int64 labels [M] like the batch's, and no gradient."""
    _must_remember(subject)
    for dtype in (torch.float32, torch.bfloat16):
        for case in ORDINARY:
            with case.as_input():
                sampler = _made(subject, case)
                step_through(sampler, case, _batches(sampler, case), dtype=dtype)


def remembers_true_labels(subject: Subject) -> None:
    """What it remembers has the labels it came with, and is finite."""
    _must_remember(subject)
    for case in ORDINARY:
        with case.as_input():
            sampler = _made(subject, case)
            came_with: dict[bytes, int] = {}
            for (rows, labels), memory in _steps(sampler, case, _batches(sampler, case)):
                came_with |= dict(zip(_keys(rows), labels.tolist(), strict=True))
                _check_true(memory, came_with, case)


def remembers_no_row_of_the_batch(subject: Subject) -> None:
    """What it remembers holds no row of the batch itself: an image would meet itself."""
    _must_remember(subject)
    for case in ORDINARY:
        with case.as_input():
            sampler = _made(subject, case)
            for (rows, _), memory in _steps(sampler, case, _batches(sampler, case)):
                again = set(_keys(rows)) & set(_keys(memory[0]))
                if again:
                    raise Broken(
                        f"gave back {len(again)} rows of the batch it was asked with; give what "
                        "was there before, then store the batch."
                    )


def remembering_changes_nothing(subject: Subject) -> None:
    """`remember` leaves its arguments and the global generators alone, and depends on no other."""
    _must_remember(subject)
    memories = []
    for seed in (1, 2):
        set_globals(seed)
        sampler = _made(subject, BALANCED)
        batches = _batches(sampler, BALANCED)
        originals = [batch.clone() for batch in batches]
        with untouched("remember"):
            memories.append(step_through(sampler, BALANCED, batches))
        if not all(a.equal(b) for a, b in zip(batches, originals, strict=True)):
            raise Broken("changed the indices of a batch; work on a copy.")
    if not _same(*memories):
        raise Broken("remembered other rows for the same steps; draw from no global generator.")


def memory_resumes(subject: Subject) -> None:
    """Given its saved state in the middle of an epoch, it remembers what it would have."""
    _must_remember(subject)
    for case in ORDINARY:
        with case.as_input():
            straight = _made(subject, case)
            batches = _batches(straight, case)
            half = max(1, len(batches) // 2)
            step_through(straight, case, batches[:half])
            saved = state_of(straight)
            expected = step_through(straight, case, batches[half:], epoch=1)
            resumed = _made(subject, case)
            put_state(resumed, saved)
            if not _same(step_through(resumed, case, batches[half:], epoch=1), expected):
                raise Broken(
                    "remembered other rows after it was built anew from its state; keep its "
                    "memory, and where it is in it, in state_dict and load_state_dict."
                )


def _steps(
    sampler: Any, case: TrainSet, batches: list[Tensor], epoch: int = 0, dtype: Any = torch.float32
) -> Iterator[tuple[Memory, Memory]]:
    """The batch and the memory of each step, the memory checked for its form."""
    for step, batch in enumerate(batches):
        # Other rows at each step: a row that comes twice is one that was remembered.
        rows = unit_rows(len(batch), seed=10_000 * (epoch + 1) + step).to(dtype)
        labels, embeddings = case.labels[batch], rows.clone()
        memory = sampler.remember(embeddings, labels.clone(), batch)
        if not embeddings.equal(rows):
            raise Broken("changed the embeddings of the batch in remember; work on a copy.")
        obey(check_memory, sampler, memory, rows)
        # A copy: a sampler may return its store, which the next step changes.
        yield (rows, labels), (memory[0].clone(), memory[1].clone())


def _check_true(memory: Memory, came_with: dict[bytes, int], case: TrainSet) -> None:
    rows, labels = memory
    if not bool(rows.isfinite().all()):
        raise Broken("remembered rows that are not finite; give only rows that were filled.")
    if len(labels) and not bool(torch.isin(labels, case.labels).all()):
        raise Broken("remembered labels that no image has; give only rows that were filled.")
    for key, label in zip(_keys(rows), labels.tolist(), strict=True):
        if came_with.get(key, label) != label:
            raise Broken(
                f"remembered an embedding of class {came_with[key]} with the label {label}; "
                "store rows and labels together."
            )


def _must_remember(subject: Subject) -> None:
    if not isinstance(_made(subject, BALANCED), Remembering):
        raise Skipped("it has no remember.")


def _made(subject: Subject, case: TrainSet) -> Any:
    return subject.build(labels=case.labels.clone(), groups=case.groups)


def _batches(sampler: Any, case: TrainSet) -> list[Tensor]:
    """Two epochs of batches: enough to fill a memory and overwrite it."""
    return [
        batch
        for epoch in range(2)
        for batch in checked_batches(sampler, generator(0, epoch), case.size, epoch)
    ]


def _keys(rows: Tensor) -> list[bytes]:
    return [row.numpy().tobytes() for row in rows.float()]


def _same(first: list[Memory], second: list[Memory]) -> bool:
    return len(first) == len(second) and all(
        a.equal(b)
        for left, right in zip(first, second, strict=True)
        for a, b in zip(left, right, strict=True)
    )


MEMORY_CHECKS: tuple[Callable[[Subject], None], ...] = (
    remembers_as_agreed,
    remembers_true_labels,
    remembers_no_row_of_the_batch,
    remembering_changes_nothing,
    memory_resumes,
)
