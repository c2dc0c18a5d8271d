"""Every target by its name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz import artefacts, documents, pictures, tables
from tests.fuzz.target import Target

TARGETS: Mapping[str, Target] = {
    **artefacts.TARGETS,
    **documents.TARGETS,
    **tables.TARGETS,
    **pictures.TARGETS,
}
