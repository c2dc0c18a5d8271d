"""Trainings that start from a file of weights or from another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metricforge
from metricforge.contracts import Dataset
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.loading import load
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import Assembly, assemble
from metricforge.runs.resume import resume
from metricforge.spec import Spec

REGISTRY = Registry.installed()
CLASSES = tuple("abcdefgh")
QUICK: dict[str, Any] = {
    "dim": 5, "epochs": 1, "orientations": 1, "device": "cpu", "protocols": ("retrieval",),
    "sampler": "hard-triplet:classes=4,per_class=4",
}  # fmt: skip
HOLDS_OUT = "classes:train=a+b+c+d,validation=e+f,test=g+h"


def dataset(channels: int = 3, classes: tuple[str, ...] = CLASSES) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 8
    images = torch.randint(0, 256, (96, channels, 16, 16), generator=rng).to(torch.uint8)
    return Dataset("noise", images, labels, classes, (channels, 16, 16))


def assembled(backbone: str, head: str = "linear", **options: Any) -> Assembly:
    recipe = Recipe(backbone=backbone, head=head, **{"dataset": dataset(), **QUICK, **options})
    return assemble(recipe, REGISTRY)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with `conv4:channels=8` on some classes."""
    out = tmp_path_factory.mktemp("earlier") / "run"
    options = {**QUICK, "split": HOLDS_OUT, "backbone": "conv4:channels=8", "progress": False}
    metricforge.train(dataset=dataset(), out=out, **options)
    return out


def weights_of(path: Path, part: str) -> dict[str, Tensor]:
    module: nn.Module = getattr(load(path, device="cpu"), part)
    return module.state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_a_file_replaces_the_random_weights_of_any_backbone(tmp_path: Path) -> None:
    source = assembled("conv4:channels=8", seed=7).setup.model.backbone.state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.items()}}, tmp_path / "w.pth")
    assembly = assembled(f"conv4:channels=8,weights={tmp_path / 'w.pth'}")
    assert equal(assembly.setup.model.backbone.state_dict(), source)
    assert any("conv4:channels=8 starts from" in note for note in assembly.notes)
    assert set(assembly.weights) == {"backbone"}
    # The record repeats the run; the saved model has its weights, and names no file.
    assert Spec.parse(str(assembly.recipe.backbone)).options["weights"] == str(tmp_path / "w.pth")
    assert "weights" not in assembly.setup.model.card.backbone


def test_a_networks_own_option_of_the_name_keeps_its_meaning(tmp_path: Path) -> None:
    from torchvision import models

    torch.save(models.resnet18().state_dict(), tmp_path / "w.pth")
    assembly = assembled(f"resnet18:weights={tmp_path / 'w.pth'}")
    assert assembly.setup.model.card.backbone == "torchvision.resnet18:weights=false"
    assert assembly.setup.model.card.mean == (0.485, 0.456, 0.406)  # those of the pretraining
    plain = assembled("resnet18:weights=false")
    assert plain.setup.model.card.mean != (0.485, 0.456, 0.406)
    assert plain.weights == {}


def test_another_runs_backbone_comes_with_its_statistics_but_not_its_head(run: Path) -> None:
    model = assembled(f"conv4:channels=8,weights={run}", split=HOLDS_OUT).setup.model
    assert equal(model.backbone.state_dict(), weights_of(run, "backbone"))
    assert not equal(model.head.state_dict(), weights_of(run, "head"))
    assert (model.card.mean, model.card.std) == (load(run).card.mean, load(run).card.std)


def test_another_architecture_that_fits_is_told(run: Path) -> None:
    """The names and shapes agree, and yet it is another network."""
    same = assembled(f"conv4:channels=8,weights={run}", split=HOLDS_OUT)
    assert not any("was trained with the backbone" in note for note in same.notes)
    other = assembled(
        f"conv4:channels=8,weights={run}", f"linear:normalize=false,weights={run}", split=HOLDS_OUT
    )
    assert any(
        "was trained with the head linear:normalize=none" in note
        and "now in linear:normalize=false" in note
        for note in other.notes
    )


def test_backbone_and_head_of_a_run_go_on_where_it_ended(run: Path) -> None:
    source = f"weights={run}"
    model = assembled(f"conv4:channels=8,{source}", f"linear:{source}", split=HOLDS_OUT).setup.model
    images = dataset().images[:4]
    torch.testing.assert_close(model.eval()(images), load(run, device="cpu")(images))


