"""The files of a model on a hub."""

from __future__ import annotations

from metricforge.atomic_files import MANIFEST
from metricforge.weights.reading import WEIGHTS

MODEL, README = "model.json", "README.md"
CURVE = "training.png"
"""The plot of the training that the README shows: it has no image and no name of a class."""

IMAGES = "answers.png"
"""Held-out images with the nearest to each, which are uploaded only on request."""

FILES = frozenset({MODEL, WEIGHTS, README, CURVE, IMAGES, MANIFEST})
"""All that is uploaded and downloaded: a repository may have more."""
