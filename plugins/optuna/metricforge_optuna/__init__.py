"""`metricforge tune`: the best options of a recipe, searched on validation classes."""

METRICFORGE_API = 1
