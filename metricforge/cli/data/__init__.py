"""`metricforge data`: whether images are fit to train on, how they are split, how they look."""

from __future__ import annotations

import click

from metricforge.cli.lazy import LazyGroup

COMMANDS = {
    "check": "Look at every image and try every sampler: would a training fail?",
    "show": "Draw some images of some classes, as the network sees them.",
    "split": "Show, or record in a file, which images train, validate and test.",
}


@click.group("data", cls=LazyGroup, package="metricforge.cli.data", lines=COMMANDS)
def command() -> None:
    """Check, split and show a dataset: a spec, a folder of images, or a file.

    A folder has a folder of images for each class; a file is a .csv, an .npz or an archive. In a
    spec, a value with a comma goes in double quotes: 'folder:path="photos, 1998"'.

    With --json, stdout has one JSON object where there is a result (of check also that the dataset
    is not fit) and nothing otherwise; errors are a sentence on stderr and the exit code.
    """
