"""Weights that were saved elsewhere, and networks that start from them."""
