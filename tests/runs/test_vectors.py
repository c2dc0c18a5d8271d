"""Vectors in place of images, through everything that a run has."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metricforge
from metricforge.cli.vector_files import array_files
from metricforge.contracts import Dataset
from metricforge.errors import DataError, MetricForgeError, PluginError, UsageError
from metricforge.loading import load
from metricforge.model import EmbeddingModel
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from metricforge.runs.run import Run
from tests.cli.process import metricforge as command

CLASSES, EACH, V = 14, 8, 16
QUICK = {"split": "classes:train=0-7,validation=8-9,test=10-13", "device": "cpu", "epochs": 2}
SAMPLER = "hard-triplet:classes=4,per_class=4"


def rows_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Directions of 14 classes under noise that is twice as long, in half of the dimensions."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    rows = rng.standard_normal((CLASSES, V))[labels]
    rows[:, V // 2 :] = 0
    rows += 0.3 * rng.standard_normal(rows.shape)
    rows[:, V // 2 :] += 3 * rng.standard_normal((len(rows), V - V // 2))
    return rows.astype(np.float32), labels


ROWS, LABELS = rows_and_labels()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without a name go to a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of vectors, and a run on it by the command."""
    folder = tmp_path_factory.mktemp("vectors")
    np.savez(folder / "features.npz", features=ROWS, labels=LABELS)
    done = command(
        "train", "--dataset", folder / "features.npz", "--sampler", SAMPLER, "--out",
        folder / "run", *(word for key in QUICK for word in (f"--{key}", QUICK[key])),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "vectors of 16, backbone identity, head linear:start=pca to 16" in done.stderr
    assert "the vectors as they are, compared by cosine" in done.stdout
    return folder


def dataset() -> Dataset:
    return Dataset(
        "rows", torch.from_numpy(ROWS), torch.from_numpy(LABELS),
        tuple(map(str, range(CLASSES))), (V,), groups=torch.from_numpy(LABELS // 4),
        group_names=("a", "b", "c", "d"),
    )  # fmt: skip


def trained(**options: Any) -> Run:
    return metricforge.train(**{"dataset": dataset(), "sampler": SAMPLER, **QUICK, **options})


def test_the_vectors_themselves_are_the_baseline(place: Path) -> None:
    """Their recall, by cosine, counted naively in float64."""
    results = json.loads((place / "run" / "summary.json").read_text())["results"]
    assert results.keys() == {"trained", "vectors"}
    tested = np.flatnonzero(LABELS >= 10)
    rows = ROWS[tested].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = rows @ rows.T - 2 * np.eye(len(rows))
    hits = LABELS[tested][likeness.argmax(1)] == LABELS[tested]
    assert results["vectors"]["recall@1"]["value"] == pytest.approx(hits.mean())


@pytest.mark.fault(130)
@pytest.mark.parametrize("head", ["linear:start=pca", "residual-mlp"])
def test_the_unit_of_vectors_has_no_influence(head: str) -> None:
    results = [
        trained(head=head, dataset=replace(dataset(), images=torch.from_numpy(ROWS) * unit)).results
        for unit in (1, 2.0**-20, 2.0**20)
    ]
    assert results[0] == results[1] == results[2]


def test_a_head_of_another_run_keeps_what_its_vectors_were_divided_by(
    place: Path, tmp_path: Path
) -> None:
    source = load(place / "run")
    recipe = Recipe(
        dataset=replace(dataset(), images=torch.from_numpy(ROWS) * 3), sampler=SAMPLER,
        head=f"linear:weights={place / 'run'}", **QUICK,
    )  # fmt: skip
    model = assemble(recipe, Registry.installed()).setup.model.eval()
    assert model.card.std == source.card.std
    np.testing.assert_allclose(model.encode(ROWS), source.encode(ROWS), atol=1e-6)


def test_a_model_that_divides_its_vectors_by_nothing_is_loaded(place: Path, tmp_path: Path) -> None:
    model = load(place / "run")
    (divisor,) = model.card.std
    expected = model.encode(ROWS)
    model.card = replace(model.card, mean=(), std=())
    model.save(tmp_path / "old")
    np.testing.assert_allclose(load(tmp_path / "old").encode(ROWS / divisor), expected, atol=1e-5)


def test_vectors_that_are_all_equal_are_trained_on_as_they_are() -> None:
    run = trained(dataset=replace(dataset(), images=torch.ones(len(ROWS), V)), epochs=1)
    assert run.model.card.std == (1.0,)


def test_a_run_has_its_model_and_no_pictures_of_vectors(place: Path) -> None:
    model = load(place / "run")
    assert model.card.shape == (V,)
    deviations = np.abs(ROWS[LABELS < 8] - ROWS[LABELS < 8].mean(0)).sum(1).mean()
    assert (model.card.mean, model.card.input_size) == ((0.0,), None)
    assert model.card.std == pytest.approx((deviations / 250,))
    embeddings = model.encode(ROWS)
    weight, bias = (
        getattr(model.head.project, name).detach().numpy() for name in ("weight", "bias")
    )
    expected = ROWS.astype(np.float64) / model.card.std[0] @ weight.T.astype(np.float64) + bias
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    assert "vectors of 16 numbers" in (place / "run" / "model" / "README.md").read_text()
    plots = {path.name for path in (place / "run" / "plots").iterdir()}
    assert plots == {"train.png", "test.png", "loss.png", "health.png"}
    assert (place / "run" / "report.html").is_file()


@pytest.mark.fault(132)
@pytest.mark.parametrize(("change", "error", "sentence"), [
    (lambda rows: rows.index_fill(0, torch.tensor([7]), torch.nan), DataError, "row 7 has a n"),
    (lambda rows: rows.double() * 1e300, DataError, "row 0 has a number .* too large for float32"),
    (lambda rows: rows.requires_grad_(), PluginError, r"part of a graph; pass images.detach\(\)"),
    (lambda rows: rows.to_sparse(), PluginError, r"a sparse tensor; pass images.to_dense\(\)"),
])  # fmt: skip
def test_vectors_of_an_object_that_can_not_be_used_are_refused(
    change: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        trained(dataset=replace(dataset(), images=change(torch.from_numpy(ROWS.copy()))))


def test_a_folder_stands_for_its_npy_files_and_others_are_skipped(
    place: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name, rows in {"x10": ROWS[:2], "x9": ROWS[2:5], "wide": ROWS[:, :3]}.items():
        np.save(tmp_path / "in" / f"{name}.npy", rows)
    (tmp_path / "in" / "x9.npy").rename(tmp_path / "in" / "x9.NPY")
    (tmp_path / "in" / "broken.npy").write_bytes(b"no array")
    for name in (".hidden/x.npy", "._x9.npy", "run/x.npy"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / "in" / name, ROWS)
    for name in ("env.json", "log.txt"):
        (tmp_path / "in" / "run" / name).write_text("")
    np.save(tmp_path / "in" / "empty.npy", ROWS[:0])
    (tmp_path / "in" / "notes.txt").write_text("not of it")
    words = ["encode", place / "run", tmp_path / "in", "--out", tmp_path / "out.npy"]
    refused = command(*words)
    assert refused.returncode == 3
    assert "--broken skip skips all such files" in refused.stderr
    done = command(*words, "--broken", "skip")
    assert done.returncode == 0, done.stderr
    assert "broken.npy is no .npy file" in done.stderr
    assert "wide.npy: the model takes vectors of 16 numbers, and these have 3" in done.stderr
    assert "empty.npy: the vectors are float32 [0, 16]" in done.stderr
    assert "notes.txt" not in done.stderr
    expected = load(place / "run").encode(np.concatenate([ROWS[2:5], ROWS[:2]]))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)
    names = json.loads((tmp_path / "out.json").read_text())
    assert [Path(name).name for name in names] == [
        "x9.NPY[0]", "x9.NPY[1]", "x9.NPY[2]", "x10.npy[0]", "x10.npy[1]",
    ]  # fmt: skip


def test_a_folder_in_a_folder_that_can_not_be_read_or_is_a_link_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "locked").mkdir(parents=True)
    np.save(tmp_path / "in" / "x.npy", ROWS)
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "locked":  # root may read all, so a mode would not do
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"locked can't be read \(Permission denied\)"):
            list(array_files([tmp_path / "in"]))
    assert list(array_files([tmp_path / "in"])) == [tmp_path / "in" / "x.npy"]
    (tmp_path / "in" / "linked").symlink_to(tmp_path)
    with pytest.raises(DataError, match="linked is a link to a folder; name the folder"):
        list(array_files([tmp_path / "in"]))


def test_vectors_are_encoded_from_arrays_tensors_and_lists(place: Path) -> None:
    model = load(place / "run")
    expected = model.encode(ROWS[:5])
    half = model.encode(ROWS[:5].astype(np.float16))
    for given in (torch.from_numpy(ROWS[:5]), ROWS[:5].tolist(), ROWS[:5].astype(np.float64)):
        np.testing.assert_allclose(model.encode(given), expected, atol=1e-6)
    np.testing.assert_allclose(half, expected, atol=1e-2)
    np.testing.assert_allclose(model.encode(ROWS[:5], batch_size=2), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (ROWS[0], r"float32 \[16\]: vectors are real numbers"),
        (ROWS[:, :9], "takes vectors of 16 numbers, and these have 9"),
        (np.zeros((2, 3, 8, 8), np.uint8), "vectors are real numbers"),
        (["a.png"], "not the names of files"),
        (Path("rows.npy"), "not the names of files"),
        (np.where(np.arange(V) == 3, np.nan, ROWS[:2]), "vector 0 has numbers that are NaN"),
        ([[1.0, 2.0], [1.0]], "lists of several lengths"),
    ],
)
def test_what_is_no_vectors_of_the_model_is_refused(place: Path, given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(place / "run").encode(given)


def test_a_vector_is_named_beyond_the_first_batch(place: Path) -> None:
    rows = ROWS[:6].copy()
    rows[3, 0] = np.inf
    with pytest.raises(DataError, match="vector 3 has numbers that are NaN or infinite"):
        load(place / "run").encode(rows, batch_size=2)


def test_commands_take_the_rows_of_npy_files(place: Path) -> None:
    np.save(place / "gallery.npy", ROWS[:40])
    np.save(place / "asked.npy", ROWS[40:43])
    run = place / "run"
    done = command("encode", run, place / "gallery.npy", "--out", place / "rows.npy")
    assert done.returncode == 0, done.stderr
    rows = np.load(place / "rows.npy")
    np.testing.assert_allclose(rows, load(run).encode(ROWS[:40]), atol=1e-6)
    assert json.loads((place / "rows.json").read_text())[39] == f"{place / 'gallery.npy'}[39]"
    assert command("index", run, place / "gallery.npy", "--out", place / "index").returncode == 0
    done = command("search", run, place / "index", place / "asked.npy", "-k", 2, "--json")
    found = json.loads(done.stdout)
    asked = load(run).encode(ROWS[40:43])
    distances = np.linalg.norm(rows - asked[1], axis=1)
    names = [one["name"] for one in found[f"{place / 'asked.npy'}[1]"]]
    assert names == [f"{place / 'gallery.npy'}[{row}]" for row in np.argsort(distances)[:2]]
    for name, message in (("rows.json", "no .npy file of them"), ("labels.npy", "asked to be")):
        (place / "labels.npy").write_text("none")
        done = command("encode", run, place / name, "--out", place / "x.npy")
        assert done.returncode in (3, 5)
        assert message in done.stderr or "is no .npy file" in done.stderr
        assert "fault of metricforge" not in done.stderr


def test_a_run_is_evaluated_on_its_own_and_on_other_vectors(place: Path) -> None:
    own = metricforge.evaluate(place / "run")
    assert own.results.keys() == {"trained", "vectors"}
    stored = Run.open(place / "run").results["trained"]["map@r"].value
    assert own.results["trained"]["map@r"].value == pytest.approx(stored)
    np.savez(place / "other.npz", features=ROWS[::-1], labels=LABELS + 50)
    other = metricforge.evaluate(place / "run", str(place / "other.npz"))
    assert other.images == len(ROWS)
    untrained = metricforge.evaluate(place / "run", untrained=True)
    assert untrained.results.keys() == {"trained", "vectors"}


def test_images_and_vectors_are_not_taken_for_each_other(place: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"takes vectors of 16 numbers, and these are images|'digits' has images"
    ):
        metricforge.evaluate(place / "run", "digits", allow_seen=True)
    folder = tmp_path / "files"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for index in range(2):
            from PIL import Image

            Image.new("L", (8, 8), index * 9).save(folder / label / f"{index}.png")
    with pytest.raises(DataError, match="takes vectors of 16 numbers, and 'files' has images"):
        metricforge.evaluate(place / "run", str(folder))
    of_images = metricforge.train(
        dataset="digits", images=200, device="cpu", sampler=SAMPLER, test=False, out=tmp_path / "r"
    )
    with pytest.raises(DataError, match="the model takes images, and these are vectors"):
        metricforge.evaluate(of_images, str(place / "features.npz"), allow_seen=True)
    np.savez(place / "short.npz", features=ROWS[:, :9], labels=LABELS + 50)
    with pytest.raises(DataError, match="takes vectors of 16 numbers, and these have 9"):
        metricforge.evaluate(place / "run", str(place / "short.npz"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": "flip"}, "'flip' takes images, and the dataset has vectors; leave it out"),
        ({"augment": "crop"}, "'crop' takes images, and the dataset has vectors; leave it out"),
        ({"backbone": "conv4"}, "'conv4' takes images, and the dataset has vectors; leave it out"),
        (
            {"dataset": "digits", "augment": "noise", "split": None},
            "takes vectors, and the dataset",
        ),
        ({"dataset": "digits", "backbone": "identity", "split": None}, "takes vectors, and the"),
        ({"orientations": 4}, "orientations are of images"),
        ({"adapters": ("lora",)}, "adapters are of a backbone with weights, and this has none"),
        ({"rates": "backbone=0"}, "this backbone has no parameters"),
        ({"backbone": "identity:weights=x.pth"}, "no file or run|does not exist|is no"),
    ],
)
def test_what_does_not_fit_vectors_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MetricForgeError, match=message):
        trained(**options)


