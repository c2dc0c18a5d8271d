"""The work of `metricforge plugins`: list, describe, import and check components."""
