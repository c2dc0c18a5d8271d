"""A model written as one file, unless the file embeds or ranks otherwise."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from metricforge.atomic_files import check_writable, write_files
from metricforge.errors import UsageError, few, unknown
from metricforge.exporting.agreement import Agreement, DriftError, Runner, compare
from metricforge.exporting.description import Description
from metricforge.exporting.extra import check_installed
from metricforge.exporting.graph import Graph
from metricforge.exporting.held_out import Part, compared, drawn
from metricforge.exporting.onnx_file import OnnxRunner, described, to_onnx
from metricforge.exporting.precision import BOUNDS, Precision
from metricforge.exporting.pt2_file import Pt2Runner, to_pt2
from metricforge.exporting.quantization import IMAGES, quantize
from metricforge.exporting.speed import Speed
from metricforge.judging.part_choice import tested_part
from metricforge.judging.subject import load_model, run_of
from metricforge.model import EmbeddingModel
from metricforge.registry import Registry
from metricforge.report.progress import count_line
from metricforge.runs.run import Run
from metricforge.shrinking.form import rounding

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")


@dataclass(frozen=True)
class Export:
    """An exported file, and what it was compared by.

    Args:
        path: The file.
        format: "onnx" or "pt2".
        description: The record in the file.
        agreement: The comparison with the model.
        speed: Speed and size beside the model.
        notes: Sentences for the user.
    """

    path: Path
    format: Format
    description: Description
    agreement: Agreement
    speed: Speed
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The export as plain values for JSON."""
        return {
            "file": str(self.path),
            "format": self.format,
            "description": asdict(self.description),
            "agreement": self.agreement.to_json(),
            "speed": self.speed.to_json(),
            "notes": list(self.notes),
        }


def export(
    subject: Run | EmbeddingModel | str | Path,
    out: str | Path,
    to: Format = "onnx",
    *,
    precision: Precision = "fp32",
    preprocessing: bool = False,
    images: Any = None,
    licence: str = "",
    data_root: str | None = None,
    registry: Registry | None = None,
    progress: bool = False,
) -> Export:
    """Write a model as one file that takes uint8 pixels, once it ranks as the model does.

    The file is compared with the model in float32, on held-out images. It is written if components
    of unit-length embeddings differ by no more than 1e-5 (fp32), 1e-2 (fp16) or 0.2 (int8), and the
    95 % intervals of the paired differences of recall@1 and map@r lie within 0.005 (int8: 0.01) of
    zero.

    Args:
        subject: A run, its folder, a model, or the folder of one or of a gallery.
        out: The file.
        to: "onnx", which onnxruntime runs, or "pt2", which torch.export.load loads.
        precision: "fp32", "fp16", or of ONNX "int8", calibrated on training images of the run.
        preprocessing: Whether the file takes images of any size, and resizes them as files are.
        images: Dataset to compare on. Default: the held-out images of the run.
        licence: The licence of the data, for the file's record.
        data_root: Folder of the run's dataset. Default: that of its recipe.
        registry: Registry of components. Default: what is installed.
        progress: Whether to print how many images are compared.

    Returns:
        The file, with the comparison.

    Raises:
        DriftError: The file embeds or ranks otherwise; nothing is written.
        ArtefactError: The network can't be exported.
        UsageError: A package is missing, or the options don't go together.
    """
    _check(to, precision)
    registry, path = registry or Registry.installed(), Path(out)
    check_writable(path)
    run = run_of(subject)
    model = (
        copy.deepcopy(subject)
        if isinstance(subject, EmbeddingModel)
        else load_model(subject, "cpu", registry)
    )
    model = model.cpu().eval()
    if (code := rounding(model.card)) != "float":
        raise UsageError(
            f"the model rounds its embeddings ({code}), and a file whose last digits differ rounds "
            "otherwise: export one that `metricforge shrink --dim N` alone has made."
        )
    graph = Graph(model, preprocessing, half=precision == "fp16")
    tested = tested_part(model, run, images, None, True, data_root, registry)
    part = compared(tested)
    calibrating = _calibrating(model, run, data_root, registry) if precision == "int8" else None
    folder = None if isinstance(subject, EmbeddingModel) else Path(subject)
    description = Description.of(graph, model, folder, precision, licence)
    content = _written(to, graph, model, description, calibrating)
    runner: Runner = OnnxRunner(content) if to == "onnx" else Pt2Runner(content)
    count = len(part.dataset)
    with count_line("images", count, progress) as done:
        agreement = compare(model, runner, part, preprocessing, BOUNDS[precision], registry, done)
    if agreement.faults:
        raise DriftError(precision, agreement)
    first = next(part.pixels(model))[:1]
    speed = Speed.of(model, runner, first, content)
    write_files({path: content})
    seen = tested.overlap_with(model)
    notes = tested.notes + ((_on_seen(seen),) if seen and not tested.closed_set else ())
    return Export(path, to, description, agreement, speed, notes)


def _check(to: str, precision: str) -> None:
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    if precision not in BOUNDS:
        raise unknown("precision", precision, BOUNDS)
    if to == "onnx":
        check_installed("an export to ONNX")
    elif precision == "int8":
        raise UsageError("int8 is for ONNX, whose runtime has it: take --to onnx.")


def _written(
    to: Format, graph: Graph, model: EmbeddingModel, description: Description, part: Part | None
) -> bytes:
    """The file, quantized by some images if there are any."""
    if to == "pt2":
        return to_pt2(graph, description.to_json())
    content = to_onnx(graph)
    if part is not None:
        content = quantize(content, graph, part.pixels(model))
    return described(content, description.to_json())


def _calibrating(
    model: EmbeddingModel, run: Run | None, data_root: str | None, registry: Registry
) -> Part:
    """Training images of the run; UsageError without a run."""
    if run is None:
        raise UsageError(
            "int8 is calibrated on the training images of a run, and this model has none beside "
            "it: take fp32 or fp16."
        )
    tested = tested_part(model, run, None, "train", True, data_root, registry)
    return drawn(tested, IMAGES)


def _on_seen(seen: tuple[str, ...]) -> str:
    return (
        f"the model was trained or selected on {len(seen)} of the classes that were compared "
        f"({few(seen)}): it may drift further on others."
    )
