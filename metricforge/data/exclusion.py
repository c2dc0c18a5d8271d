"""Patterns of files and folders that the user leaves out."""

from __future__ import annotations

from fnmatch import fnmatchcase


class Exclusion:
    """Shell patterns, of a name anywhere (`*_mask.png`) or, with a slash, of a path (`raw/*`).

    Args:
        patterns: The patterns, with + between; "" excludes nothing.
    """

    def __init__(self, patterns: str) -> None:
        parts = [part.strip().rstrip("/") for part in patterns.split("+")]
        self._patterns = [part for part in parts if part]
        self._matched: set[str] = set()
        self._paths: set[str] = set()

    @property
    def count(self) -> int:
        """Files and folders that matched."""
        return len(self._paths)

    def __call__(self, path: str) -> bool:
        """Whether a path below the root, with slashes, is excluded."""
        name = path.rpartition("/")[2]
        matching = [
            pattern
            for pattern in self._patterns
            if fnmatchcase(path if "/" in pattern else name, pattern)
        ]
        self._matched.update(matching)
        if matching:
            self._paths.add(path)
        return bool(matching)

    def unmatched(self) -> list[str]:
        """The patterns that nothing has matched: mistyped, perhaps."""
        return [pattern for pattern in self._patterns if pattern not in self._matched]
