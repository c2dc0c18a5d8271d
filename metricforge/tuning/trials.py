"""Trials: what searches ask for next, how each is trained, and which are the best."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from metricforge.errors import (
    Interrupted,
    InUseError,
    MetricForgeError,
    UnfitError,
    UsageError,
    told,
)
from metricforge.recipes.recipe import Recipe
from metricforge.report.progress import Listener
from metricforge.runs.run import Run
from metricforge.runs.train import run_recipe
from metricforge.tuning.strategy import Searching

T = TypeVar("T")

DONE, REFUSED, FAILED = "done", "refused", "failed"


def rounds(
    searches: Mapping[Searching, Callable[[int, Mapping[str, str]], T]],
    count: int,
    score_of: Callable[[T], float | None],
) -> Iterator[list[T]]:
    """The trials of each round, one of every search; they are trained before the next round.

    The same scores lead to the same trials. A search is resumed by the same rounds from the first
    one, in which the trials that have a record are not trained again.

    Args:
        searches: Searches, each with what makes a trial of its number and options.
        count: Number of rounds.
        score_of: The score of a trial of the round before, higher being better; None if it could
            not be trained.

    Yields:
        The trials, in the order of the searches.
    """
    for number in range(1, count + 1):
        trials = [trial_of(number, search.ask()) for search, trial_of in searches.items()]
        yield trials
        for search, trial in zip(searches, trials, strict=True):
            search.tell(score_of(trial))


def best_first(trials: Iterable[T], score_of: Callable[[T], float | None]) -> list[T]:
    """The trials that have a score, the best first; of equals the earlier.

    Args:
        trials: Trials, in order.
        score_of: The score of a trial, higher being better, or None.

    Returns:
        The trials.
    """
    scored = [(score, trial) for trial in trials if (score := score_of(trial)) is not None]
    return [trial for _, trial in sorted(scored, key=lambda pair: -pair[0])]


def trained(recipe: Recipe, path: Path, listener: Listener | None = None) -> Run:
    """Train a recipe, or resume its training, into a folder that then has no checkpoints.

    Args:
        recipe: The recipe.
        path: The run's folder.
        listener: Shows the progress.

    Returns:
        The finished run.
    """
    run = run_recipe(recipe, out=path, auto_resume=True, listener=listener)
    # Larger than all else, and of use only to what is to be resumed.
    shutil.rmtree(run.folder.checkpoints.folder, ignore_errors=True)
    return run


def attempted(work: Callable[[], T]) -> tuple[T | None, str, str]:
    """Do the work of one of many runs; its failure must not cost the others.

    Args:
        work: Trains, and gives what is to be recorded.

    Returns:
        What the work gives, or None; the outcome: done, refused for what can't be trained so, or
        failed; the error, "" for none.

    Raises:
        Interrupted: The run was stopped.
        InUseError: Another process works in its folder.
    """
    try:
        return work(), DONE, ""
    except (Interrupted, InUseError):
        raise
    except (UsageError, UnfitError) as error:
        return None, REFUSED, str(error)
    except Exception as error:
        return None, FAILED, str(error) if isinstance(error, MetricForgeError) else told(error)
