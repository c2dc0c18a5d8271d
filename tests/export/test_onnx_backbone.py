"""The backbone onnx: what it reads, what it refuses, and that a saved model has the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from metricforge_standard import _onnx
from metricforge_standard.backbones.onnx import Onnx
from onnx import TensorProto, helper, numpy_helper

import metricforge
from metricforge.errors import ArtefactError, UsageError
from metricforge.testing import check
from tests.export.conftest import SIDE, VALIDATION

WEIGHTS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def network(
    kind: int = TensorProto.FLOAT, shape: tuple[Any, ...] = ("batch", 3, 8, 8), **change: Any
) -> onnx.ModelProto:
    """The means of three channels times WEIGHTS."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        [*nodes, *change.get("nodes", ())],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (shape[0], 5))],
        [
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(WEIGHTS, "w"),
        ],
    )
    opsets = [helper.make_opsetid("", 18), *change.get("opsets", ())]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def written(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_it_keeps_the_contract_but_for_gradients(tmp_path: Path) -> None:
    path = written(tmp_path, network(shape=("batch", 3, "height", "width")))
    report = check("backbone", f"onnx:path={path}")
    # It is frozen, and runs on the CPU.
    assert {finding.check for finding in report.failures} == {
        "gradients-are-finite",
        "gradient-is-the-derivative",
        "runs-in-bfloat16",
        "runs-on-any-device",
    }, str(report)


def test_the_exported_file_is_read_back(
    exported: metricforge.Export, run: Path, tested: list[Path], photos: Path, tmp_path: Path
) -> None:
    own = tmp_path / "moved.onnx"
    own.write_bytes(exported.path.read_bytes())
    split = run / "split.json"
    again = metricforge.train(
        dataset=f"folder:path={photos},size={SIDE}", split=f"saved:path={split}", epochs=1,
        backbone=f"onnx:path={own}", dim=16, protocols=["retrieval"], orientations=1,
        device="cpu", out=tmp_path / "again",
    )  # fmt: skip
    before = metricforge.load(run, device="cpu").encode(tested)
    own.unlink()
    model = metricforge.load(again.path, device="cpu")
    assert str(tmp_path) not in model.card.backbone
    pixels = torch.stack(
        [torch.from_numpy(np.array(image)) for image in _pixels(tested)]
    )  # as the model reads them
    features = model.features(pixels).numpy()
    np.testing.assert_allclose(features, before, atol=1e-5)
    assert again.recipe.rates == "backbone=0"
    found = metricforge.evaluate(again.path, device="cpu", baselines=False)
    assert found.results["trained"]["recall@1"].value > 0.2
    gallery = metricforge.enrol(again.path, _few(photos, tmp_path), false_alarms=0.4, device="cpu")
    gallery.save(tmp_path / "gallery")
    opened = metricforge.Gallery.open(tmp_path / "gallery", device="cpu")
    assert opened.identify_all(tested[:4]) == gallery.identify_all(tested[:4])


def test_a_baseline_ranks_its_features(
    exported: metricforge.Export, run: Path, photos: Path
) -> None:
    ranked = metricforge.baseline(
        f"folder:path={photos},size={SIDE}", backbones=[f"onnx:path={exported.path}"],
        samplers=["hard-triplet:classes=8"], split=f"saved:path={run / 'split.json'}", device="cpu",
    )  # fmt: skip
    own = metricforge.evaluate(run, part="validation", device="cpu", baselines=False,
                               allow_seen=True, protocols=["retrieval"])  # fmt: skip
    expected = pytest.approx(own.results["trained"]["map@r"].value, abs=1e-4)
    assert expected in [row.validation["map@r"].value for row in ranked.rows]


def _pixels(paths: list[Path]) -> list[np.ndarray[Any, Any]]:
    from metricforge.data.decode import read_image

    return [read_image(path, (3, SIDE, SIDE)).numpy() for path in paths]


def _few(photos: Path, tmp_path: Path) -> Path:
    for label in (VALIDATION, VALIDATION + 1):
        target = tmp_path / "few" / f"{label:02}"
        target.mkdir(parents=True)
        for path in sorted((photos / f"{label:02}").iterdir())[:4]:
            (target / path.name).write_bytes(path.read_bytes())
    return tmp_path / "few"


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_files_of_pixels_or_floats_and_of_one_image_at_a_time(
    tmp_path: Path, kind: int, batch: Any
) -> None:
    backbone = Onnx(path=written(tmp_path, network(kind, (batch, 3, 8, 8))))
    assert backbone.out_features == 5
    assert list(backbone.parameters()) == []
    std = 1 / 255 if kind == TensorProto.UINT8 else 1.0
    assert backbone.preprocessing.size == (8, 8)
    assert backbone.preprocessing.std == (std,) * 3
    images = torch.randint(0, 256, (4, 3, 8, 8)).float() / 255 / std
    expected = images.numpy().mean((2, 3)) @ WEIGHTS
    np.testing.assert_allclose(backbone(images), expected, rtol=1e-5)
    # A grey image counts as three equal channels.
    grey = backbone(images[:, :1])
    np.testing.assert_allclose(grey, backbone(images[:, :1].expand(-1, 3, -1, -1)))


def test_mean_and_deviation_are_for_floats(tmp_path: Path) -> None:
    path = written(tmp_path, network())
    backbone = Onnx(path=path, mean=(0.5, 0.4, 0.3), std=(0.2,))
    assert backbone.preprocessing.mean == (0.5, 0.4, 0.3)
    assert backbone.preprocessing.std == (0.2,) * 3
    with pytest.raises(UsageError, match="mean has 2 numbers for 3 channels"):
        Onnx(path=path, mean=(0.5, 0.4))
    with pytest.raises(UsageError, match="8 x 8: leave size=9 out"):
        Onnx(path=path, size=9)
    with pytest.raises(UsageError, match="std above 0"):
        Onnx(path=path, std=(0.0,))
    pixels = written(tmp_path, network(TensorProto.UINT8))
    with pytest.raises(UsageError, match="normalises itself"):
        Onnx(path=pixels, mean=(0.5,))


@pytest.mark.parametrize(
    ("kind", "shape", "reason"),
    [
        (TensorProto.FLOAT, (4, 3, 8, 8), "takes 4 images at a time"),
        (TensorProto.FLOAT, ("b", 2, 8, 8), "C 1 or 3"),
        (TensorProto.FLOAT, ("b", 3, 8), r"takes \[any, 3, 8\]"),
        (TensorProto.INT64, ("b", 3, 8, 8), "of ONNX's type 7"),
    ],
)
def test_other_inputs_are_refused(
    tmp_path: Path, kind: int, shape: tuple[Any, ...], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        Onnx(path=written(tmp_path, network(kind, shape)))


def test_a_damaged_file_is_refused_wherever_it_ends(
    tmp_path: Path, exported: metricforge.Export
) -> None:
    content = exported.path.read_bytes()
    path = tmp_path / "cut.onnx"
    for end in (0, 1, 100, *np.linspace(200, len(content) - 1, 25).astype(int)):
        path.write_bytes(content[:end])
        with pytest.raises(ArtefactError, match=r"damaged|can't run"):
            Onnx(path=path)
    path.write_bytes(b"\x89PNG" + content)
    with pytest.raises(ArtefactError, match="damaged"):
        Onnx(path=path)
    with pytest.raises(UsageError, match="no file of that name"):
        Onnx(path=tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="needs the option 'path'"):
        Onnx()


def test_operators_of_another_library_are_refused(tmp_path: Path) -> None:
    foreign = helper.make_node("PyOp", ["means"], ["z"], domain="ai.onnx.contrib")
    opsets = [helper.make_opsetid("ai.onnx.contrib", 1)]
    path = written(tmp_path, network(nodes=[foreign], opsets=opsets))
    with pytest.raises(ArtefactError, match=r"operator PyOp of 'ai\.onnx\.contrib'"):
        Onnx(path=path)
    inner = helper.make_graph(
        [foreign], "inner", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, ("b", 3))]
    )
    branch = helper.make_node("If", ["c"], ["v"], then_branch=inner, else_branch=inner)
    path = written(tmp_path, network(nodes=[branch], opsets=opsets))
    with pytest.raises(ArtefactError, match="operator PyOp"):
        Onnx(path=path)
    path = written(tmp_path, network(opsets=opsets))
    with pytest.raises(ArtefactError, match=r"requires operators of 'ai\.onnx\.contrib'"):
        Onnx(path=path)