def test_a_backbone_without_weights_starts_from_none(place: Path) -> None:
    with pytest.raises(UsageError, match="has no weights: leave out its option weights"):
        trained(backbone=f"identity:weights={place / 'run'}")


def test_a_head_starts_from_that_of_a_run_on_vectors(place: Path) -> None:
    run = trained(
        head=f"linear:weights={place / 'run'}", epochs=None, images=1,
        optimizer="sgd:lr=0.0000001",
    )  # fmt: skip
    before, after = (dict(load(path).head.named_parameters()) for path in (place / "run", run.path))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-4, rtol=1e-4)


class Squares(torch.nn.Module):
    """A backbone of the user's own."""

    out_features = 2 * V

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(V))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        assert rows.shape[1:] == (V,)
        assert rows.dtype == torch.float32
        return torch.cat([rows * self.scale, rows**2], dim=1)


def test_a_network_of_ones_own_gets_the_vectors(tmp_path: Path) -> None:
    run = trained(backbone=Squares, head="mlp", out=tmp_path / "run")
    model = metricforge.load(run.path, backbone=Squares())
    assert isinstance(model, EmbeddingModel)
    assert model.encode(ROWS[:3]).shape == (3, V)
    with torch.no_grad():
        rows = model(torch.from_numpy(ROWS[:3]))
    np.testing.assert_allclose(rows.numpy(), model.encode(ROWS[:3]), atol=1e-6)
    assert run.results.keys() == {"trained", "as given", "vectors"}


