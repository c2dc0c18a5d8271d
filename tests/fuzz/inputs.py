"""The inputs of a target: its valid files, mutated."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.byte_mutations import mutated
from tests.fuzz.document_mutations import documents
from tests.fuzz.target import Case, Target


def inputs(target: Target, case: Case) -> st.SearchStrategy[bytes]:
    """Mutations of bytes; of a document also those of its structure; with sums mended, or not."""
    ways = [mutated(case.seeds)]
    if target.form is not None:
        ways += [documents(seed.decode(), target.form) for seed in case.seeds]
    if target.mend is not None:
        ways.append(mutated(case.seeds).map(target.mend))
    return st.one_of(ways)
