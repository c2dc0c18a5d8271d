"""`metricforge gallery`: what is enrolled in a gallery, and its changes."""

from __future__ import annotations

import click

from metricforge.cli.lazy import LazyGroup

COMMANDS = {
    "add": "Enrol more images, of a new class or of one that is there.",
    "check": "Check that a gallery is whole, and what its images tell.",
    "list": "List the enrolled classes.",
    "remove": "Forget classes.",
    "show": "List the images of a class.",
}


@click.group("gallery", cls=LazyGroup, package="metricforge.cli.gallery", lines=COMMANDS)
def command() -> None:
    """Change and show a gallery that `metricforge enrol` made.

    Adding and removing need no training. Other answers stay, unless an image is nearer to what was
    added or removed; beyond the number of classes that the threshold was chosen for, it is chosen
    anew.
    """
