"""An ONNX file in int8, whose ranges are those of training images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from metricforge.errors import UsageError
from metricforge.exporting.graph import Graph
from metricforge.exporting.onnx_file import input_name
from metricforge.exporting.silence import silent

IMAGES = 256
"""Training images that the ranges of the layers are measured on."""

QUANTIZED = ("Conv", "Gemm", "MatMul")
HEAD = "network.1."
"""The prefix of the weights of the head, which stays in float32: it is small, and comes last."""


def quantize(content: bytes, graph: Graph, batches: Iterator[Tensor]) -> bytes:
    """Quantize the backbone of an ONNX file: int8 weights for each channel, uint8 between layers.

    Args:
        content: The file in float32.
        graph: The graph that it was written from.
        batches: Training images, as the graph takes them.

    Returns:
        The file, with the float operators between pairs of QuantizeLinear and DequantizeLinear.
    """
    import onnx

    with silent():
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        proto = onnx.load_model_from_string(content)
        apart = list(_in_float(proto, graph))
        if len(apart) == sum(node.op_type in QUANTIZED for node in proto.graph.node):
            raise UsageError(
                "int8 is for the products of a backbone, and this model's has none: leave it out."
            )
        with tempfile.TemporaryDirectory(prefix="metricforge-") as folder:
            target = Path(folder) / "int8.onnx"
            quantize_static(
                proto,
                target,
                _reader(input_name(graph), batches),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTIZED),
                per_channel=True,
                # 7 bits: processors without VNNI add two products in 16 bits, which 8 overflow.
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=apart,
            )
            return target.read_bytes()


def _in_float(proto: Any, graph: Graph) -> Iterator[str]:
    """The names of nodes that stay in float32: those that resize, and the head's."""
    resizing = 2 * graph.preprocessing + 2 * graph.resizes
    products = [node for node in proto.graph.node if node.op_type in QUANTIZED]
    for index, node in enumerate(products):
        if index < resizing or any(name.startswith(HEAD) for name in node.input):
            yield node.name


def _reader(name: str, batches: Iterator[Tensor]) -> Any:
    """The batches, as the calibration takes them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {name: batch.numpy()}

    return Reader()
