"""What the terminal shows of a run's results, and what a run says of its defaults."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_sample_image

from metricforge.cli.run_table import difference, interval, print_measured
from metricforge.contracts import Estimate
from metricforge.scoring.measure import Measured
from tests.cli.process import metricforge, on_a_terminal, uncoloured

SHORT = ("--epochs", "1", "--backbone", "conv4:channels=4", "--protocol", "retrieval", "--quiet")


def one(value: float, over: str = "classes") -> Estimate:
    return Estimate(value, value - 0.01, value + 0.01, 30, over)


MEASURED = Measured(
    {
        "trained": {"recall@1": one(0.9), "mrr": one(0.8), "map@r": one(0.5)},
        "pixels": {"recall@1": one(0.4), "mrr": one(0.3), "map@r": one(0.2)},
    },
    headline=("recall@1", "map@r"),
)


def shown(capsys: pytest.CaptureFixture[str], *given: object) -> list[str]:
    print_measured(MEASURED, "title", *given)
    return capsys.readouterr().out.splitlines()


def test_the_main_metrics_are_shown_and_the_others_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(capsys)
    assert [line.split()[0] for line in lines[2:4]] == ["recall@1", "map@r"]
    assert "1 more metrics: --all." in lines
    assert "pixels: the raw images, without a network." in lines
    every = shown(capsys, True, "Epoch 2 of 3.")
    assert [line.split()[0] for line in every[2:5]] == ["recall@1", "mrr", "map@r"]
    assert "Epoch 2 of 3." in every
    assert not any("more metrics" in line for line in every)


@pytest.mark.fault(146)
@pytest.mark.parametrize(("value", "low", "high", "expected"), [
    (0.912, 0.9, 0.924, "0.912 [.900, .924]"),
    (1.0, 0.998, 1.0, "1.000 [.998, 1.00]"),
    (-0.025, -0.038, -0.0119, "-0.025 [-.038, -.012]"),
    (-0.0, -0.0001, 0.123, "-0.000 [.000, .123]"),
    (0.0, -1.0, 1.0, "0.000 [-1.00, 1.00]"),
])  # fmt: skip
def test_the_ends_of_an_interval_are_whole(value, low, high, expected) -> None:
    text = interval(Estimate(value, low, high, 30, "seeds"))
    assert text.replace("[dim]\\", "").replace("[/dim]", "") == expected


@pytest.mark.fault(146)
def test_a_difference_over_seeds_of_a_metric_is_not_called_sure() -> None:
    apart = Estimate(0.1, 0.05, 0.15, 5, "seeds")
    assert difference(apart).endswith("  sure")
    assert difference(apart, sure=False).endswith("[/dim]")


def test_without_a_headline_all_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_measured(Measured(MEASURED.results), "title")
    assert "mrr" in capsys.readouterr().out


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes, each of four parts of scikit-learn's photographs that lie side by side."""
    root = tmp_path_factory.mktemp("data") / "photographs"
    for name in ("china.jpg", "flower.jpg"):
        image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float()
        for label in range(5):
            for place in range(4):
                left, top = 40 * label + 4 * place, 6 * place
                part = image[None, :, top : top + 380, left : left + 380]
                small = F.interpolate(part, (48, 48), mode="area")[0].byte().permute(1, 2, 0)
                folder = root / f"{name[:-4]}{label}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(small.numpy()).save(folder / f"{place}.png")
    return root


@pytest.mark.parametrize(
    ("options", "augment", "told"),
    [
        ((), ["crop:least=0.5,ratio=1.33", "flip:p=0.5,vertical=false"], "crop and flip"),
        (("--augment", "none"), [], "none"),
        (("--augment", "flip:p=1"), ["flip:p=1.0,vertical=false"], "flip"),
    ],
)
def test_photographs_are_augmented_by_default(
    photographs: Path, tmp_path: Path, options: tuple[str, ...], augment: list[str], told: str
) -> None:
    done = metricforge("train", "--dataset", f"folder:path={photographs},size=32", *SHORT,
                       *options, "--out", tmp_path / "r")  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = (
        f"photographs, 32 x 32 pixels, backbone conv4:channels=4, head linear to 64 dimensions, "
        f"augmentation {told}, "
        "adamw:lr=0.001,weight_decay=0.0001, 1 epoch."
    )
    assert line in (tmp_path / "r" / "log.txt").read_text()
    config = tomllib.loads((tmp_path / "r" / "config.toml").read_text())
    assert config["augment"] == augment


def test_a_terminal_says_in_words_what_was_never_seen(tmp_path: Path) -> None:
    page = uncoloured(
        on_a_terminal(
            "train", "--dataset", "glyphs:per_class=4", *SHORT, "--out", tmp_path / "r", columns=80
        )
    )
    lines = [line.rstrip() for line in page.splitlines()]
    assert lines[0] == "glyphs: 162 characters of 7 scripts that the network never saw (648 images)"
    assert any(line.startswith("recall@1 ") and line.count("[") == 3 for line in lines)
    assert any(line.startswith("map@r ") for line in lines)
    assert not any(line.startswith("mrr ") for line in lines)
    assert any(line.startswith("Epoch 1 of 1, by map@r 0.") for line in lines)
    # What follows is the run's folder, as long as its path.
    assert all(len(line) <= 80 for line in lines[: lines.index("")])
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["tested_on"] == "162 characters of 7 scripts that the network never saw"
    assert summary["headline"] == ["recall@1", "map@r"]
