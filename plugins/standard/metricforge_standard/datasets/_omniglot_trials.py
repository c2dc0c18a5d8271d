"""Omniglot's official one-shot task (Lake et al. 2015): 20 runs of 20 trials, 20-way.

Each run has 20 characters of one evaluation alphabet, drawn by one person as the support and by
another as the queries: all in the evaluation set, so the task is a table. Facts from
all_runs.zip of https://github.com/brendenlake/omniglot, whose images have these pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from metricforge.contracts import Trials
from metricforge_standard.datasets._drawings import Drawing

# Alphabet, its 20 characters, and for each of its two runs the drawers of support and queries.
_RUNS = """
Atlantean | 01 02 03 04 05 07 08 09 10 13 14 16 19 20 21 22 23 24 25 26 | 05 08 | 03 02
Ge_ez | 01 02 03 04 05 06 08 09 10 12 14 15 16 17 18 20 21 23 24 25 | 03 07 | 04 02
Glagolitic | 01 02 03 05 06 07 14 17 18 19 20 21 26 28 31 34 36 37 40 43 | 06 04 | 03 02
Gurmukhi | 03 06 07 08 09 13 14 15 16 17 31 22 25 26 29 32 33 38 43 44 | 05 02 | 08 03
Kannada | 01 03 05 08 11 12 13 14 19 20 21 23 25 26 27 28 33 35 40 41 | 02 01 | 08 03
Malayalam | 02 04 05 09 13 14 15 16 17 19 20 21 22 25 27 29 30 37 43 46 | 03 07 | 04 02
Manipuri | 03 04 06 08 09 11 12 13 15 17 19 21 22 25 29 33 35 36 37 39 | 08 04 | 07 03
Old_Church_Slavonic_(Cyrillic) | 02 04 05 06 07 08 09 11 12 13 14 15 23 24 25 30 33 41 44 45 | \
04 08 | 01 02
Tengwar | 01 02 04 05 07 08 09 10 11 12 13 16 18 19 20 21 22 23 24 25 | 01 04 | 08 07
Tibetan | 01 02 03 05 06 07 08 09 11 13 14 15 21 22 24 33 35 36 38 41 | 01 03 | 08 05
"""


def official_trials(drawings: Sequence[Drawing]) -> dict[str, Trials]:
    """The 20 runs by the name "omniglot", each with one query of every character.

    As indices of these drawings; empty unless all drawings of the task exist.
    """
    index_of = {
        (drawing.character, drawing.path.stem[-2:]): index for index, drawing in enumerate(drawings)
    }
    runs = list(_runs())
    if not index_of.keys() >= {name for run in runs for part in run for name in part}:
        return {}
    support = torch.tensor([[index_of[name] for name in support] for support, _ in runs])
    queries = torch.tensor([[index_of[name] for name in queries] for _, queries in runs])
    return {"omniglot": Trials(support[:, :, None], queries, "runs", "error")}


Names = list[tuple[str, str]]


def _runs() -> Iterator[tuple[Names, Names]]:
    """The support and the queries of each run, as characters and their drawers."""
    for line in _RUNS.strip().splitlines():
        alphabet, characters, *runs = (part.strip() for part in line.split("|"))
        names = [f"{alphabet}/character{number}" for number in characters.split()]
        for support_drawer, query_drawer in (run.split() for run in runs):
            yield (
                [(name, support_drawer) for name in names],
                [(name, query_drawer) for name in names],
            )
