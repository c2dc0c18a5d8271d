"""Exports of a run: what is compared, what is refused, and what another program makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import metricforge
from metricforge.cli.export import command
from metricforge.contracts import Dataset, Estimate
from metricforge.data.decode import read_image
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.exporting import export as exporting
from metricforge.exporting import precision
from metricforge.exporting.agreement import Agreement, DriftError
from metricforge.exporting.description import KEY
from metricforge.exporting.graph import Graph
from metricforge.exporting.precision import Bounds
from metricforge.weights.adapting import weights_hash
from tests.cli.process import ROOT
from tests.cli.process import metricforge as process
from tests.export.conftest import CLASSES, EACH, SIDE, TRAIN, VALIDATION, files_of

STRANGER = """
import sys
sys.path = [path for path in sys.path if "site-packages" not in path]
sys.path.insert(0, sys.argv[1])
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("torch is here")
{embed}
np.save(sys.argv[3], np.concatenate([embed(path) for path in sys.argv[4:]]))
assert not {{"torch", "metricforge", "onnx"}} & {{*sys.modules}}
"""


def in_the_readme() -> str:
    """The lines of Python in README.md that embed by an ONNX file, of the second argument here."""
    (lines,) = (
        block.partition("```")[0]
        for block in (ROOT / "README.md").read_text().split("```python\n")[1:]
        if "onnxruntime" in block.partition("```")[0]
    )
    return lines.replace('"model.onnx"', "sys.argv[2]")


def rankings(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    distances = np.linalg.norm(rows[:, None].astype(np.float64) - rows[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.argsort(axis=1)[:, :10]


def test_a_python_without_torch_gets_the_same_rankings(
    exported: metricforge.Export, run: Path, tested: list[Path], tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("numpy", "PIL", "onnxruntime"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        home = Path(spec.origin).parent
        for folder in (home, *home.parent.glob(f"{'pillow' if name == 'PIL' else name}.libs")):
            (packages / folder.name).symlink_to(folder)
    words = [packages, exported.path, tmp_path / "rows.npy", *tested]
    program = STRANGER.format(embed=in_the_readme())
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = np.load(tmp_path / "rows.npy")
    expected = metricforge.load(run, device="cpu").encode(tested)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    np.testing.assert_array_equal(rankings(rows), rankings(expected))


def test_pixels_of_the_models_size_give_its_embeddings(
    run: Path, tested: list[Path], tmp_path: Path
) -> None:
    plain = metricforge.export(run, tmp_path / "model.onnx")
    pixels = np.stack([read_image(path, (3, SIDE, SIDE)).numpy() for path in tested])
    session = onnxruntime.InferenceSession(plain.path)
    rows = session.run(None, {"images": pixels})[0]
    expected = metricforge.load(run, device="cpu").encode(tested)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    np.testing.assert_array_equal(rankings(rows), rankings(expected))
    assert plain.agreement.whole is None
    assert (plain.agreement.images, plain.agreement.classes) == (
        (CLASSES - VALIDATION) * EACH, CLASSES - VALIDATION,
    )  # fmt: skip


def test_the_file_carries_what_it_is(exported: metricforge.Export, run: Path) -> None:
    session = onnxruntime.InferenceSession(exported.path)
    record = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    model = metricforge.load(run, device="cpu")
    assert record["name"] == run.name
    assert record["sha256"] == weights_hash(model)
    assert (record["dim"], record["precision"], record["licence"]) == (16, "fp32", "CC0 1.0")
    assert record["seen_classes"] == [f"{label:02}" for label in range(VALIDATION)]
    assert record["input"]["height"] is record["input"]["width"] is None
    assert record["input"]["resized_inside_to"] == [SIDE, SIDE]
    assert record["input"]["fit"] == "squeeze"
    assert record["thresholds"] == {
        "verification": [
            {"distance": each.distance, "false_alarms": each.far}
            for each in model.card.pair_thresholds
        ]
    }
    assert record["thresholds"]["verification"]


def test_a_gallery_gives_its_threshold(run: Path, photos: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for label in (VALIDATION, VALIDATION + 1):
        (few / f"{label}").mkdir(parents=True)
        for path in files_of(photos, label)[:4]:
            (few / f"{label}" / path.name).write_bytes(path.read_bytes())
    gallery = metricforge.enrol(run, few, false_alarms=0.4, device="cpu")
    gallery.save(tmp_path / "gallery")
    made = metricforge.export(tmp_path / "gallery", tmp_path / "g.onnx", images=few)
    threshold = made.description.thresholds["identification"]
    assert threshold["distance"] == gallery.calibration.threshold
    assert threshold["false_alarms"] == gallery.calibration.share
    assert made.agreement.classes == 2


class Drifting(Graph):
    """A graph whose weights are not quite the model's."""

    amount = 0.3

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        rng = torch.Generator().manual_seed(0)
        for weights in self.network.parameters():
            noise = torch.randn(weights.shape, generator=rng) * weights.std()
            weights.data += self.amount * noise.nan_to_num()


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_an_export_that_drifts_is_refused_with_both_tables(
    run: Path, tmp_path: Path, to: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(exporting, "Graph", Drifting)
    out = tmp_path / "model"
    with pytest.raises(DriftError, match=r"embeddings differ by .*, allowed 1e-05") as refused:
        command.main([str(run), "--out", str(out), "--to", to], standalone_mode=False)
    assert refused.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    for line in ("recall@1", "map@r", "embeddings differ by"):
        assert line in printed
    out.write_bytes(b"an earlier one")
    with pytest.raises(DriftError):
        command.main(
            [str(run), "--out", str(out), "--to", to, "--json"], standalone_mode=False
        )  # fmt: skip
    assert json.loads(capsys.readouterr().out)["agreement"]["agrees"] is False
    assert out.read_bytes() == b"an earlier one"


def test_rankings_alone_can_refuse(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "Graph", Drifting)
    monkeypatch.setattr(exporting, "BOUNDS", {"fp32": Bounds(2.0, 0.005)})
    with pytest.raises(DriftError, match=r"is not written: (recall@1|map@r) differs") as drift:
        metricforge.export(run, tmp_path / "model.onnx")
    assert "embeddings" not in str(drift.value)


@pytest.mark.parametrize(
    ("low", "high", "embedding", "faults"),
    [
        (-0.004, 0.004, 9e-6, 0),
        (-0.006, 0.001, 9e-6, 1),
        (-0.001, 0.006, 9e-6, 1),
        (0.0, 0.0, 2e-5, 1),
        (0.0, 0.0, float("nan"), 1),
    ],
)
def test_a_comparison_is_judged_by_both_ends_and_by_the_embeddings(
    low: float, high: float, embedding: float, faults: int
) -> None:
    score, apart = Estimate(0.5, 0.4, 0.6, 9, "classes"), Estimate(0.0, low, high, 9, "classes")
    agreement = Agreement(
        "d", "test", 90, 9, embedding, None, {"map@r": score}, {"map@r": score}, {"map@r": apart},
        precision.BOUNDS["fp32"],
    )  # fmt: skip
    assert len(agreement.faults) == faults


def test_embeddings_that_are_no_numbers_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Infinite(Drifting):
        amount = float("inf")

    monkeypatch.setattr(exporting, "Graph", Infinite)
    with pytest.raises(ArtefactError, match="NaN or infinite"):
        metricforge.export(run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_is_calibrated_on_training_images(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bytes] = []
    quantize = exporting.quantize

    def watched(content: bytes, graph: Graph, batches: Any) -> bytes:
        def seen() -> Any:
            for batch in batches:
                taken.extend(image.numpy().tobytes() for image in batch)
                yield batch

        return quantize(content, graph, seen())

    monkeypatch.setattr(exporting, "quantize", watched)
    monkeypatch.setattr(exporting, "BOUNDS", {"int8": Bounds(1.0, 0.2)})
    made = metricforge.export(run, tmp_path / "model.onnx", precision="int8", preprocessing=True)
    training = {
        read_image(path, (3, SIDE, SIDE)).numpy().tobytes()
        for label in range(TRAIN)
        for path in (photos / f"{label:02}").iterdir()
    }
    assert len(taken) == TRAIN * EACH
    assert set(taken) == training
    proto = onnx.load(made.path)
    weights = [node for node in proto.graph.node if node.op_type == "DequantizeLinear"]
    assert len(weights) >= 4
    resized = [node for node in proto.graph.node if node.op_type == "MatMul"]
    floats = {each.name for each in proto.graph.initializer if each.data_type == 1}
    # Resizing stays in float, whose factors no scale precedes.
    produced = {name: node.op_type for node in proto.graph.node for name in node.output}
    assert len(resized) == 2
    assert not any(produced.get(n) == "DequantizeLinear" for node in resized for n in node.input)
    assert any(name.startswith("network.1.") for name in floats)


def test_int8_requires_a_run_and_onnx(run: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training images of a run"):
        metricforge.export(run / "model", tmp_path / "m.onnx", precision="int8", images=photos)
    with pytest.raises(UsageError, match="take --to onnx"):
        metricforge.export(run, tmp_path / "m.pt2", to="pt2", precision="int8")
    with pytest.raises(UsageError, match="name a dataset"):
        metricforge.export(run / "model", tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"unknown precision 'fp8'.*fp16"):
        metricforge.export(run, tmp_path / "m.onnx", precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"unknown format 'onx'; did you mean 'onnx'"):
        metricforge.export(run, tmp_path / "m.onnx", to="onx")  # type: ignore[arg-type]


@pytest.mark.fault(152)
def test_int8_of_a_head_alone_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 8)
    rows = rng.standard_normal((12, 16))[labels] + 0.3 * rng.standard_normal((96, 16))
    np.savez(tmp_path / "v.npz", features=rows.astype(np.float32), labels=labels)
    made = metricforge.train(
        dataset=str(tmp_path / "v.npz"), sampler="balanced:classes=4,per_class=4", epochs=1,
        protocols=["retrieval"], device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    with pytest.raises(UsageError, match="has none: leave it out"):
        metricforge.export(made.path, tmp_path / "m.onnx", precision="int8")


def test_one_class_ranks_nothing(run: Path, tmp_path: Path) -> None:
    images, labels = torch.zeros(4, 3, SIDE, SIDE, dtype=torch.uint8), torch.zeros(4).long()
    one = Dataset("one", images, labels, ("a",), (3, SIDE, SIDE))
    with pytest.raises(DataError, match="two classes or more, and the all part of 'one' has 1"):
        metricforge.export(run, tmp_path / "m.onnx", images=one)


def test_classes_that_the_model_knows_are_noted(run: Path, photos: Path, tmp_path: Path) -> None:
    made = metricforge.export(run / "model", tmp_path / "m.onnx", images=photos)
    assert any(f"on {VALIDATION} of the classes" in note for note in made.notes)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_a_sentence(
    run: Path, tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        UsageError, match=rf'package {missing}: pip install "metricforge\[export\]"'
    ):
        metricforge.export(run, tmp_path / "model.onnx")


def test_the_command_prints_what_fits_a_terminal(run: Path, tmp_path: Path) -> None:
    done = process(
        "export", run, "--to", "pt2", "--out", tmp_path / "m.pt2", "--quiet", env={"COLUMNS": "80"}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace(str(tmp_path), "").splitlines()
    assert max(map(len, lines)) <= 80
    assert "takes uint8 images [batch, 3, 24, 24], gives float32 [batch, 16]" in lines
    loaded = torch.export.load(tmp_path / "m.pt2", extra_files=(extra := {f"{KEY}.json": ""}))
    assert json.loads(extra[f"{KEY}.json"])["name"] == run.name
    assert loaded.module()(torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8)).shape == (3, 16)


def test_other_images_in_place_of_the_runs(run: Path, tested: list[Path], tmp_path: Path) -> None:
    """As JPEG and grey ones, which the file gets as three channels."""
    others = tmp_path / "others"
    for path in tested:
        target = others / f"new {path.parent.name}" / f"{path.stem}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").save(target, quality=90)
    made = metricforge.export(run, tmp_path / "m.onnx", images=others, preprocessing=True)
    assert made.agreement.images == len(tested)
    assert made.agreement.whole is not None
    assert made.agreement.whole < 0.05
