"""Plots as PNG files, about 900 pixels wide; drawn without pyplot, so without global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from metricforge.errors import ResourceError

DPI = 110
WIDTH = 8.2
MOST_CLASSES = 20
MOST_POINTS = 5_000
LONGEST_CLASS = 24
FONT = "DejaVu Sans"

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


def scatter(
    embeddings: Floats, labels: Ints, classes: Sequence[str], path: Path, title: str
) -> None:
    """Draw embeddings [N, D] in two dimensions, one colour for each class; labels is [N].

    Two dimensions are drawn as they are, more by their first two principal components. Of more
    than 20 classes the largest 20 are drawn, and about 5,000 images at most, evenly from each
    class; the title says both. N is at least 1, and the embeddings are finite.
    """
    labels = np.asarray(labels)
    drawn, remarks = _choose(labels)
    points, axis_labels = _flat(np.asarray(embeddings, dtype=np.float64)[drawn])
    shown, colour = np.unique(labels[drawn], return_inverse=True)
    palette = matplotlib.colormaps["tab10" if len(shown) <= 10 else "tab20"]
    figure, axes = _figure(height=6.4)
    # In random order, so that no class lies on top of the others.
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(20_000 / len(points), 7, 36))
    axes.scatter(
        points[order, 0],
        points[order, 1],
        c=palette(colour[order]),
        s=size,
        alpha=0.65,
        linewidths=0,
        zorder=2,
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])
    _entitle(axes, title, remarks)
    _name_classes(axes, [classes[label] for label in shown], palette)
    longest = max(len(drawable(classes[label], LONGEST_CLASS)) for label in shown)
    figure.subplots_adjust(right=1 - (64 + 6.6 * longest) / (WIDTH * DPI))
    save(figure, path)


def loss_curve(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the loss of every step, and the validation of every epoch if there is any.

    Records are those of a run's metrics.jsonl: `step` and `loss`, or `epoch_end`, `step` and
    `validation`, a mapping whose first score is drawn, and with it `validation_loss` and
    `validation_accuracy`, where they are. A loss that is not finite leaves a gap.
    """
    figure, axes = _figure(height=4.4)
    losses = [r for r in records if r.get("loss") is not None and not r.get("epoch_end")]
    steps = np.array([r["step"] for r in losses], dtype=np.int64)
    values = np.array([r["loss"] for r in losses], dtype=np.float64)
    stride = -(-len(values) // MOST_POINTS) or 1
    axes.plot(steps[::stride], values[::stride], color="tab:blue", alpha=0.25, linewidth=0.8)
    smooth = _smoothed(values)[::stride]
    lines = axes.plot(steps[::stride], smooth, color="tab:blue", linewidth=1.8, label="loss")
    epochs = [r for r in records if r.get("epoch_end")]
    lines += _of_epochs(axes, epochs, "validation_loss", "tab:green", "validation loss")
    lines += _validation(axes, epochs)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    _entitle(axes, "Training", "" if losses else "no steps recorded")
    # Beside the title, where no curve can pass behind it: four entries must fit there.
    legend = axes.legend(
        handles=lines,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=4,
        frameon=False,
        fontsize=8.5,
        handlelength=1.4,
        columnspacing=1.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    save(figure, path)


def health_curves(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw, by epoch, the share of active tuples and the spread, and beside them the rank.

    Records are those of a run's metrics.jsonl, of which the epochs' `active_share`, `spread` and
    `effective_rank` are drawn where they are known; `collapsed` ones are crossed.
    """
    epochs = [r for r in records if r.get("epoch_end")]
    figure = _bare(2.9)
    shares, rank = figure.subplots(1, 2)
    _by_epoch(shares, epochs, "active_share", "tab:blue", "active tuples")
    _by_epoch(shares, epochs, "spread", "tab:orange", "spread")
    fallen = [r for r in epochs if r.get("collapsed")]
    if fallen:
        at, values = [r["epoch"] for r in fallen], [r["spread"] for r in fallen]
        shares.plot(at, values, "x", color="tab:red", ms=8, mew=2, label="collapsed")
    ranks = _by_epoch(rank, epochs, "effective_rank", "tab:green", "effective rank")
    shares.set_ylim(-0.03, 1.03)
    rank.set_ylim(0, 1.1 * max([1.0, *filter(np.isfinite, ranks)]))
    for axes in (shares, rank):
        _styled(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False)
    save(figure, path)


def _by_epoch(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], key: str, colour: str, label: str
) -> list[float]:
    known = [r for r in epochs if r.get(key) is not None]
    at, values = [r["epoch"] for r in known], [r[key] for r in known]
    axes.plot(at, values, "o-", color=colour, ms=4, label=label if known else f"{label}: unknown")
    return values


def _choose(labels: Ints) -> tuple[Ints, str]:
    """The rows to draw, and the remark in the title on the others."""
    names, counts = np.unique(labels, return_counts=True)
    shown = _largest(names, counts)
    # Sorted by class, so that a stride can't beat in time with classes that alternate.
    rows = np.argsort(labels, kind="stable")
    rows = rows[np.isin(labels[rows], shown)]
    stride = -(-len(rows) // MOST_POINTS)
    remarks = []
    if len(names) > MOST_CLASSES:
        which = "" if counts.min() == counts.max() else "the largest "
        remarks.append(f"{which}{MOST_CLASSES} of {len(names)} classes")
    if stride > 1:
        remarks.append(f"one image in {stride}")
    return np.asarray(rows[::stride]), ", ".join(remarks)


def _largest(names: Ints, counts: Ints) -> Ints:
    """The classes to draw; of those that tie for the last places some, spread evenly.

    The first of them would be of one group: one alphabet, one kind of groceries.
    """
    if len(names) <= MOST_CLASSES:
        return names
    least = np.sort(counts)[-MOST_CLASSES]
    surely, alike = names[counts > least], names[counts == least]
    places = np.linspace(0, len(alike) - 1, MOST_CLASSES - len(surely)).round().astype(int)
    return np.sort(np.concatenate([surely, alike[places]]))


def _flat(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Points [N, D] as [N, 2], and the labels of the two axes."""
    if points.shape[1] == 1:
        return np.pad(points, ((0, 0), (0, 1))), ("dimension 1", "")
    if points.shape[1] == 2:
        return points, ("dimension 1", "dimension 2")
    from sklearn.decomposition import PCA

    flat, shares = np.zeros((len(points), 2)), np.zeros(2)
    if (points != points[0]).any():
        # It makes the largest weight of a component positive: the same sign on every machine.
        pca = PCA(2, svd_solver="covariance_eigh")
        flat = pca.fit_transform(points - points.mean(axis=0))
        shares = pca.explained_variance_ratio_
    first, second = (f"component {i} ({s:.0%} of variance)" for i, s in enumerate(shares, start=1))
    return flat, (first, second)


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A centred moving average over a fiftieth of the run, shorter at both ends."""
    finite, size = np.isfinite(values), 2 * (len(values) // 100) + 1
    total = uniform_filter1d(np.where(finite, values, 0.0), size, mode="constant")
    count = uniform_filter1d(finite.astype(float), size, mode="constant")
    return np.where(finite, total / np.where(finite, count, 1.0), np.nan)


def _validation(axes: Axes, epochs: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    scored = [(r["step"], r["validation"]) for r in epochs if r.get("validation")]
    if not scored:
        return []
    name = next(iter(scored[-1][1]))
    steps = [step for step, scores in scored if name in scores]
    values = [scores[name] for _, scores in scored if name in scores]
    second = axes.twinx()
    second.spines["top"].set_visible(False)
    label = f"validation {name}"
    lines = second.plot(steps, values, "o-", color="tab:orange", ms=4, label=label)
    accuracy = _of_epochs(second, epochs, "validation_accuracy", "tab:red", "validation accuracy")
    second.set_ylabel(f"{label}, accuracy" if accuracy else label, parse_math=False)
    return lines + accuracy


def _of_epochs(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], key: str, colour: str, label: str
) -> list[Line2D]:
    """A curve of the values of this key at the last step of each epoch, if there are any."""
    known = [(r["step"], r[key]) for r in epochs if r.get(key) is not None]
    if not known:
        return []
    steps, values = zip(*known, strict=True)
    return axes.plot(steps, values, "o-", color=colour, ms=4, label=label)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = _bare(height)
    axes = figure.add_subplot()
    _styled(axes)
    return figure, axes


def _bare(height: float) -> Figure:
    """A figure with room for titles and labels.

    The margins are fixed: measuring them takes as long as all else of a small run.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=0.1, right=0.91, bottom=0.56 / height, top=1 - 0.5 / height, wspace=0.18
    )
    return figure


def _styled(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    # Longer numbers would not fit; a power of ten stands above them, beside the title.
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    axes.yaxis.get_offset_text().set_x(-0.1)


def _entitle(axes: Axes, title: str, remarks: str) -> None:
    lines = drawable(title, 70) + (f"\n({remarks})" if remarks else "")
    axes.set_title(lines, loc="left", fontsize=11, family=FONT, parse_math=False)


def _name_classes(axes: Axes, names: Sequence[str], palette: Any) -> None:
    dots = [
        Line2D([], [], marker="o", linestyle="", color=palette(index))
        for index in range(len(names))
    ]
    # Placeholders first: matplotlib skips a label that begins with "_".
    legend = axes.legend(
        dots,
        [str(index) for index in range(len(names))],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        frameon=False,
        handlelength=1.0,
        prop={"family": FONT, "size": 9},
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(drawable(name, LONGEST_CLASS))


def drawable(text: str, longest: int) -> str:
    """Text that the font can draw, "?" for what it lacks, cut to `longest` characters."""
    known = _characters()
    text = "".join(c if c.isprintable() and ord(c) in known else "?" for c in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


def save(figure: Figure, path: Path) -> None:
    # Without the version of the library, the same data gives the same bytes for longer.
    try:
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
    except OSError as error:
        raise ResourceError(f"can't write {path}: {error.strerror or error}.") from error
