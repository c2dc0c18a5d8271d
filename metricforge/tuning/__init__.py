"""Searching options: the space, and what chooses the next options to try."""

from metricforge.tuning.options import carried_out, read_options
from metricforge.tuning.space import Chooser, Dimension
from metricforge.tuning.strategy import Search, Searching, usual_search

__all__ = [
    "Chooser",
    "Dimension",
    "Search",
    "Searching",
    "carried_out",
    "read_options",
    "usual_search",
]
