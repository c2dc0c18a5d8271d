"""Measure embeddings: nearest neighbours, retrieval, few-shot episodes, 95 % intervals.

Everything here is a pure function of arrays: it knows no model, dataset or plugin by name, so
a notebook or a protocol plugin can call it.
"""

from metricforge.evaluation.episodes import Classifier, Episodes, draw, eligible
from metricforge.evaluation.episodes import score as score_episodes
from metricforge.evaluation.retrieval import Scores, map_at_r, r_precision, recall_at
from metricforge.evaluation.retrieval import score as score_retrieval
from metricforge.evaluation.search import centred, neighbours
from metricforge.evaluation.statistics import over_episodes, over_queries, spread, warnings_about

__all__ = [
    "Classifier",
    "Episodes",
    "Scores",
    "centred",
    "draw",
    "eligible",
    "map_at_r",
    "neighbours",
    "over_episodes",
    "over_queries",
    "r_precision",
    "recall_at",
    "score_episodes",
    "score_retrieval",
    "spread",
    "warnings_about",
]
