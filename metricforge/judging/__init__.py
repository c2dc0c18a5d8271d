"""Trained models tested again: `evaluate` for one, `compare` for several on the same questions."""
