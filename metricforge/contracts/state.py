"""The contract of state that a component keeps between the steps of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    pass


@runtime_checkable
class Stateful(Protocol):
    """A sampler, miner or loss whose next step depends on more than the train set and its rng."""

    def state_dict(self) -> Mapping[str, Any]:
        """The state for a checkpoint.

        Returns:
            Tensors by name.
        """

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Restore a state.

        Args:
            state: What :meth:`state_dict` returned.
        """
