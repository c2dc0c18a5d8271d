"""Epochs after the first: of a sampler that was refreshed, or that was stopped and built anew."""

from __future__ import annotations

import torch

from metricforge.contracts import Refreshing, Scheduled
from metricforge.testing.checkpoints import put_state, state_of
from metricforge.testing.checks import Broken, Skipped
from metricforge.testing.sampler.fixture import (
    CHANGES,
    check_complete,
    drawn,
    lived_through,
    made,
    mined,
    same_batches,
)
from metricforge.testing.sampler.train_sets import BALANCED, ORDINARY
from metricforge.testing.subject import Subject
from metricforge.testing.tuples import alike

EPOCHS = 3


def resumes_exactly(subject: Subject) -> None:
    """Built anew and given its saved state, it continues with the very same batches."""
    for case in ORDINARY:
        with case.as_input():
            straight = made(subject, case)
            batches, saved = [], []
            for epoch in range(EPOCHS):
                batches.append(lived_through(straight, case, epoch))
                saved.append(state_of(straight))
            for epoch in range(1, EPOCHS):
                resumed = made(subject, case)
                put_state(resumed, saved[epoch - 1])
                if not same_batches(lived_through(resumed, case, epoch), batches[epoch]):
                    raise Broken(
                        f"drew another epoch {epoch + 1} when it was built anew than when it went "
                        "on; keep what it depends on in state_dict and load_state_dict."
                    )


def miners_resume(subject: Subject) -> None:
    """Given its saved state in the middle of an epoch, its miners of that epoch are the same."""
    if not isinstance(made(subject, BALANCED), Scheduled):
        raise Skipped("it has no miner_at.")
    for case in ORDINARY:
        with case.as_input():
            straight = made(subject, case)
            for epoch in range(CHANGES):
                batches = lived_through(straight, case, epoch)
                resumed = made(subject, case)
                put_state(resumed, state_of(straight))
                # As the core does: it has saved the batches, and only requests the miners.
                for step, batch in enumerate(batches):
                    expected = mined(straight, case, batch, step, epoch)
                    if not alike(mined(resumed, case, batch, step, epoch), expected):
                        raise Broken(
                            f"named another miner for step {step} of epoch {epoch} when it was "
                            "built anew; keep what miner_at depends on in state_dict and "
                            "load_state_dict."
                        )


def refresh_keeps_epochs_whole(subject: Subject) -> None:
    """After `refresh(embeddings)` an epoch still shows every image, and the embeddings stay."""
    if not isinstance(made(subject, BALANCED), Refreshing):
        raise Skipped("it has no refresh.")
    for case in ORDINARY:
        for name, rows in (
            ("random embeddings", case.embeddings(0)),
            ("embeddings that are all the same", torch.ones(case.size, 16) / 4),
        ):
            with case.as_input():
                sampler = made(subject, case)
                drawn(sampler, case)
                embeddings = rows.clone()
                sampler.refresh(embeddings)
                if not embeddings.equal(rows):
                    raise Broken(f"changed the {name} in refresh; work on a copy.")
                check_complete(drawn(sampler, case, epoch=1), case)
