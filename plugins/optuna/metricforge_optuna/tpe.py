"""The search `tpe`, for suites that tune their approaches."""

from __future__ import annotations

import optuna
from optuna.trial import Trial, TrialState

METRICFORGE_API = 1


class Tpe:
    """Learns from earlier trials where good options are (Bergstra 2011); the first ten are random.

    Args:
        seed: Seed of the choices.

    Reference: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011.
    """

    def __init__(self, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)

    def ask(self) -> Trial:
        """The next trial, which chooses its options."""
        return self._study.ask()

    def tell(self, trial: Trial, score: float | None) -> None:
        """The score of a trial; None if it could not be trained."""
        if score is None:
            # Pruned counts as the worst; optuna would ignore a FAIL, and repeat its options.
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, score)
