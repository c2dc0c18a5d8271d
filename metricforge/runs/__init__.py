"""A run: one training, and the folder that records it."""
