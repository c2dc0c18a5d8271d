"""The same from Python: specs, own objects, bare embeddings."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

import metricforge
from metricforge.contracts import TEST, TRAIN, Dataset, Estimate, Reading, Triplets
from metricforge.errors import DataError, UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.runs.folder import RunFolder
from metricforge.runs.resume import resume
from metricforge.runs.train import run_recipe
from tests.cli.small_run import PARTS, make_files

QUICK = {
    "backbone": "conv4:channels=8", "epochs": 1, "orientations": 1, "protocols": ("retrieval",),
    "progress": False,
}  # fmt: skip


def test_five_lines_from_training_to_embeddings(tmp_path: Path) -> None:
    run = metricforge.train(dataset="digits", sampler="hard-triplet", out=tmp_path / "r", **QUICK)
    model = metricforge.load(run.path, device="cpu")
    embeddings = model.encode(np.zeros((5, 16, 16), dtype=np.uint8))
    evaluation = metricforge.evaluate(run, protocols=["retrieval"])
    assert embeddings.shape == (5, 64)
    assert embeddings.dtype == np.float32
    assert evaluation.results["trained"] == run.results["trained"]
    assert run.results["trained"]["map@r"].n > 100


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(8).repeat_interleave(6)
    data = Dataset(
        name="noise",
        images=torch.randint(0, 256, (48, 1, 16, 16), generator=generator, dtype=torch.uint8),
        labels=labels,
        classes=tuple("abcdefgh"),
        shape=(1, 16, 16),
        official=torch.where(labels < 5, TRAIN, TEST),
    )
    own = {"dataset": data, "split": "official:validation=0", **QUICK, "epochs": 3}
    asked = ("retrieval", "verification")
    run = metricforge.train(out=tmp_path / "r", **{**own, "protocols": asked})
    assert run.summary["selected_epoch"] == run.summary["epochs"] == 3
    assert run.validation == {}
    assert run.results["trained"]["map@r"].n == 18
    assert "no class validates: the last epoch is kept." in run.summary["training_notes"]
    assert "those of epoch 3 of 3, by being the last" in (run.path / "report.html").read_text()
    evaluation = metricforge.evaluate(run, data, protocols=["verification"])
    assert evaluation.results["trained"]["eer"] == run.results["trained"]["eer"]
    with pytest.raises(DataError, match="has no validation part in this split"):
        metricforge.evaluate(run, data, part="validation")
    with pytest.raises(UsageError, match="patience needs two validation classes"):
        metricforge.train(out=tmp_path / "s", patience=1, **own)
    with pytest.raises(UsageError, match="the schedule plateau needs two validation classes"):
        metricforge.train(out=tmp_path / "s", schedule="plateau", **own)


def test_by_an_error_the_epoch_with_the_least_is_chosen(tmp_path: Path) -> None:
    judged = {"validation": "verification", "select": "eer", "test": False}
    run = metricforge.train(
        dataset="digits", out=tmp_path / "r", **{**QUICK, **judged, "epochs": 4, "images": 1_200}
    )
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    errors = [line["validation"]["eer"] for line in lines if line.get("epoch_end")]
    assert len(errors) > 1
    assert errors[run.summary["selected_epoch"] - 1] == min(errors)
    assert len(set(errors)) > 1


class Darker:
    """A user's own augmentation."""

    def __call__(self, images, draws):
        return images * draws.uniform(1, 1, 1, low=0.5)


