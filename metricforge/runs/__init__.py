"""A run: one training, from a recipe to a folder that records it, and what is done with it."""
