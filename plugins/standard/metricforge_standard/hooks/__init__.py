"""Hooks, which watch a training."""
