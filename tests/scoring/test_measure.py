"""What is reported of a trained network beside its baselines."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from metricforge_standard.datasets.digits import digits
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

import metricforge as mf
from metricforge.contracts import Estimate, Result
from metricforge.errors import UsageError
from metricforge.recipes.components import make_protocol
from metricforge.registry import Registry
from metricforge.scoring.baselines import CUSTOM, PIXELS, PRETRAINED, TRAINED, UNTRAINED
from metricforge.scoring.measure import Embedded, headline, measure
from metricforge.spec import Spec

RETRIEVAL = {"retrieval": make_protocol(Registry.installed(), Spec("retrieval"))}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({TRAINED: "noise", UNTRAINED: "pixels", PIXELS: "noise"}, "before it (untrained)"),
        ({TRAINED: "noise", PRETRAINED: "pixels", PIXELS: "noise"}, "before it (pretrained)"),
        ({TRAINED: "noise", UNTRAINED: "noise", PIXELS: "pixels"}, "raw pixels beat"),
        ({TRAINED: "pixels", UNTRAINED: "noise", PIXELS: "pixels"}, None),
        ({TRAINED: "noise", UNTRAINED: "noise"}, None),
        ({TRAINED: "noise"}, None),
        ({PIXELS: "pixels", UNTRAINED: "noise"}, None),
    ],
)
def test_a_baseline_that_beats_training_is_named(rows: dict[str, str], told: str | None) -> None:
    dataset, indices = digits(), torch.arange(400)
    kinds = {
        "pixels": dataset.images[indices].flatten(1).float(),
        "noise": torch.randn(400, 16, generator=torch.Generator().manual_seed(0)),
    }
    part = Embedded({name: kinds[kind] for name, kind in rows.items()}, indices)
    notes = [n for n in measure(part, RETRIEVAL, dataset).notes if "after training" in n]
    assert len(notes) == (told is not None)
    assert all(told in note and "map@r is 0." in note for note in notes if told)


class Fixed:
    """A protocol of metrics that are the same for all embeddings but the one that is zero."""

    def __init__(self, names: dict[str, tuple[float, float]], width: float, n: int = 9) -> None:
        self.names, self.width, self.n = names, width, n

    def evaluate(self, embeddings: Tensor, images: object) -> Result:
        trained = bool((embeddings == 0).all())
        estimates = {
            name: Estimate(v := pair[not trained], v - self.width, v + self.width, self.n, "x")
            for name, pair in self.names.items()
        }
        return Result(estimates, definitions=dict.fromkeys(self.names, "fixed"))


def notes_of(protocol: Fixed, select: str = "map@r") -> list[str]:
    part = Embedded({TRAINED: torch.zeros(6, 2), UNTRAINED: torch.ones(6, 2)}, torch.arange(6))
    return list(measure(part, {"p": protocol}, digits(), None, select).notes)


def test_harm_and_no_help_go_by_the_metric_that_chose_the_epoch_and_by_intervals() -> None:
    both = {"recall@1": (0.9, 0.2), "map@r": (0.3, 0.5)}
    assert "map@r is 0.300 after training and 0.500" in notes_of(Fixed(both, 0.05))[0]
    assert notes_of(Fixed(both, 0.05), "recall@1") == []
    # Of what overlaps it is not known, and of one value alone nobody knows the spread.
    (note,) = notes_of(Fixed(both, 0.11))
    assert note.startswith("training did not help: map@r is 0.300 after training and 0.500 before")
    assert notes_of(Fixed(both, 0.11), "recall@1") == []
    assert notes_of(Fixed(both, 0.0, n=1)) == []
    # Of errors the smaller is the better.
    assert notes_of(Fixed({"error": (0.3, 0.5)}, 0.05), "error") == []
    assert notes_of(Fixed({"error": (0.3, 0.5)}, 0.2), "error") == []
    assert "not help" in notes_of(Fixed({"error": (0.5, 0.3)}, 0.2), "error")[0]
    assert "harm: error is 0.500" in notes_of(Fixed({"error": (0.5, 0.3)}, 0.05), "error")[0]


def test_the_headline_is_the_first_metric_of_each_protocol_and_the_selecting_one() -> None:
    one = Estimate(0.5, 0.4, 0.6, 9, "x")
    results = [Result({"recall@1": one, "recall@2": one, "map@r": one}), Result({"auc": one})]
    assert headline(results, "map@r") == ("recall@1", "map@r", "auc")
    assert headline(results, "missing") == ("recall@1", "auc")
    assert headline([Result({})], "map@r") == ()


class Small(nn.Module):
    """A backbone that a user gives as an object."""

    out_features = 4

    def __init__(self, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels * image_size[0] * image_size[1], 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


class Learned(Small):
    """The same, which says that its weights were learned."""

    pretrained = True


@pytest.mark.parametrize(
    ("backbone", "name"),
    [("lenet-prelu", UNTRAINED), (Learned, PRETRAINED), (Small(1, (16, 16)), CUSTOM)],
)
def test_nothing_that_was_trained_is_called_untrained(backbone, name, tmp_path) -> None:
    given = copy.deepcopy(backbone)
    run = mf.train(dataset="digits", backbone=backbone, images=200, orientations=1, dim=8,
                   out=tmp_path / "r", progress=False)  # fmt: skip
    assert list(run.results) == [TRAINED, name, PIXELS]
    if isinstance(given, nn.Module):
        # The features of the backbone as it was given, by their cosine, behind no random head.
        data = digits()
        test = torch.tensor([
            label in map(int, run.summary["test_classes"]) for label in data.labels.tolist()
        ])  # fmt: skip
        card = mf.load(run.path, backbone=copy.deepcopy(given)).card
        images = (data.images[test].float() / 255 - card.mean[0]) / card.std[0]
        rows = nn.functional.normalize(given(images)).detach().numpy()
        found = mf.evaluate(rows, data.labels[test], protocols=["retrieval"])
        expected = found.results[TRAINED]["map@r"].value
        assert run.results[name]["map@r"].value == pytest.approx(expected, abs=1e-6)


def test_a_later_evaluation_has_the_pretrained_network_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the random one of what was saved, which is built without fetching the weights."""
    cached = tmp_path / "hub" / "checkpoints"
    cached.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.save(resnet18().state_dict(), cached / ResNet18_Weights.DEFAULT.url.rpartition("/")[2])
    run = mf.train(dataset="digits", backbone="resnet18:weights=true", images=64, orientations=1,
                   protocols=["retrieval"], out=tmp_path / "r", progress=False)  # fmt: skip
    assert list(run.results) == [TRAINED, PRETRAINED, PIXELS]
    again = mf.evaluate(run, protocols=["retrieval"], untrained=True)
    assert list(again.results) == [TRAINED, PRETRAINED, PIXELS]
    before = {name: one.value for name, one in run.results[PRETRAINED].items()}
    after = {name: again.results[PRETRAINED][name].value for name in before}
    assert after == pytest.approx(before, abs=1e-5)


def test_a_model_without_its_run_has_no_network_before_training(tmp_path: Path) -> None:
    run = mf.train(dataset="digits", backbone="lenet-prelu", images=64, test=False,
                   out=tmp_path / "r", progress=False)  # fmt: skip
    with pytest.raises(UsageError, match="leave out --untrained"):
        mf.evaluate(mf.load(run.path), "digits", untrained=True, allow_seen=True)