def test_a_run_that_augments_shows_it_repeats_and_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ["affine:rotate=15,shear=10", "torchvision.RandomErasing", "rotations-as-classes"]
    quick = {**QUICK, "orientations": None, "epochs": 2, "sampler": "balanced"}
    quick["backbone"] = "conv4:channels=4"
    run = metricforge.train(dataset="digits", augment=steps, out=tmp_path / "a", **quick)
    record = (run.path / "config.toml").read_text()
    assert '"affine:rotate=15.0,shear=10.0,scale=0.1,shift=0.05"' in record
    assert "orientations = 4" in record
    assert (run.path / "plots" / "augmentation.png").is_file()
    assert "above what augmentation made of it" in (run.path / "report.html").read_text()

    def weights(path: Path) -> bytes:
        return (path / "model" / "weights.safetensors").read_bytes()

    again = run_recipe(Recipe.from_toml(run.path / "config.toml"), out=tmp_path / "b")
    assert weights(again.path) == weights(run.path)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", _fails_at(7))
        with pytest.raises(InterruptedError):
            run_recipe(Recipe.from_toml(run.path / "config.toml"), out=tmp_path / "c")
    assert weights(resume(tmp_path / "c").path) == weights(run.path)
    plain = metricforge.train(dataset="digits", out=tmp_path / "d", **{**quick, "orientations": 4})
    assert weights(plain.path) != weights(run.path)
    own = metricforge.train(
        dataset="digits", augment=Darker(), out=tmp_path / "e", **{**quick, "epochs": 1}
    )
    assert (
        'augment = [\n    "object tests.test_python:Darker",\n]'
        in (own.path / "config.toml").read_text()
    )
    with pytest.raises(UsageError, match=r"augment = 'object tests\.test_python:Darker'"):
        run_recipe(Recipe.from_toml(own.path / "config.toml"), out=tmp_path / "f")


def _fails_at(count: int):
    """A record of the run that can't be written any more from a step on."""
    append, seen = RunFolder.append, []

    def failing(self: RunFolder, *given: object) -> None:
        seen.append(given)
        if len(seen) > count:
            raise InterruptedError
        append(self, *given)

    return failing


class EveryOther:
    """A user's own sampler: the train set in order, and the miner that is the next class."""

    default_loss = "triplet"

    def __init__(self, labels: Tensor, *, size: int = 40) -> None:
        self.labels, self.size = labels, size
        self.miner = self
        self.kind = Triplets

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        yield from torch.from_numpy(rng.permutation(len(self.labels))).split(self.size)

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        same = labels[:, None] == labels[None, :]
        anchor, positive = same.fill_diagonal_(False).nonzero().unbind(1)
        differs = (labels[anchor][:, None] != labels[None, :]).int()
        return Triplets(anchor, positive, differs.argmax(1))


class Tiny(nn.Module):
    out_features = 8

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out


def noisy_classes(classes: int = 8, images: int = 12) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(images)
    base = torch.randint(0, 200, (classes, 1, 12, 12), generator=rng)
    noise = torch.randint(0, 55, (len(labels), 1, 12, 12), generator=rng)
    pictures = (base[labels] + noise).to(torch.uint8)
    return Dataset("noise", pictures, labels, tuple("abcdefgh"[:classes]), (1, 12, 12))


def test_own_objects_stand_in_for_specs(tmp_path: Path) -> None:
    run = metricforge.train(
        dataset=noisy_classes(), sampler=partial(EveryOther, size=16),
        out=tmp_path / "r", **{**QUICK, "backbone": Tiny},
    )  # fmt: skip
    assert run.results["trained"]["recall@1"].value > 0.5
    config = (run.path / "config.toml").read_text()
    assert "object " in config
    assert "EveryOther" in config
    with pytest.raises(UsageError, match="backbone of your own"):
        metricforge.load(run.path)
    model = metricforge.load(run.path, backbone=Tiny(1), device="cpu")
    assert model.encode(torch.zeros(2, 1, 12, 12, dtype=torch.uint8)).shape == (2, 64)
    with pytest.raises(UsageError, match="can't be repeated"):
        run.recipe.specs_only("this config")
    with pytest.raises(UsageError, match="pass it, load"):
        metricforge.evaluate(run)
    evaluation = metricforge.evaluate(model, noisy_classes(), allow_seen=True)
    assert evaluation.seen


