"""Images of 16 and 32 bits that use few of their levels: told, and read by the option `depth`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import metricforge as mf
from metricforge.contracts import Dataset
from metricforge.data.images import fingerprint, open_images
from metricforge.errors import DataError, UsageError
from metricforge.recipes.components import make_dataset
from metricforge.registry import Registry
from metricforge.spec import Spec

REGISTRY = Registry.installed()
CLASSES = 6


def drawn(root: Path, top: int, kind: type = np.uint16, ending: str = "png") -> Path:
    """Six classes of four images with values from 0 to `top`."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"c{label}").mkdir(parents=True)
        for number in range(4):
            values = rng.integers(0, top + 1, (8, 8))
            values[0, :2] = 0, top
            Image.fromarray(values.astype(kind)).save(root / f"c{label}" / f"{number}.{ending}")
    return root


def listed(root: Path) -> Path:
    """The same images in a CSV."""
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return root / "list.csv"


def opened(spec: str) -> Dataset:
    return make_dataset(REGISTRY, Spec.parse(f"{spec},size=8,color=false"), "nowhere")


def told(dataset: Dataset) -> list[str]:
    return [warning for warning in dataset.warnings if "bits" in warning]


@pytest.mark.fault(98)
@pytest.mark.parametrize(
    ("top", "kind", "ending", "levels", "depth"),
    [
        (4080, np.uint16, "png", 16, 12),
        (4080, np.uint16, "tif", 16, 12),
        (255, np.uint16, "png", 1, 8),
        (255, np.int32, "tif", 1, 8),
        (16_000, np.uint16, "png", 63, 14),
    ],
)
def test_few_levels_are_told_with_the_depth_that_keeps_them(
    top: int, kind: type, ending: str, levels: int, depth: int, tmp_path: Path
) -> None:
    root = drawn(tmp_path / "scans", top, kind, ending)
    (warning,) = told(opened(f"folder:path={root}"))
    assert f"values up to {top:,} of 65,535, of 24 tried: {levels} of 256 grey levels" in warning
    assert warning.endswith(f"the option depth={depth} keeps them.")
    dataset = opened(f"folder:path={root},depth={depth}")
    assert told(dataset) == []
    grey = open_images(dataset).take(torch.arange(len(dataset)))
    assert grey.max() >= 0.97 * 255
    assert len(grey.unique()) > 200


@pytest.mark.fault(98)
@pytest.mark.parametrize("top", [65_535, 20_000])
def test_a_full_range_and_8_bits_are_not_told_of(top: int, tmp_path: Path) -> None:
    assert told(opened(f"folder:path={drawn(tmp_path / 'full', top)}")) == []
    assert told(opened(f"folder:path={drawn(tmp_path / 'eight', 9, np.uint8)}")) == []


@pytest.mark.fault(98)
def test_a_csv_has_the_same_option_and_refuses_what_lies_beyond(tmp_path: Path) -> None:
    path = listed(drawn(tmp_path / "scans", 4080))
    assert len(told(opened(f"csv:path={path}"))) == 1
    dataset = opened(f"csv:path={path},depth=12")
    assert told(dataset) == []
    assert fingerprint(dataset) != fingerprint(opened(f"csv:path={path}"))
    with pytest.raises(DataError, match=r"png' has values beyond 11 bits; give the dataset a lar"):
        open_images(opened(f"csv:path={path},depth=11"))
    for depth in (7, 17):
        with pytest.raises(UsageError, match="option 'depth' of dataset 'csv': depth is a whole"):
            opened(f"csv:path={path},depth={depth}")


@pytest.mark.fault(98)
def test_the_depth_is_in_the_card_and_the_model_reads_by_it(tmp_path: Path) -> None:
    root = drawn(tmp_path / "scans", 4080)
    run = mf.train(
        dataset=f"folder:path={root},size=8,color=false,depth=12", backbone="conv4:channels=4",
        sampler="hard-triplet:classes=2,per_class=2", epochs=1, orientations=1, dim=4,
        protocols=("retrieval",), test=False, device="cpu", progress=False, out=tmp_path / "run",
    )  # fmt: skip
    card = json.loads((run.path / "model" / "model.json").read_text())
    assert card["reading"]["depth"] == 12
    model = mf.load(run, device="cpu")
    files = sorted(root.rglob("*.png"))[:4]
    eight = np.stack([
        np.rint(np.asarray(Image.open(file)).astype(float) * 255 / 4095) for file in files
    ]).astype(np.uint8)  # fmt: skip
    assert np.allclose(model.encode(files), model.encode(eight), atol=1e-3)
