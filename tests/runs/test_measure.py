"""What is said of a trained network beside the untrained one and raw pixels."""

from __future__ import annotations

import pytest
import torch
from metricforge_standard.datasets.digits import digits

from metricforge.registry import Registry
from metricforge.runs.components import make_protocol
from metricforge.runs.measure import PIXELS, TRAINED, UNTRAINED, Embedded, measure

RETRIEVAL = {"retrieval": make_protocol(Registry.installed(), "retrieval")}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({TRAINED: "noise", UNTRAINED: "pixels", PIXELS: "pixels"}, "untrained and with pixels"),
        ({TRAINED: "noise", UNTRAINED: "noise", PIXELS: "pixels"}, "better with pixels"),
        ({TRAINED: "pixels", UNTRAINED: "noise", PIXELS: "pixels"}, None),
        ({TRAINED: "noise"}, None),
        ({PIXELS: "pixels", UNTRAINED: "noise"}, None),
    ],
)
def test_training_that_did_harm_is_said(rows: dict[str, str], told: str | None) -> None:
    dataset, indices = digits(), torch.arange(400)
    kinds = {
        "pixels": dataset.images[indices].flatten(1).float(),
        "noise": torch.randn(400, 16, generator=torch.Generator().manual_seed(0)),
    }
    part = Embedded({name: kinds[kind] for name, kind in rows.items()}, indices)
    notes = [note for note in measure(part, RETRIEVAL, dataset).notes if "did harm" in note]
    assert len(notes) == (told is not None)
    assert all(told in note for note in notes if told)