def test_a_run_with_own_objects_is_evaluated_on_a_given_dataset(tmp_path: Path) -> None:
    run = metricforge.train(dataset=noisy_classes(), out=tmp_path / "r", **QUICK)
    model = metricforge.load(run.path, device="cpu")
    other = Dataset(
        "other", noisy_classes().images, noisy_classes().labels, tuple("ijklmnop"), (1, 12, 12)
    )
    evaluation = metricforge.evaluate(model, other, protocols=["retrieval"])
    assert evaluation.images == 96
    assert set(evaluation.results) == {"trained", "pixels"}
    with pytest.raises(DataError, match="--allow-seen"):
        metricforge.evaluate(model, noisy_classes(), protocols=["retrieval"])
    with pytest.raises(UsageError, match="name a dataset"):
        metricforge.evaluate(model, protocols=["retrieval"])


def test_a_runs_own_classes_are_known_by_their_whole_names(tmp_path: Path) -> None:
    """Of which one may be the end of another."""
    names = ("x/a", "x/b", "c", "d", "e", "f", "a", "b")
    data = replace(noisy_classes(), classes=names)
    run = metricforge.train(
        dataset=data, split="classes:train=x/a+x/b+c,validation=d+e,test=f+a+b",
        out=tmp_path / "r", **QUICK,
    )  # fmt: skip
    assert set(metricforge.evaluate(run, data, protocols=["retrieval"]).classes) == {"f", "a", "b"}


def test_one_validation_class_chooses_no_epoch(tmp_path: Path) -> None:
    one = {"split": "classes:train=a-d,validation=e,test=f-h", **QUICK, "epochs": 2}
    run = metricforge.train(dataset=noisy_classes(), out=tmp_path / "r", **one)
    assert run.validation == {}
    assert run.summary["selected_epoch"] == 2
    assert "one validation class can't rank epochs" in (run.path / "log.txt").read_text()
    for more in ({"patience": 2}, {"schedule": "plateau"}):
        with pytest.raises(UsageError, match="needs two validation classes, and this split has 1"):
            metricforge.train(dataset=noisy_classes(), out=tmp_path / "s", **one, **more)


@pytest.mark.fault(94)
@pytest.mark.parametrize(
    ("trained", "asked", "seen"),
    [
        ("Fruit/Apple/{}", "images/Fruit/Apple/{}", True),
        ("Fruit/Apple/{}", "{}", True),
        ("{}", "Fruit/{}", True),
        ("Fruit/{}", "Toys/{}", False),
        ("Fruit/{}", "x{}", False),
    ],
)
def test_a_class_is_known_again_below_other_folders(trained, asked, seen, tmp_path) -> None:
    def named(path: str) -> Dataset:
        return replace(noisy_classes(), classes=tuple(map(path.format, "abcdefgh")))

    run = metricforge.train(dataset=named(trained), out=tmp_path / "r", **QUICK)
    model = metricforge.load(run.path, device="cpu")
    if seen:
        with pytest.raises(DataError, match="--allow-seen"):
            metricforge.evaluate(model, named(asked), protocols=["retrieval"])
    else:
        metricforge.evaluate(model, named(asked), protocols=["retrieval"])


def test_bare_embeddings_are_judged_with_their_labels() -> None:
    labels = ["cat"] * 5 + ["dog"] * 5
    rows = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5, dtype=np.float32)
    judged = metricforge.evaluate(rows, labels, protocols=["retrieval"])
    found = judged.results["trained"]
    assert "recall@1 " in repr(judged)
    assert len(repr(judged)) < 1000, "no tensors, nor all of what there is"
    assert found["map@r"].value == 1.0
    with pytest.raises(DataError, match="labels"):
        metricforge.evaluate(rows, labels[:3], protocols=["retrieval"])


