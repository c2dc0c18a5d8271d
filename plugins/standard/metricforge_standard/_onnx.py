"""ONNX files of strangers: read whole, and refused if they need more than standard operators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metricforge.errors import ArtefactError, ResourceError, UsageError
from metricforge.extras import imported
from metricforge.regular_file import read_bytes

OPERATORS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""The domains of operators that onnxruntime has itself: no other library is loaded for them."""

LARGEST = 2**31 - 1
"""The most bytes of a file, with those of its folder that it names."""

TYPES = {1: "float32", 2: "uint8"}


class Signature(NamedTuple):
    """The input and the output of a network: a name, a type, and the axes, None of any length."""

    name: str
    type: str
    axes: tuple[int | None, ...]
    features: int


def read(path: Path) -> bytes:
    """The content of an ONNX file, with the tensors that lie in other files of its folder.

    Raises:
        UsageError: There is no such file, or onnx is not installed.
        ArtefactError: It is damaged, has operators of another library, or names files elsewhere.
    """
    onnx = imported("onnx", "the backbone onnx", "export")
    try:
        content = read_bytes(path, LARGEST)
    except FileNotFoundError as error:
        raise UsageError(f"path={path}: there is no file of that name.") from error
    except OSError as error:
        raise ArtefactError(f"can't read {path}: {error.strerror}.") from error
    proto = _checked(content, str(path))
    files = {_file_of(tensor, path) for tensor in _outside(proto)}
    if not files:
        return content
    if len(content) + sum(file.stat().st_size for file in files) > LARGEST:
        raise ArtefactError(f"{path} has more than 2 GB with the files that it names.")
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
        whole: bytes = proto.SerializeToString()
    except Exception as error:  # of the library, for damage of any kind
        raise ArtefactError(f"the files beside {path} don't fit it: {_brief(error)}.") from error
    parsed(whole, str(path))
    return whole


def parsed(content: bytes, name: str) -> Any:
    """The graph in a file; ArtefactError if it is damaged, names files, or has operators of another
    library.
    """
    proto = _checked(content, name)
    if next(_outside(proto), None) is not None:
        raise ArtefactError(f"{name} has tensors in other files, where they are not read.")
    return proto


def _checked(content: bytes, name: str) -> Any:
    """The graph in a file, which may have tensors in other files."""
    onnx = imported("onnx", "the backbone onnx", "export")
    try:
        proto = onnx.load_model_from_string(content)
    # protobuf's error, whose class depends on its version.
    except Exception as error:
        raise ArtefactError(f"{name} is damaged, or is no ONNX file.") from error
    if not proto.graph.node or not proto.opset_import:
        raise ArtefactError(f"{name} is damaged, or is no ONNX file: it has no operators.")
    own = {function.domain for function in proto.functions}
    functions = {(function.domain, function.name) for function in proto.functions}
    for node in _messages(proto, "NodeProto"):
        if node.domain not in OPERATORS and (node.domain, node.op_type) not in functions:
            raise ArtefactError(
                f"{name} has the operator {node.op_type} of '{node.domain}', which runs code of "
                "another library: export the network with standard operators."
            )
    for opset in proto.opset_import:
        if opset.domain not in (*OPERATORS, *own):
            raise ArtefactError(
                f"{name} requires operators of '{opset.domain}', which is another library's: "
                "export the network with standard operators."
            )
    return proto


def signature(proto: Any, name: str) -> Signature:
    """The only input of a graph and its first output; UsageError for others."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in weights]
    if len(inputs) != 1:
        raise UsageError(f"{name} has {len(inputs)} inputs; a backbone takes one, the images.")
    taken = inputs[0].type.tensor_type
    axes, kind = _axes(taken), TYPES.get(taken.elem_type)
    if kind is None or len(axes) not in (2, 4) or (len(axes) == 2 and kind != "float32"):
        raise UsageError(
            f"{name} takes {_shown(axes)} of ONNX's type {taken.elem_type}; a backbone takes "
            "images [B, C, H, W] as uint8 or float32, or vectors [B, V] as float32."
        )
    if len(axes) == 4 and axes[1] not in (1, 3):
        raise UsageError(f"{name} takes {_shown(axes)}; a backbone takes [B, C, H, W], C 1 or 3.")
    if axes[0] not in (None, 1):
        raise UsageError(
            f"{name} takes {axes[0]} images at a time, no more and no fewer: export it with any "
            "number, or with 1."
        )
    given = _axes(proto.graph.output[0].type.tensor_type)
    return Signature(inputs[0].name, kind, axes, given[-1] or 0 if len(given) == 2 else 0)


def session(content: bytes, name: str) -> Any:
    """A session of onnxruntime on the CPU; ArtefactError for a file that it can't run."""
    runtime = imported("onnxruntime", "the backbone onnx", "export")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except MemoryError as error:
        raise ResourceError(f"out of memory for {name}.") from error
    except Exception as error:  # of the library, for damage of any kind
        raise ArtefactError(f"onnxruntime can't run {name}: {_brief(error)}.") from error


def _file_of(tensor: Any, path: Path) -> Path:
    """The file with a tensor's values; ArtefactError if it is not in the folder of `path`."""
    location = next((each.value for each in tensor.external_data if each.key == "location"), "")
    folder = path.resolve().parent
    file = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
        raise ArtefactError(
            f"{path} names the file '{location}', which lies outside of its folder: it is not read."
        )
    if not file.is_file():
        raise ArtefactError(f"{path} names the file '{location}', which is not beside it.")
    return file


def _outside(proto: Any) -> Iterator[Any]:
    """The tensors whose values lie in other files, wherever in the model they are."""
    for tensor in _messages(proto, "TensorProto"):
        if tensor.external_data or tensor.data_location:
            yield tensor


def _messages(message: Any, kind: str) -> Iterator[Any]:
    """All messages of a kind in a message: of graphs, functions, branches, sparse tensors."""
    if message.DESCRIPTOR.name == kind:
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _messages(each, kind)


def _axes(tensor: Any) -> tuple[int | None, ...]:
    return tuple(axis.dim_value or None for axis in tensor.shape.dim)


def _shown(axes: tuple[int | None, ...]) -> str:
    return f"[{', '.join('any' if axis is None else str(axis) for axis in axes)}]"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
