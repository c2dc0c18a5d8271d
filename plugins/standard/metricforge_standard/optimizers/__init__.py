"""Optimizers: what makes a step of a gradient."""
