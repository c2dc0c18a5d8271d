"""The address of a model on a hub: `hub:OWNER/NAME`, or `hub:OWNER/NAME@REVISION`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from metricforge.errors import UsageError

PREFIX = "hub:"

# As the hub has them: no more characters, and nothing that leads out of a folder.
_PART = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


@dataclass(frozen=True)
class Address:
    """A repository of a hub, and the branch, tag or commit of it; None is its default branch."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `hub:OWNER/NAME[@REVISION]`; UsageError with the form for anything else."""
        repository, at, revision = text.removeprefix(PREFIX).partition("@")
        if at and not _REVISION.fullmatch(revision):
            raise UsageError(
                f"'{text}' has no revision behind the @; give a branch, a tag or a commit, "
                "hub:OWNER/NAME@REVISION."
            )
        return cls(repository_of(repository, PREFIX), revision if at else None)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_address(subject: object) -> bool:
    """Whether a run or a folder that a user named is an address on a hub."""
    return isinstance(subject, str | os.PathLike) and str(os.fspath(subject)).startswith(PREFIX)


def repository_of(text: str, prefix: str = "") -> str:
    """OWNER/NAME as it is written; UsageError for anything else, with the form behind `prefix`."""
    parts = text.split("/")
    if len(parts) != 2 or not all(_PART.fullmatch(part) for part in parts):
        raise UsageError(
            f"'{text}' is no repository of a hub; give {prefix}OWNER/NAME, both of letters, "
            "digits, '-', '_' and '.'."
        )
    return text
