"""Smaller embeddings of a finished model, and what they cost."""