SAMPLERS = [entry.name for entry in Registry.installed().entries("sampler")]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_trains_on_vectors(sampler: str, tmp_path: Path) -> None:
    specs = {
        "schedule": "schedule:0=random-triplets,1=hard-triplet",
        "episodic": "episodic:way=4,shot=1,queries=2",
    }
    loss = "contrastive" if sampler in ("random-pairs", "all-pairs", "hard-pairs") else None
    loss = "multi-similarity" if sampler == "balanced" else loss
    run = trained(sampler=specs.get(sampler, sampler), loss=loss, out=tmp_path / "run", test=False)
    assert 0 < run.validation["map@r"] <= 1


@pytest.mark.parametrize("head", ["linear", "mlp", "residual-mlp:dropout=0.1"])
@pytest.mark.parametrize("augment", ["noise", "dropout:p=0.2", "none"])
def test_every_head_and_augmentation_trains_on_vectors(
    head: str, augment: str, tmp_path: Path
) -> None:
    run = trained(head=head, augment=augment, out=tmp_path / "run")
    assert run.results["trained"]["map@r"].value > 0
    assert not (run.path / "plots" / "augmentation.png").exists()


def test_training_helps_where_the_vectors_hold_noise(tmp_path: Path) -> None:
    """Half of the dimensions are noise alone, which the head learns to leave out."""
    run = trained(epochs=60, optimizer="adamw:lr=0.003", out=tmp_path / "run")
    gain = run.results["trained"]["map@r"].value - run.results["vectors"]["map@r"].value
    assert gain > 0.2