def test_files_are_evaluated_as_they_were_trained_on(tmp_path: Path) -> None:
    light = load_digits().images.repeat(2, 1).repeat(2, 2) * 15.9
    digits, labels = torch.from_numpy(light.astype(np.uint8))[:, None], load_digits().target
    data = Dataset(
        name="light",
        images=digits,
        labels=torch.from_numpy(labels),
        classes=tuple("0123456789"),
        shape=(1, 16, 16),
        reading=Reading(inverted=True),
    )
    run = metricforge.train(dataset=data, out=tmp_path / "r", **{**QUICK, "images": 300})
    names = {int(name): name for name in run.summary["test_classes"]}
    rows = [row for row, label in enumerate(labels) if int(label) in names]
    for row in rows:
        path = tmp_path / "drawn" / names[int(labels[row])] / f"{row:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - digits[row, 0].numpy()).save(path)
    asked = {"protocols": ["retrieval"]}
    tested = metricforge.evaluate(run, data, **asked).results
    drawn = f"folder:path={tmp_path / 'drawn'},size=16,color=false"
    found = metricforge.evaluate(run, drawn, **asked).results
    for subject in ("trained", "pixels"):
        assert found[subject]["map@r"].value == pytest.approx(tested[subject]["map@r"].value)
        assert found[subject]["map@r"].n == len(rows)
    told = "files are inverted, as those were that the model is trained on."
    assert told in metricforge.evaluate(run, drawn, **asked).notes
    assert told not in metricforge.evaluate(run, data, **asked).notes


def test_files_are_read_as_their_own_dataset_says(tmp_path: Path) -> None:
    light = torch.from_numpy((load_digits().images[:200] * 15.9).astype(np.uint8))[:, None]
    files = [tmp_path / f"{row:03}.png" for row in range(len(light))]
    for file, image in zip(files, light, strict=True):
        Image.fromarray(255 - image[0].numpy()).save(file)
    drawn = Dataset(
        name="drawn",
        images=files,
        labels=torch.from_numpy(load_digits().target[:200]),
        classes=tuple("0123456789"),
        shape=(1, 8, 8),
        reading=Reading(inverted=True),
    )
    run = metricforge.train(dataset="digits", **QUICK, out=tmp_path / "r")
    model = metricforge.load(run.path, device="cpu")
    found, expected = (
        metricforge.evaluate(model, data, protocols=["retrieval"], allow_seen=True)
        for data in (drawn, replace(drawn, images=light))
    )
    assert found.results["trained"]["map@r"] == expected.results["trained"]["map@r"]
    assert found.notes == expected.notes


def test_unknown_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'sampler'"):
        metricforge.train(samplr="hard-triplet")
    with pytest.raises(UsageError, match="takes int"):
        metricforge.train(dim="many")


