"""What a gallery answers about an image."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Neighbour:
    """An enrolled image, its class, and its euclidean distance to the image in question."""

    image: str
    name: str
    distance: float


@dataclass(frozen=True)
class Candidate:
    """An enrolled class, and its distance to the image in question."""

    name: str
    distance: float


@dataclass(frozen=True)
class Answer:
    """Who an image is of.

    Args:
        name: The class, or None: unknown.
        confidence: The probability that the nearest class is right, if half of all images are
            strangers'.
        score: The distance to the nearest class, which is known below the threshold of the gallery;
            less the distance to training images if these normalise it.
        candidates: The nearest classes, nearest first, whether known or not.
        neighbours: The enrolled images nearest to it, nearest first.
    """

    name: str | None
    confidence: float
    score: float
    candidates: tuple[Candidate, ...]
    neighbours: tuple[Neighbour, ...]

    def __str__(self) -> str:
        # The confidence is in a class, also where that is not answered.
        who = self.name or f"{UNKNOWN}, or {self.candidates[0].name}"
        return f"{who} ({self.confidence:.0%})"