def test_the_baseline_of_vectors_ranks_them_whitened_and_with_heads(place: Path) -> None:
    ranked = metricforge.baseline(
        str(place / "features.npz"), samplers=(SAMPLER,), split=QUICK["split"]
    )
    names = [row.name for row in ranked.rows]
    assert set(names) == {"vectors", "vectors, whitened", "vectors, head by hard-triplet"}
    assert "--backbone" not in ranked.command
    assert not any("random weights" in note for note in ranked.notes)
    by_name = {row.name: row for row in ranked.rows}
    run = Run.open(place / "run")
    assert by_name["vectors"].test["map@r"].value == pytest.approx(
        run.results["vectors"]["map@r"].value
    )
    assert by_name["vectors"].dim == V
    assert by_name["vectors"].seconds is None
    assert by_name["vectors, whitened"].differences.keys() >= {"map@r"}
    with pytest.raises(MetricForgeError, match="takes images, and the dataset has vectors"):
        metricforge.baseline(str(place / "features.npz"), backbones=("conv4",))


@pytest.mark.parametrize("scale", [1e-8, 1e20])
def test_the_row_of_vectors_is_their_cosine_at_any_length(scale: float, tmp_path: Path) -> None:
    def row(rows: np.ndarray) -> dict[str, float]:
        dataset = Dataset(
            "rows", torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(LABELS),
            tuple(map(str, range(CLASSES))), (V,),
        )  # fmt: skip
        run = trained(dataset=dataset, out=tmp_path / str(len(list(tmp_path.iterdir()))), epochs=1)
        return {name: each.value for name, each in run.results["vectors"].items()}

    assert row(ROWS * scale) == pytest.approx(row(ROWS), abs=1e-6)


