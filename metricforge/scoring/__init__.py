"""Protocols applied to a model or embeddings: metrics, baselines, failures, choice of the epoch."""
