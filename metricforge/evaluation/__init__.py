"""Measure embeddings: nearest neighbours, retrieval, few-shot episodes, 95 % intervals.

Everything here is a pure function of arrays: it knows no model, dataset or plugin by name, so a
notebook or a protocol plugin can call it.
"""

from metricforge.evaluation.ann_index import IndexKind
from metricforge.evaluation.centring import centred
from metricforge.evaluation.clustering import agreement, clusters_of
from metricforge.evaluation.cohort import Cohort
from metricforge.evaluation.confidence import Confidence
from metricforge.evaluation.episodes import Classifier, Episodes, draw, eligible
from metricforge.evaluation.episodes import score as score_episodes
from metricforge.evaluation.identification import (
    By,
    OpenSet,
    Probes,
    Trial,
    draw_trials,
    probe,
    resampled_probes,
)
from metricforge.evaluation.knn import label_some, nearest_label
from metricforge.evaluation.neighbor_search import Gallery, Ints, neighbours
from metricforge.evaluation.promises import (
    allowed_fpir,
    classes_needed,
    enrollable,
    least_share,
    promised_thresholds,
)
from metricforge.evaluation.retrieval import Scores, map_at_r, ndcg_at_r, r_precision, recall_at
from metricforge.evaluation.retrieval import score as score_retrieval
from metricforge.evaluation.statistics import (
    class_means,
    interval_of,
    over_classes,
    over_differences,
    over_episodes,
    over_queries,
    over_resamples,
    over_seeds,
    over_two_groups,
    spread,
    warnings_about,
)
from metricforge.evaluation.verification import (
    ImagePairs,
    Ranked,
    Roc,
    distances_of,
    draw_pairs,
    resampled,
)

__all__ = [
    "By",
    "Classifier",
    "Cohort",
    "Confidence",
    "Episodes",
    "Gallery",
    "ImagePairs",
    "IndexKind",
    "Ints",
    "OpenSet",
    "Probes",
    "Ranked",
    "Roc",
    "Scores",
    "Trial",
    "agreement",
    "allowed_fpir",
    "centred",
    "class_means",
    "classes_needed",
    "clusters_of",
    "distances_of",
    "draw",
    "draw_pairs",
    "draw_trials",
    "eligible",
    "enrollable",
    "interval_of",
    "label_some",
    "least_share",
    "map_at_r",
    "ndcg_at_r",
    "nearest_label",
    "neighbours",
    "over_classes",
    "over_differences",
    "over_episodes",
    "over_queries",
    "over_resamples",
    "over_seeds",
    "over_two_groups",
    "probe",
    "promised_thresholds",
    "r_precision",
    "recall_at",
    "resampled",
    "resampled_probes",
    "score_episodes",
    "score_retrieval",
    "spread",
    "warnings_about",
]
