"""A model or embeddings under protocols: metrics, baselines, failures, the choice of the epoch."""
