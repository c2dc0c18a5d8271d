"""A graph as a file of torch.export, and what torch makes of it."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from metricforge.exporting.description import KEY
from metricforge.exporting.graph import Graph
from metricforge.exporting.onnx_file import untraceable
from metricforge.exporting.silence import silent

RECORD = f"{KEY}.json"
"""The name of the record among the extra files of an archive."""


def to_pt2(graph: Graph, text: str) -> bytes:
    """The archive of a traced graph, with a record; it has no path of this machine.

    ArtefactError for a network that torch can't trace.
    """
    axes = {axis: Dim(name, min=1) for axis, name in graph.axes().items()}
    file = io.BytesIO()
    try:
        with silent(), torch.no_grad():
            program = torch.export.export(graph, (graph.example(),), dynamic_shapes=(axes,))
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)
            torch.export.save(program, file, extra_files={RECORD: text})
    # The tracing of foreign code raises whatever that code, or the tracer, raises.
    except Exception as error:
        raise untraceable(graph, error) from error
    return file.getvalue()


class Pt2Runner:
    """An archive of :func:`to_pt2` run by torch on the CPU.

    Args:
        content: The archive, of this process: to read a stranger's can run its code.
    """

    def __init__(self, content: bytes) -> None:
        with silent():
            self._module: Any = torch.export.load(io.BytesIO(content)).module()

    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings float32 [B, D] of a batch as the graph takes it."""
        with torch.inference_mode():
            rows: Tensor = self._module(images)
        return rows
