"""What `metricforge plugins` does: tell what there is, describe it, try it, examine it."""
