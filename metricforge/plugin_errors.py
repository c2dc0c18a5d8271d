"""Errors of plugins, which name the class and the distribution to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metricforge.entry_points import owner_of
from metricforge.errors import MetricForgeError, PluginError, ResourceError, out_of_memory, told
from metricforge.runtime import Runtime


class _Process(NamedTuple):
    """What a component must leave as it is, since all others rely on it."""

    folder: str
    dtype: torch.dtype
    threads: int

    @classmethod
    def now(cls) -> _Process:
        return cls(_folder(), torch.get_default_dtype(), torch.get_num_threads())

    def restore(self) -> str:
        """Undo what has changed since; what that was, or ""."""
        now = _Process.now()
        if now == self:
            return ""
        if self.folder != now.folder and not _gone_back(self.folder):
            now = now._replace(folder=self.folder)  # somebody has moved the folder itself
        torch.set_default_dtype(self.dtype)
        torch.set_num_threads(self.threads)
        return ", ".join(
            f"{name} from {old} to {new}"
            for name, old, new in zip(self._fields, self, now, strict=True)
            if old != new
        )


def _gone_back(folder: str) -> bool:
    try:
        os.chdir(folder)
    except OSError:
        return False
    return True


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a Path takes longer, and calls are many
    except OSError:  # somebody has removed it
        return ""


@contextmanager
def blaming(plugin: object) -> Iterator[None]:
    """Turn any error of a plugin in this context into a PluginError that names it.

    So is a change of the process's folder, of torch's default dtype or of its number of threads,
    which is undone, after an error as well.
    """
    before = _Process.now()
    try:
        yield
        if what := before.restore():
            raise PluginError(f"{blame_of(plugin)} must not change the process's {what}.")
    except MetricForgeError:
        raise
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            what = f"out of memory in {name_of(plugin)}"
            raise ResourceError(f"{what}; a smaller batch or smaller images take less.") from error
        raise PluginError(f"{blame_of(plugin)} failed: {told(error)}.") from error
    finally:
        before.restore()


@contextmanager
def telling_of_memory(images: int, runtime: Runtime) -> Iterator[None]:
    """Turn a lack of memory in a step of `images` images into an error with a remedy."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        shown = min(runtime.chunk or images, images)
        raise ResourceError(
            f"out of memory with {shown} images at a time; try --chunk {max(shown // 2, 1)}, which "
            "leaves the batch as it is, smaller images, or a smaller batch."
        ) from error


def name_of(plugin: object) -> str:
    """The class of a component with its module: the one to look at when it misbehaves."""
    owner = plugin if hasattr(plugin, "__qualname__") else type(plugin)
    return f"{owner.__module__}:{owner.__qualname__}"


def blame_of(plugin: object) -> str:
    """The class of a component, with its distribution and version."""
    origin = owner_of(plugin)
    return f"{name_of(plugin)} of {origin}" if origin else name_of(plugin)


def broken(plugin: object, contract: str, actual: str) -> PluginError:
    """The error of a component that broke its contract: what it must do, and its actual value."""
    return PluginError(f"{blame_of(plugin)} {contract}; it gave {actual}.")


def described(value: Any) -> str:
    """A value in an error: a tensor by type, shape and device, else its class."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor {list(value.shape)} on {value.device}"
    return f"{type(value).__name__}"