def test_a_class_that_the_other_run_has_seen_is_not_held_out(run: Path) -> None:
    other = "classes:train=g+h+a+b,validation=e+f,test=c+d"
    with pytest.raises(
        DataError, match="was trained or selected on 2 of the classes that this spl"
    ):
        assembled(f"conv4:channels=8,weights={run}", split=other)
    # Also where another dataset spells them otherwise.
    capitals = dataset(classes=tuple("ABCDEFGH"))
    with pytest.raises(DataError, match="holds out: C, D;"):
        assembled(f"conv4:channels=8,weights={run}", dataset=capitals, split=other.upper()
                  .replace("CLASSES:TRAIN", "classes:train").replace("VALIDATION", "validation")
                  .replace("TEST", "test"))  # fmt: skip
    # Later tests of the new model know both runs' classes.
    kept = assembled(
        f"conv4:channels=8,weights={run}",
        split="classes:train=a+b+c,validation=d,test=g+h",
        sampler="hard-triplet:classes=3,per_class=4",
    )
    assert set(kept.setup.model.card.seen_classes) == {*"abcdef"}


def test_the_row_before_training_is_of_the_weights_that_were_loaded(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "second"
    options = {**QUICK, "split": HOLDS_OUT, "progress": False}
    second = metricforge.train(
        dataset=dataset(), out=out, backbone=f"conv4:channels=8,weights={run}",
        head=f"linear:weights={run}", **options,
    )  # fmt: skip
    trained = json.loads((run / "summary.json").read_text())["results"]["trained"]
    before = json.loads((out / "summary.json").read_text())["results"]["untrained"]
    assert before["map@r"]["value"] == pytest.approx(trained["map@r"]["value"], abs=1e-6)
    assert second.results["untrained"]["map@r"].value == before["map@r"]["value"]


def test_weights_that_do_not_fit_or_are_missing_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UsageError, match=r"'weight'; did you mean 'weights'\?.*channels, weights"):
        assembled("conv4:weight=x.pth")
    with pytest.raises(UsageError, match="no file or run"):
        assembled(f"conv4:weights={tmp_path / 'none.pth'}")
    with pytest.raises(ArtefactError, match=r"don't fit backbone conv4: they have other shapes"):
        assembled(f"conv4:weights={run}", split=HOLDS_OUT)
    with pytest.raises(ArtefactError, match="don't fit head linear"):
        assembled("conv4:channels=8", f"linear:weights={run}", dim=7, split=HOLDS_OUT)


def test_a_run_whose_weights_have_changed_is_not_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    torch.save(assembled("conv4:channels=8").setup.model.backbone.state_dict(), tmp_path / "w.pth")
    metricforge.train(
        dataset="digits", out=folder, backbone=f"conv4:channels=8,weights={tmp_path / 'w.pth'}",
        **{**QUICK, "progress": False, "save_steps": 1},
    )  # fmt: skip
    (folder / "report.html").unlink()  # as of a run that was killed at its end
    assert resume(folder).finished
    other = assembled("conv4:channels=8", seed=3).setup.model.backbone.state_dict()
    torch.save(other, tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match=r"start.* from have changed"):
        metricforge.evaluate(folder, untrained=True)
    (folder / "report.html").unlink()  # as of a run that was killed at its end
    with pytest.raises(ArtefactError, match=r"the backbone of .* starts from have changed"):
        resume(folder)


def test_a_head_from_a_run_does_not_begin_at_the_features_instead(run: Path) -> None:
    source = f"weights={run}"
    model = assembled(
        f"conv4:channels=8,{source}", f"linear:start=pca,{source}", split=HOLDS_OUT
    ).setup.model
    assert equal(model.head.state_dict(), weights_of(run, "head"))


def test_validation_classes_that_the_other_run_has_seen_are_told(run: Path) -> None:
    other = "classes:train=e+f+c+d,validation=a+b,test=g+h"
    notes = assembled(f"conv4:channels=8,weights={run}", split=other).notes
    assert any("has" not in note and "2 of the validation classes" in note for note in notes)
    same = assembled(f"conv4:channels=8,weights={run}", split=HOLDS_OUT).notes
    assert not any("of the validation classes" in note for note in same)


def test_a_closed_set_of_the_same_split_goes_on(tmp_path: Path) -> None:
    """Its test images are others, though of the same classes."""
    out = tmp_path / "closed"
    metricforge.train(
        dataset=dataset(), out=out, split="images", backbone="conv4:channels=8", progress=False,
        **QUICK,
    )  # fmt: skip
    assert assembled(f"conv4:channels=8,weights={out}", split=f"saved:path={out / 'split.json'}")
    with pytest.raises(DataError, match="of the classes that this split holds out"):
        assembled(f"conv4:channels=8,weights={out}", split="images:seed=1")


def test_a_head_that_began_at_features_can_not_be_built_anew_without_them(tmp_path: Path) -> None:
    run = metricforge.train(
        dataset="digits", out=tmp_path / "run", backbone="conv4:channels=4",
        head="linear:start=pca", progress=False, **QUICK,
    )  # fmt: skip
    with pytest.raises(UsageError, match="began at the features of its training images"):
        metricforge.evaluate(run, untrained=True)
