"""Searches, which choose the options of trials."""
