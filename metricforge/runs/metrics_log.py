"""What a run's metrics.jsonl tells: a line for each step and each epoch that was done."""

from __future__ import annotations

import dataclasses
from typing import Any

from metricforge.runs.folder import RunFolder
from metricforge.training.records import EpochRecord, Record
from metricforge.training.setup import TrainState


def line(record: Record) -> dict[str, Any]:
    """A record as a line: its fields and, of a step, the shares of its tuples."""
    fields = dataclasses.asdict(record)
    if isinstance(record, EpochRecord):
        return {"epoch_end": True, **fields}
    return fields | {"active_share": record.active_share, "chosen_share": record.chosen_share}


def cut_back(folder: RunFolder, state: TrainState) -> None:
    """Drop the lines of what came after `state`."""
    done = state.total_steps
    lines = folder.records(folder.metrics, lambda entry: entry["step"] <= done)
    # The last step of an epoch has the number of its end, which may not have been saved.
    lines = [entry for entry in lines if entry["epoch"] <= state.epoch or not _ends(entry)]
    folder.rewrite(folder.metrics, lines)


def best_scores(folder: RunFolder) -> dict[str, float]:
    """The scores on validation classes of the epoch that was chosen."""
    best = folder.records(folder.metrics, lambda entry: entry.get("best", False))
    scores: dict[str, float] = best[-1]["validation"]
    return scores


def first_collapse(folder: RunFolder) -> EpochRecord | None:
    """The first epoch whose embeddings had collapsed, if there is one."""
    return _first(folder, "collapsed")


def first_failure(folder: RunFolder) -> EpochRecord | None:
    """The first epoch for which there is no loss on validation images, if there is one."""
    return _first(folder, "validation_loss_failed")


def _first(folder: RunFolder, mark: str) -> EpochRecord | None:
    for entry in folder.records(folder.metrics, lambda entry: bool(entry.get(mark))):
        return EpochRecord(**{key: value for key, value in entry.items() if key != "epoch_end"})
    return None


def _ends(entry: dict[str, Any]) -> bool:
    return bool(entry.get("epoch_end"))
