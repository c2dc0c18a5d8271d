"""Graphs of several backbones, traced and run by another program, against their models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from metricforge.contracts import Reading
from metricforge.errors import ArtefactError, UsageError
from metricforge.exporting.graph import Graph
from metricforge.exporting.onnx_file import OnnxRunner, to_onnx
from metricforge.exporting.pt2_file import Pt2Runner, to_pt2
from metricforge.loading import build
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card
from metricforge.registry import Registry

# Each with another size of the network, number of channels, or way to resize.
MODELS: dict[str, dict[str, Any]] = {
    "conv4": {"shape": (1, 28, 28)},
    "resnet-small": {"shape": (3, 20, 28), "reading": Reading(fit="pad", inverted=True)},
    "timm:model=test_vit,size=32": {
        "shape": (3, 24, 40), "input_size": (32, 32), "interpolation": "bicubic",
    },
    "lenet-prelu": {"shape": (1, 28, 24), "reading": Reading(fit="crop")},
}  # fmt: skip


def made(backbone: str, shape: tuple[int, ...], **further: Any) -> EmbeddingModel:
    torch.manual_seed(0)
    channels = (1,) if len(shape) == 1 else (shape[0],)
    card = Card(backbone, "mlp:hidden=8", 6, shape, (0.4,) * channels[0], (0.3,) * channels[0],
                **further)  # fmt: skip
    model = build(Registry.installed(), card, None, None).eval()
    # As after a training: statistics that are not 0 and 1.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = torch.rand_like(module.running_mean)
            module.running_var = 1 + torch.rand_like(module.running_var)
    return model


@pytest.mark.parametrize("backbone", MODELS)
@pytest.mark.parametrize("preprocessing", [False, True])
def test_onnxruntime_embeds_as_torch_in_batches_of_any_size(
    backbone: str, preprocessing: bool
) -> None:
    if backbone.startswith("timm"):
        pytest.importorskip("timm", reason="requires metricforge[photos]")
    model = made(backbone, **MODELS[backbone])
    graph = Graph(model, preprocessing)
    run = OnnxRunner(to_onnx(graph))
    for count in (1, 2, 7):
        images = torch.randint(0, 256, (count, *model.card.shape), dtype=torch.uint8)
        # A file of images that are inverted has them as they were.
        given = 255 - images if preprocessing and model.card.reading.inverted else images
        torch.testing.assert_close(run(given), model.embed([images]), rtol=0, atol=2e-6)


def test_the_file_names_its_axes_and_has_no_path_of_this_machine() -> None:
    content = to_onnx(Graph(made("conv4", (3, 16, 16)), preprocessing=True))
    proto = onnx.load_model_from_string(content)
    onnx.checker.check_model(proto)
    (taken,), (given,) = proto.graph.input, proto.graph.output
    axes = [axis.dim_param or axis.dim_value for axis in taken.type.tensor_type.shape.dim]
    assert (taken.name, axes) == ("images", ["batch", 3, "height", "width"])
    assert given.name == "embeddings"
    assert {node.domain for node in proto.graph.node} == {""}
    assert b".py" not in content


def test_a_model_of_vectors_takes_vectors() -> None:
    model = made("identity", (12,))
    run = OnnxRunner(to_onnx(Graph(model)))
    rows = torch.randn(5, 12)
    torch.testing.assert_close(run(rows), model.embed([rows]), rtol=0, atol=2e-6)
    with pytest.raises(UsageError, match="model of vectors resizes nothing"):
        Graph(model, preprocessing=True)


def test_an_archive_of_torch_comes_back() -> None:
    model = made("resnet-small", (3, 16, 16))
    content = to_pt2(Graph(model), "{}")
    run = Pt2Runner(content)
    for count in (1, 5):
        images = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8)
        torch.testing.assert_close(run(images), model.embed([images]), rtol=0, atol=2e-6)
    assert b"resnet_small.py" not in content


def test_half_precision_halves_the_weights_and_gives_float32() -> None:
    model = made("resnet-small", (3, 16, 16))
    single, half = (to_onnx(Graph(model, half=each)) for each in (False, True))
    assert len(half) < 0.6 * len(single)
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    rows = OnnxRunner(half)(images)
    assert rows.dtype == torch.float32
    apart = (rows - model.embed([images])).abs().max()
    assert 1e-6 < apart < 1e-2


@pytest.mark.parametrize(
    ("reading", "reason"),
    [(Reading(margin=0.1), "drawings"), (Reading(depth=12), "have 12 bits")],
)
def test_what_no_graph_can_is_refused(reading: Reading, reason: str) -> None:
    model = made("conv4", (1, 28, 28), reading=reading)
    Graph(model)
    with pytest.raises(UsageError, match=rf"{reason}.*leave --with-preprocessing out"):
        Graph(model, preprocessing=True)


class Branching(torch.nn.Module):
    """Its result depends on a branch on values, which can't be traced."""

    out_features = 4

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.mean((2, 3))
        return means.repeat(1, 4) if means.sum() > 0 else means.repeat(1, 4) * 2


def test_a_network_that_can_not_be_traced_is_a_sentence() -> None:
    card = Card("object mine:Branching", "linear", 4, (1, 8, 8), (0.5,), (0.5,))
    model = build(Registry.installed(), card, Branching(), None)
    for write in (to_onnx, lambda graph: to_pt2(graph, "{}")):
        with pytest.raises(ArtefactError, match="can't export the backbone 'object mine"):
            write(Graph(model))


def test_adapters_are_merged_into_the_weights() -> None:
    vit = "timm:model=test_vit,size=32"
    model = made(vit, **MODELS[vit], adapters=("lora:rank=2",))
    images = torch.randint(0, 256, (3, 3, 24, 40), dtype=torch.uint8)
    before = model.embed([images])
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    expected = model.embed([images])
    assert (expected - before).abs().max() > 1e-2
    rows = OnnxRunner(to_onnx(Graph(model)))(images)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_graph_leaves_its_model_as_it_is() -> None:
    model = made("conv4", (1, 16, 16))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Graph(model, half=True)
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        np.testing.assert_array_equal(value, before[name])
