"""Searching options: what may be searched, and who chooses what is tried next."""

from metricforge.tuning.options import carried_out, read_options
from metricforge.tuning.search import RandomSearch, Search, searches
from metricforge.tuning.space import Chooser, Dimension

__all__ = [
    "Chooser",
    "Dimension",
    "RandomSearch",
    "Search",
    "carried_out",
    "read_options",
    "searches",
]