def test_labels_of_a_run_are_not_those_of_another_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    np.save(tmp_path / "labels.npy", LABELS)
    spec = f"vectors:path={tmp_path / 'a.npy'},labels={tmp_path / 'labels.npy'}"
    run = trained(dataset=spec, out=tmp_path / "run")
    np.save(tmp_path / "b.npy", ROWS[::-1])
    with pytest.raises(UsageError, match="has vectors without labels"):
        metricforge.evaluate(run, str(tmp_path / "b.npy"))


def test_a_run_on_vectors_is_resumed_by_its_own_command(place: Path) -> None:
    words = (
        "train", "--dataset", place / "features.npz", "--sampler", SAMPLER, "--out", place / "run",
        "--auto-resume", *(word for key in QUICK for word in (f"--{key}", QUICK[key])),
    )  # fmt: skip
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert "is finished" in done.stderr


class Half(torch.nn.Module):
    """A backbone without weights that is not the identity."""

    out_features = V // 2
    takes_vectors = True

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, : V // 2]


def test_a_backbone_without_weights_has_features_of_its_own(tmp_path: Path) -> None:
    run = trained(backbone=Half, head="linear:start=pca", dim=8, out=tmp_path / "run")
    assert run.results.keys() == {"trained", "as given", "vectors"}


def test_equal_vectors_have_a_baseline_of_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=np.ones_like(ROWS), labels=LABELS)
    ranked = metricforge.baseline(
        str(tmp_path / "x.npz"), samplers=(SAMPLER,), split=QUICK["split"], test=False
    )
    assert len(ranked.rows) == 3


def test_nothing_of_vectors_is_kept_as_features(tmp_path: Path) -> None:
    trained(out=tmp_path / "run", feature_cache=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_copies_among_vectors_are_found(place: Path) -> None:
    rows = ROWS.copy()
    rows[100] = rows[3]
    np.savez(place / "copies.npz", features=rows, labels=LABELS)
    done = command("data", "check", place / "copies.npz", "--json")
    checked = json.loads(done.stdout)
    assert checked["shape"] == [V]
    assert [copies["images"] for copies in checked["identical"]] == [[3, 100]]
    assert checked["alike"] is None
    done = command("data", "check", place / "copies.npz")
    assert "the dataset has vectors of 16 numbers" in done.stdout
    done = command("data", "show", place / "copies.npz", "--out", place / "x.png")
    assert done.returncode == 2
    assert "vectors, which have no picture" in done.stderr


def test_vectors_of_zeros_alone_are_reported(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[3] = rows[70] = 0
    for name, saved in {"two": rows, "none": ROWS}.items():
        np.savez(tmp_path / f"{name}.npz", features=saved, labels=LABELS)
    assert "2 vectors of zeros alone" in command("data", "check", tmp_path / "two.npz").stdout
    assert "of zeros alone" not in command("data", "check", tmp_path / "none.npz").stdout