def test_public_names_are_all_there() -> None:
    for name in metricforge.__all__:
        assert getattr(metricforge, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        _ = metricforge.trian


@pytest.mark.fault(110)
def test_a_chunk_of_one_image_is_refused_where_a_map_has_one_pixel(tmp_path: Path) -> None:
    """Batch norm has one value of each channel then; of larger images it has several."""
    given = {**QUICK, "sampler": "hard-triplet:classes=2,per_class=2", "chunk": 1, "images": 16}
    told = r"batch norm needs more than 1 image .*--chunk of 2 or more, .*--batch-norm frozen"
    for dataset, backbone in (
        ("digits:size=8", "conv4:channels=4"),
        ("digits:size=32", "resnet18"),
    ):
        with pytest.raises(UsageError, match=told):
            metricforge.train(
                dataset=dataset, out=tmp_path / backbone, **{**given, "backbone": backbone}
            )
    metricforge.train(
        dataset="digits:size=8", out=tmp_path / "two",
        **{**given, "backbone": "conv4:channels=4", "chunk": 2, "test": False},
    )  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> metricforge.Run:
    """A run of an epoch on files."""
    place = tmp_path_factory.mktemp("small")
    return metricforge.train(
        dataset=make_files(place / "files"), split=PARTS, out=place / "run", test=False,
        sampler="hard-triplet:classes=3,per_class=4", device="cpu",
        **{**QUICK, "backbone": "conv4:channels=4"},
    )  # fmt: skip


@pytest.mark.fault(111)
def test_a_path_is_a_dataset_as_its_text_is(small: metricforge.Run) -> None:
    files = small.path.parent / "files"
    assert str(small.recipe.dataset).startswith(f"folder:path={files},")
    found, expected = (
        metricforge.evaluate(small, given, protocols=["retrieval"]) for given in (files, str(files))
    )
    assert found.results == expected.results


@pytest.mark.fault(111)
def test_a_run_is_loaded_as_its_folder_is(small: metricforge.Run) -> None:
    image = np.zeros((1, 16, 16, 3), np.uint8)
    expected = metricforge.load(small.path, device="cpu").encode(image)
    assert np.array_equal(metricforge.load(small, device="cpu").encode(image), expected)
    assert np.array_equal(metricforge.load(str(small.path), device="cpu").encode(image), expected)


@pytest.mark.fault(111)
def test_files_come_from_any_iterable_with_an_order(small: metricforge.Run) -> None:
    model = metricforge.load(small, device="cpu")
    folder = small.path.parent / "files" / "3"
    files = sorted(folder.glob("*.png"))
    expected = model.encode(files)
    for given in (
        (file for file in files), map(str, files), np.array([str(file) for file in files]),
        np.array(files, dtype=object), iter(files),
    ):  # fmt: skip
        assert np.allclose(model.encode(given, batch_size=4), expected, atol=1e-6)
    assert len(model.encode(folder.glob("*.png"))) == 6
    with pytest.raises(DataError, match="encode takes a list of images or one array, not set"):
        model.encode(set(files))
    truncated = io.BytesIO(files[0].read_bytes()[:-40])
    with pytest.raises(DataError, match="image 0"):
        model.encode([Image.open(truncated)])


ROWS = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
NAMES = ["cat"] * 5 + ["dog"] * 5


@pytest.mark.fault(111)
@pytest.mark.parametrize(
    "rows",
    [
        ROWS.clone().requires_grad_(),
        ROWS.bfloat16(),
        ROWS.half(),
        ROWS.double(),
        ROWS.int(),
        ROWS.tolist(),
        ROWS.numpy(),
    ],
    ids=["with a graph", "bfloat16", "float16", "float64", "int32", "a list", "an array"],
)
def test_embeddings_of_any_real_numbers_are_judged(rows: object) -> None:
    judged = metricforge.evaluate(rows, NAMES, protocols=["retrieval"])
    assert judged.results["trained"]["map@r"].value == 1.0


@pytest.mark.fault(111)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("rows", "labels", "told"),
    [
        (ROWS.to(torch.complex64), NAMES, "embeddings are real numbers"),
        (ROWS.numpy().astype(np.complex128), NAMES, "embeddings are real numbers"),
        (ROWS, [None, *NAMES[1:]], "none may be None"),
        (ROWS, np.array([None] * 10), "none may be None"),
        (ROWS, None, "need their N labels"),
    ],
)
def test_embeddings_and_labels_of_no_use_are_refused_in_a_sentence(
    rows: object, labels: object, told: str
) -> None:
    with pytest.raises((DataError, UsageError), match=told):
        metricforge.evaluate(rows, labels, protocols=["retrieval"])


@pytest.mark.fault(113)
def test_an_estimate_is_a_number_with_an_interval() -> None:
    first = Estimate(0.7521, 0.7222, 0.7789, 180, "queries")
    second = Estimate(0.76, 0.7, 0.8, 180, "queries")
    assert float(first) == 0.7521
    assert str(first) == f"{first}" == "0.752 [0.722, 0.779]"
    assert f"{first:.3f}" == "0.752"
    assert f"{first:.1%} and {first:>8.2f}" == "75.2% and     0.75"
    assert f"{first!s:>24}" == "    0.752 [0.722, 0.779]"
    assert first < second
    assert first <= second <= 0.76
    assert second > first
    assert second >= 0.76 > 0.75 < first
    assert max([first, second]) is second
    assert sorted([second, first]) == [first, second]
    assert np.mean([float(each) for each in (first, second)]) == pytest.approx(0.75605)
    assert first == replace(first)
    assert first != replace(first, low=0.7)
    assert len({first, replace(first), second}) == 2
    assert "Estimate(" in repr(first)
