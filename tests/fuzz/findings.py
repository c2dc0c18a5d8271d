"""Findings of a hunt: one input for each place that lets an error through, in the corpus."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path

_OURS = ("/metricforge/", "/metricforge_standard/")


class Findings:
    """The findings of one target, of which each is written as it is found.

    Args:
        name: Name of the target.
        folder: Folder of the inputs.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._sizes: dict[str, int] = {}

    def add(self, content: bytes, error: BaseException) -> None:
        """Write an input that is the first, or the shortest, with this error from this place."""
        kind = f"{type(error).__name__} at {_place(error)}"
        size = self._sizes.get(kind)
        if size is not None and size <= len(content):
            return
        self._sizes[kind] = len(content)
        # The same place has the same name, so that the shorter input replaces the longer.
        path = self._folder / f"{self._name}.{_short(kind.encode())}"
        if size is None and path.exists():  # of an earlier hunt
            size = path.stat().st_size
            if size <= len(content):
                self._sizes[kind] = size
                return
        path.write_bytes(content)
        if size is None:
            print(f"{path.name}: {kind}: {str(error)[:300]!r}", flush=True)

    def add_fatal(self, content: bytes, why: str) -> None:
        """Write an input that ended the process."""
        path = self._folder / f"{self._name}.{_short(content)}"
        path.write_bytes(content)
        print(f"{path.name}: {why}", flush=True)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _place(error: BaseException) -> str:
    """The last line of metricforge's own that an error passed."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__)
           if any(part in frame.filename for part in _OURS)]  # fmt: skip
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "the harness"
