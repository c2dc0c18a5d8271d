"""Whose fault it is: errors of plugins, with the class and the distribution to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from metricforge.errors import MetricForgeError, PluginError, ResourceError, told
from metricforge.installed import owner_of


@contextmanager
def blaming(plugin: object) -> Iterator[None]:
    """Turn whatever a plugin raises in there into a PluginError that names it."""
    try:
        yield
    except MetricForgeError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        what = f"out of memory in {name_of(plugin)}"
        raise ResourceError(f"{what}; a smaller batch or smaller images take less.") from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{blame_of(plugin)} failed: {told(error)}.") from error


def name_of(plugin: object) -> str:
    """The class of a component with its module: the one to look at when it misbehaves."""
    owner = plugin if hasattr(plugin, "__qualname__") else type(plugin)
    return f"{owner.__module__}:{owner.__qualname__}"


def blame_of(plugin: object) -> str:
    """The class of a component, and the distribution and version that it came with."""
    origin = owner_of(plugin)
    return f"{name_of(plugin)} of {origin}" if origin else name_of(plugin)


def broken(plugin: object, contract: str, given: str) -> PluginError:
    """The error that says what a component must do, and what it gave."""
    return PluginError(f"{blame_of(plugin)} {contract}; it gave {given}.")


def described(value: Any) -> str:
    """A value as an error names it: a tensor by type, shape and device, else its class."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor {list(value.shape)} on {value.device}"
    return f"{type(value).__name__}"
