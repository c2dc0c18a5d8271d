"""Optuna's choices for trials, as the search `tpe`."""

METRICFORGE_API = 1
