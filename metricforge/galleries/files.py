"""The folder of a gallery: its model, its embeddings and what it records of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from metricforge.atomic_files import MANIFEST, read_folder, write_folder
from metricforge.data.own_outputs import refuse_other
from metricforge.decoding import of_format
from metricforge.errors import ArtefactError
from metricforge.evaluation import Cohort
from metricforge.galleries.calibration import Calibration, Strangers
from metricforge.galleries.state import Enrolled, State
from metricforge.model import EmbeddingModel
from metricforge.weights.reading import WEIGHTS

FORMAT = 1
CONTENTS, ARRAYS = "gallery.json", "gallery.safetensors"
FILES = {CONTENTS, ARRAYS, WEIGHTS, "model.json", "README.md", MANIFEST}


@dataclass(frozen=True)
class Contents:
    """What a gallery records beside its embeddings."""

    enrolled: tuple[Enrolled, ...]
    calibration: Calibration
    format: int = FORMAT


def write(folder: str | Path, model: EmbeddingModel, state: State, strangers: Strangers) -> None:
    """Write a gallery, whole or not at all; UsageError as :func:`refuse_used`."""
    refuse_used(folder)
    contents = asdict(Contents(state.enrolled, state.calibration))
    arrays: dict[str, NDArray[Any]] = {
        "rows": np.ascontiguousarray(state.rows),
        "strangers": np.ascontiguousarray(strangers.rows),
        "stranger_labels": strangers.labels,
    }
    if strangers.cohort is not None:
        arrays["cohort"] = np.ascontiguousarray(strangers.cohort.rows)
    files = {
        **model.files(),
        CONTENTS: json.dumps(contents, indent=1).encode(),
        ARRAYS: save_arrays(arrays),
    }
    write_folder(Path(folder).resolve(), files)


def read(folder: str | Path) -> tuple[State, Strangers]:
    """What a gallery holds beside its model, checked by its hashes.

    Raises ArtefactError if it is damaged, foreign or inconsistent.
    """
    if (Path(folder) / "config.toml").is_file():
        raise ArtefactError(
            f"{folder} is a run, and no gallery; metricforge enrol makes one of it."
        )
    files = read_folder(Path(folder))
    if CONTENTS not in files:
        raise ArtefactError(f"{folder} is no gallery; metricforge enrol makes one.")
    try:
        contents = of_format(files[CONTENTS], Contents, FORMAT, f"{folder} has gallery")
        arrays = load_arrays(files[ARRAYS])
        rows, strangers, labels = (
            arrays[name] for name in ("rows", "strangers", "stranger_labels")
        )
        cohort = arrays.get("cohort")
        if cohort is None and contents.calibration.normalised:
            raise ValueError("it normalises, and has no cohort")
    except (ValueError, KeyError, SafetensorError) as error:
        raise ArtefactError(f"{folder} is not a whole gallery: {error}.") from error
    _check(folder, contents, rows, strangers, labels)
    if cohort is not None:
        _check_cohort(folder, rows.shape[1], cohort)
    known = Strangers(strangers, labels, None if cohort is None else Cohort(cohort))
    return State(contents.enrolled, rows, contents.calibration), known


def refuse_used(folder: str | Path) -> None:
    """UsageError if `folder` holds anything but a gallery, since it is replaced as a whole."""
    refuse_other(folder, "gallery", lambda path: {file.name for file in path.iterdir()} == FILES)


def _check_cohort(folder: str | Path, dim: int, cohort: Any) -> None:
    """ArtefactError if they are no embeddings like those of the gallery."""
    fits = cohort.ndim == 2 and cohort.shape[1] == dim and cohort.dtype == np.float32
    if not fits or not len(cohort) or not np.isfinite(cohort).all():
        raise ArtefactError(
            f"{folder} does not fit together: a cohort {cohort.dtype} of {cohort.shape}, beside "
            f"embeddings of {dim} dimensions; enrol the images anew."
        )


def _check(folder: str | Path, contents: Contents, rows: Any, strangers: Any, labels: Any) -> None:
    """ArtefactError if the parts of a gallery do not fit together."""
    dim = rows.shape[-1] if rows.ndim else 0
    shapes = (rows.shape, strangers.shape, labels.shape)
    expected = ((len(contents.enrolled), dim), (len(labels), dim), (len(strangers),))
    kinds = (rows.dtype, strangers.dtype, labels.dtype)
    whole = shapes == expected and kinds == (np.float32, np.float32, np.int64)
    if not whole or not len(rows) or not len(labels) or (labels < 0).any():
        raise ArtefactError(
            f"{folder} does not fit together: {len(contents.enrolled)} images of {dim} dimensions, "
            f"and arrays of {', '.join(map(str, shapes))}; enrol the images anew."
        )
    if not (np.isfinite(rows).all() and np.isfinite(strangers).all()):
        raise ArtefactError(f"{folder} has embeddings that are NaN or infinite; enrol anew.")
