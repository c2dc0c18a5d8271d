"""Checks of samplers."""
