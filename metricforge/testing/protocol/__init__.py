"""Checks of protocols."""
