"""State through the bytes of a checkpoint, as a resumed run sees it."""

from __future__ import annotations

from typing import Any

from safetensors.torch import load, save

from metricforge.enforcement import check_state
from metricforge.testing.checks import Broken, obey, raised


def state_of(component: Any) -> bytes | None:
    """The state of a component in a checkpoint, as safetensors; None if it has none."""
    if not hasattr(component, "state_dict"):
        return None
    state = component.state_dict()
    if not hasattr(state, "items"):
        raise Broken(f"has a state_dict that gives {type(state).__name__}; give tensors by name.")
    obey(check_state, component, state)
    # Cloned: safetensors refuses tensors that share memory, and the core makes them contiguous.
    return save({name: value.detach().clone().contiguous() for name, value in state.items()})


def put_state(component: Any, content: bytes | None) -> None:
    """Load the state of another component into a fresh one."""
    if content is None:
        return
    if not hasattr(component, "load_state_dict"):
        raise Broken("has a state_dict and no load_state_dict; a resumed run needs both.")
    try:
        component.load_state_dict(load(content))
    except Exception as error:
        raise Broken(f"{raised(error)} when it was given back its own state_dict.") from error