def test_tensors_beside_the_file_are_taken_in_and_others_refused(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    proto = network()
    onnx.save_model(
        proto, folder / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    backbone = Onnx(path=folder / "net.onnx")
    images = torch.rand(2, 3, 8, 8)
    expected = images.numpy().mean((2, 3)) @ WEIGHTS
    data = (folder / "w.bin").read_bytes()
    (folder / "w.bin").unlink()
    np.testing.assert_allclose(backbone(images), expected, rtol=1e-5)
    with pytest.raises(ArtefactError, match=r"'w\.bin', which is not beside it"):
        Onnx(path=folder / "net.onnx")
    (tmp_path / "secret.bin").write_bytes(data)
    (folder / "w.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ArtefactError, match=r"'w\.bin', which lies outside of its folder"):
        Onnx(path=folder / "net.onnx")
    for location in ("../secret.bin", str(tmp_path / "secret.bin")):
        moved = onnx.load(folder / "net.onnx", load_external_data=False)
        for tensor in moved.graph.initializer:
            for each in tensor.external_data:
                each.value = location if each.key == "location" else each.value
        with pytest.raises(ArtefactError, match="outside of its folder: it is not read"):
            Onnx(path=written(folder, moved))


def test_a_missing_runtime_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = written(tmp_path, network())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"onnxruntime: pip install 'metricforge\[export\]'"):
        Onnx(path=path)


def _outside(location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value=location)
    return tensor


def _in_a_function(location: str) -> onnx.ModelProto:
    """A tensor of another file in a branch in a function of the model."""
    value, node = helper.make_tensor_value_info, helper.make_node
    branch = helper.make_graph(
        [node("Identity", ["w"], ["b"])], "branch", [], [value("b", 1, [1])],
        initializer=[_outside(location)],
    )  # fmt: skip
    nodes = [
        node("Constant", [], ["c"], value=helper.make_tensor("c", 9, [], [1])),
        node("If", ["c"], ["b"], then_branch=branch, else_branch=branch),
        node("Add", ["x", "b"], ["y"]),
    ]
    opset = helper.make_opsetid("", 18)
    function = helper.make_function("own", "F", ["x"], ["y"], nodes, [opset])
    graph = helper.make_graph(
        [node("F", ["x"], ["y"], domain="own")], "graph",
        [value("x", 1, [None, 4])], [value("y", 1, [None, 4])],
    )  # fmt: skip
    opsets = [opset, helper.make_opsetid("own", 1)]
    return helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=9)


def _sparse(location: str) -> onnx.ModelProto:
    """A sparse tensor whose values lie in another file."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "graph",
        [value("x", 1, [None, 4])], [value("y", 1, [None, 4])],
    )  # fmt: skip
    sparse = onnx.SparseTensorProto(
        values=_outside(location), indices=helper.make_tensor("i", 7, [1], [0]), dims=[4]
    )
    graph.sparse_initializer.append(sparse)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("made", [_in_a_function, _sparse])
@pytest.mark.parametrize("beside", [True, False])
def test_no_tensor_of_another_file_is_read_wherever_it_is_named(
    made: Callable[[str], onnx.ModelProto], beside: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    """onnxruntime would look for it in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_bytes(np.ones(1, np.float32).tobytes())
    folder = tmp_path / "onnx"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(made("w.bin").SerializeToString())
    if beside:
        (folder / "w.bin").write_bytes(np.ones(1, np.float32).tobytes())
    with pytest.raises(ArtefactError, match=r"not beside it|in other files"):
        Onnx(path=folder / "net.onnx")
    # Saved models of strangers have such bytes, too.
    with pytest.raises(ArtefactError, match="in other files"):
        _onnx.parsed(made("w.bin").SerializeToString(), "a model")
