"""Searching options: the space, and what chooses the next options to try."""

from metricforge.scoring.measure import goodness
from metricforge.tuning.options import carried_out, read_options
from metricforge.tuning.space import Choice, Chooser, Dimension, Real, Whole
from metricforge.tuning.strategy import Search, Searching, usual_search

__all__ = [
    "Choice",
    "Chooser",
    "Dimension",
    "Real",
    "Search",
    "Searching",
    "Whole",
    "carried_out",
    "goodness",
    "read_options",
    "usual_search",
]
