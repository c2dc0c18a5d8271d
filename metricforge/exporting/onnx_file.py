"""A graph as an ONNX file, and what onnxruntime makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import Dim

from metricforge.errors import ArtefactError
from metricforge.exporting.description import KEY
from metricforge.exporting.graph import Graph
from metricforge.exporting.silence import silent

OPSET = 18
OUTPUT = "embeddings"

MOST_BYTES = 2**31 - 1
"""The most bytes of a file of this format without others beside it."""


def to_onnx(graph: Graph) -> bytes:
    """The ONNX file of a graph, by torch's exporter; it has no path of this machine.

    ArtefactError for a network that the exporter can't trace.
    """
    axes = {axis: Dim(name, min=1) for axis, name in graph.axes().items()}
    try:
        with silent(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (graph.example(),),
                dynamo=True,
                input_names=[input_name(graph)],
                output_names=[OUTPUT],
                dynamic_shapes=(axes,),
                opset_version=OPSET,
                verbose=False,
            )
    # The tracing of foreign code raises whatever that code, or the tracer, raises.
    except Exception as error:
        raise untraceable(graph, error) from error
    assert program is not None
    proto = program.model_proto
    _forget_origins(proto)
    if proto.ByteSize() > MOST_BYTES:
        raise ArtefactError("the network has more than 2 GB, the most of an ONNX file: take pt2.")
    content: bytes = proto.SerializeToString()
    return content


def described(content: bytes, text: str) -> bytes:
    """An ONNX file with a record in its metadata."""
    import onnx

    proto = onnx.load_model_from_string(content)
    del proto.metadata_props[:]
    proto.metadata_props.add(key=KEY, value=text)
    written: bytes = proto.SerializeToString()
    return written


def input_name(graph: Graph) -> str:
    """The name of the only input."""
    return "vectors" if graph.card.of_vectors else "images"


def untraceable(graph: Graph, error: Exception) -> ArtefactError:
    """The error for a network that torch can't trace."""
    cause = error.__cause__ or error
    lines = [line for line in str(cause).splitlines() if line.strip()] or [""]
    reason = " ".join(lines[0].split())[:200].rstrip(".")
    return ArtefactError(
        f"torch can't export the backbone '{graph.card.backbone}' ({type(cause).__name__}: "
        f"{reason}); write its forward without branches on values."
    )


class OnnxRunner:
    """An ONNX file run by onnxruntime on the CPU.

    Args:
        content: The file.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        (self._input,) = (each.name for each in self._session.get_inputs())

    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings float32 [B, D] of a batch as the graph takes it."""
        rows: NDArray[np.float32] = self._session.run(None, {self._input: images.numpy()})[0]
        return torch.from_numpy(rows)


def _forget_origins(proto: Any) -> None:
    """Take out what the exporter notes of each node: lines of source, and paths of this machine."""
    for holder in _holders(proto):
        del holder.metadata_props[:]
        holder.doc_string = ""


def _holders(proto: Any) -> Iterator[Any]:
    graph = proto.graph
    yield from (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info)
    yield from graph.initializer
    for function in proto.functions:
        yield from (function, *function.node, *function.value_info)
