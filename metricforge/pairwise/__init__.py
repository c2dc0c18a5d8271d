"""All images of a batch against each other, in tiles: the parts of fast miners and losses.

Plugins may import it. A miner or loss processes a batch in tiles of anchors x images, so that no B
x B matrix is stored: see :class:`Tiling`.
"""

from metricforge.pairwise.classes import Classes
from metricforge.pairwise.collect import ChosenPairs, ChosenTriplets
from metricforge.pairwise.gradient import Gradient, scored
from metricforge.pairwise.hardest import hardest
from metricforge.pairwise.pair_distances import distances, dot_products
from metricforge.pairwise.row_search import lowest, nearest_beyond, nth_below
from metricforge.pairwise.tiling import Tile, Tiling, anchors_of, precise
from metricforge.pairwise.unit_length import unit_rows

__all__ = [
    "ChosenPairs",
    "ChosenTriplets",
    "Classes",
    "Gradient",
    "Tile",
    "Tiling",
    "anchors_of",
    "distances",
    "dot_products",
    "hardest",
    "lowest",
    "nearest_beyond",
    "nth_below",
    "precise",
    "scored",
    "unit_rows",
]
