"""A run's metrics.jsonl: a line for each finished step and epoch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from metricforge.decoding import decoded, typed
from metricforge.errors import ArtefactError
from metricforge.recipes.recipe import Recipe
from metricforge.runs.folder import RunFolder
from metricforge.scoring.measure import goodness
from metricforge.training.records import EpochRecord, Record, StepRecord
from metricforge.training.setup import TrainState


def line(record: Record) -> dict[str, Any]:
    """A record as a line: its fields and, of a step, the shares of its tuples."""
    fields = dataclasses.asdict(record)
    if isinstance(record, EpochRecord):
        return {"epoch_end": True, **fields}
    return fields | {"active_share": record.active_share, "chosen_share": record.chosen_share}


def entries(folder: RunFolder) -> list[dict[str, Any]]:
    """All lines; ArtefactError for a line of neither a step nor an epoch."""
    return folder.records(folder.metrics, _entry)


def cut_back(folder: RunFolder, state: TrainState) -> None:
    """Drop the lines of steps and epochs after `state`."""
    done = state.total_steps
    lines = [entry for entry in entries(folder) if entry["step"] <= done]
    # The last step of an epoch has the number of its end, which may not have been saved.
    lines = [entry for entry in lines if entry["epoch"] <= state.epoch or not _ends(entry)]
    folder.rewrite(folder.metrics, lines)


def best_scores(folder: RunFolder) -> dict[str, float]:
    """The scores on validation classes of the epoch that was chosen."""
    best = [entry["validation"] for entry in entries(folder) if _ends(entry) and entry.get("best")]
    if not best:
        raise ArtefactError(f"{folder.metrics} is damaged: no epoch is the best; train anew.")
    scores: dict[str, float] = best[-1]
    return scores


def better_epoch(folder: RunFolder, recipe: Recipe) -> int:
    """The epoch of the last better score on validation classes; 0 if none was scored."""
    best, better = -math.inf, 0
    for entry in entries(folder):
        if _ends(entry) and recipe.select in (entry["validation"] or {}):
            score = goodness(recipe.select, entry["validation"][recipe.select])
            if score > best:
                best, better = score, entry["epoch"]
    return better


def first_collapse(folder: RunFolder) -> EpochRecord | None:
    """The first epoch whose embeddings had collapsed, if there is one."""
    return _first(folder, "collapsed")


def first_failure(folder: RunFolder) -> EpochRecord | None:
    """The first epoch for which there is no loss on validation images, if there is one."""
    return _first(folder, "validation_loss_failed")


def _first(folder: RunFolder, mark: str) -> EpochRecord | None:
    matches = (entry for entry in entries(folder) if _ends(entry) and entry.get(mark))
    return next((typed(entry, EpochRecord) for entry in matches), None)


def _entry(text: str) -> dict[str, Any]:
    entry = decoded(text, dict[str, Any])
    typed(entry, EpochRecord if _ends(entry) else StepRecord)
    return entry


def _ends(entry: dict[str, Any]) -> bool:
    return bool(entry.get("epoch_end"))
