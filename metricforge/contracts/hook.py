"""The contract of a hook: one of these members or more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class OnStep(Protocol):
    """A hook that is called after each step."""

    def on_step(self, record: Mapping[str, Any], embeddings: Tensor) -> None:
        """Handle a finished step.

        Args:
            record: The step's line of metrics.jsonl, by name.
            embeddings: Embeddings [B, D] of the batch, a copy.
        """


@runtime_checkable
class OnEpoch(Protocol):
    """A hook that is called after each epoch."""

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """Handle a finished epoch.

        Args:
            record: The epoch's line of metrics.jsonl, by name; `record["validation"]` has the
                scores.
        """


@runtime_checkable
class OnEnd(Protocol):
    """A hook that is called once training has finished, was stopped, or failed."""

    def on_end(self) -> None:
        """Finish, e.g. close files."""


Hook: TypeAlias = OnStep | OnEpoch | OnEnd
"""Watches a training from its first rank and changes nothing, e.g. a logger.

Its factory may require `folder`, the run's folder, and `step`, the number of finished steps if a
run is resumed. Records and embeddings are copies. No hook gets labels.
"""
