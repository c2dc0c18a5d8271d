"""What a table of results needs beside its numbers: what its columns are, and its intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metricforge.contracts import Estimate
from metricforge.scoring.baselines import CUSTOM, PIXELS, PRETRAINED, UNTRAINED, VECTORS

MEANINGS = {
    UNTRAINED: "the network before training",
    PRETRAINED: "features of the pretrained backbone, without head",
    CUSTOM: "features of the backbone as it was given, without head",
    PIXELS: "the raw images, without a network",
    VECTORS: "the vectors as they are, compared by cosine",
}

Results = Mapping[str, Mapping[str, Estimate]]
"""Estimates by approach and name."""


def metrics(results: Results) -> list[str]:
    """The metrics of any approach, in the order they were measured."""
    return list(dict.fromkeys(name for estimates in results.values() for name in estimates))


def baselines(results: Results) -> str:
    """What the baselines are, in the order of their columns; nothing without any."""
    entries = [f"{name}: {MEANINGS[name]}" for name in results if name in MEANINGS]
    return f"{'; '.join(entries)}." if entries else ""


def interval_basis(results: Results, names: Sequence[str] | None = None) -> str:
    """What the intervals are over: for most metrics, and then for each exception by name."""
    names_by_basis: dict[str, list[str]] = {}
    for name in metrics(results) if names is None else names:
        estimate = next(estimates[name] for estimates in results.values() if name in estimates)
        names_by_basis.setdefault(f"over {estimate.n:,} {estimate.over}", []).append(name)
    main, *exceptions = sorted(names_by_basis, key=lambda basis: -len(names_by_basis[basis])) or [
        "of nothing"
    ]
    suffix = "".join(f"; {', '.join(names_by_basis[basis])} {basis}" for basis in exceptions)
    return f"95 % intervals in brackets, {main}{suffix}."
