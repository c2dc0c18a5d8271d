"""Checks of backbones and heads."""
