"""Checks of a dataset before a run: broken images, copies, samplers that can't work with it."""
