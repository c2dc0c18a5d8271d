"""What a hook may have: one of these members or more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class OnStep(Protocol):
    """A hook that is called after each step."""

    def on_step(self, record: Mapping[str, Any], embeddings: Tensor) -> None:
        """With the line of metrics.jsonl, by name, and the embeddings [B, D] of the batch."""


@runtime_checkable
class OnEpoch(Protocol):
    """A hook that is called after each epoch."""

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """With the line of metrics.jsonl; `record["validation"]` has the scores."""


@runtime_checkable
class OnEnd(Protocol):
    """A hook that is called when the training is over, was stopped, or failed."""

    def on_end(self) -> None: ...


Hook: TypeAlias = OnStep | OnEpoch | OnEnd
"""Watches a training from its first rank, and changes nothing: a logger, for one.

It may ask for `folder`, the run's, and `step`, how many steps are done where a run is resumed.
Records and embeddings are copies. Labels are shown to none.
"""
