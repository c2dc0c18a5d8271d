"""Plots: real PNG files of a readable size, with every class in its own colour."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from metricforge.errors import ResourceError
from metricforge.report import answers as answers_picture
from metricforge.report import plots
from metricforge.report.answers import Answered, draw_answers
from metricforge.report.pairs import COLUMN, PER_ROW, TILE, draw_pairs
from metricforge.report.plots import health_curves, loss_curve, scatter
from metricforge.report.tiles import FONT_SIZE, GAP


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def colours(path):
    """Strong colours in the picture, as a set of coarse RGB cells."""
    flat = pixels(path).reshape(-1, 3).astype(int)
    vivid = flat[np.ptp(flat, axis=1) > 60]
    return {tuple(cell) for cell in vivid // 16}


def inked(path):
    return (pixels(path) < 250).any(axis=2).mean()


def clusters(classes, each, dim, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), each)
    points = 3 * rng.standard_normal((classes, dim))[labels]
    return points + rng.standard_normal((len(labels), dim)), labels


def recorded(monkeypatch):
    """What matplotlib was asked to draw, instead of the file."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize("dim", [1, 2, 3, 64])
def test_a_scatter_is_a_png_with_a_colour_a_class(tmp_path, dim):
    points, labels = clusters(6, 40, dim)
    path = tmp_path / "scatter.png"
    scatter(points, labels, list("abcdef"), path, "six classes")
    assert 850 <= pixels(path).shape[1] <= 950
    assert inked(path) > 0.01
    assert len(colours(path)) >= 6
    scatter(points[labels < 1], labels[labels < 1], ["a"], tmp_path / "one.png", "one class")
    assert len(colours(tmp_path / "one.png")) < len(colours(path))


def test_two_dimensions_are_drawn_as_they_are(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    points, labels = clusters(3, 20, 2)
    scatter(points, labels, list("abc"), tmp_path / "x", "plain")
    axes = figures[0].axes[0]
    drawn = np.asarray(axes.collections[0].get_offsets())
    assert {tuple(p) for p in drawn.round(9)} == {tuple(p) for p in points.round(9)}
    assert axes.get_aspect() == 1
    assert axes.get_title(loc="left") == "plain"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a", "b", "c"]


@pytest.mark.parametrize("scale", [1e-7, 1e6])
def test_a_power_of_ten_leaves_the_title_its_room(tmp_path, monkeypatch, scale):
    figures = recorded(monkeypatch)
    points, labels = clusters(3, 2_000, 2)
    scatter(scale * points, labels, list("abc"), tmp_path / "x", "tiny or huge")
    (figure,) = figures
    axes = figure.axes[0]
    figure.canvas.draw()
    title, power = axes._left_title.get_window_extent(), axes.yaxis.get_offset_text()
    assert "e" in power.get_text()
    assert title.y1 <= figure.bbox.y1
    assert power.get_window_extent().x0 >= 0
    assert not title.overlaps(power.get_window_extent())


def test_more_dimensions_are_drawn_by_their_principal_components(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    rng = np.random.default_rng(0)
    # Variances 16, 4 and 1 on the axes, after a rotation.
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    points = rng.standard_normal((4000, 3)) * [4, 2, 1] @ rotation + 50
    scatter(points, np.zeros(4000, dtype=int), ["a"], tmp_path / "x", "pca")
    axes = figures[0].axes[0]
    drawn = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(drawn.std(axis=0), [4, 2], rtol=0.05)
    share = [float(text.split("(")[1].split("%")[0]) for text in axes_labels(axes)]
    assert share == pytest.approx([100 * 16 / 21, 100 * 4 / 21], abs=2)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_strongest_weight_of_a_component_is_positive(sign, tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    away = np.random.default_rng(0).exponential(size=500)
    points = away[:, None] * [3.0 * sign, 1.0, -0.5] + 7
    scatter(points, np.zeros(500, dtype=int), ["a"], tmp_path / "x", "pca")
    drawn = np.asarray(figures[0].axes[0].collections[0].get_offsets())[:, 0]
    # The long tail lies where it lies along the first dimension.
    assert np.sign((drawn**3).mean()) == sign


def axes_labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def test_only_the_largest_classes_are_drawn_and_the_title_says_so(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    labels = np.repeat(np.arange(25), np.arange(1, 26))
    names = [f"class {c}" for c in range(25)]
    scatter(np.random.default_rng(0).random((len(labels), 2)), labels, names, tmp_path / "x", "t")
    axes = figures[0].axes[0]
    assert "the largest 20 of 25 classes" in axes.get_title(loc="left")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == names[5:]
    assert len(axes.collections[0].get_offsets()) == sum(range(6, 26))


def test_of_classes_of_one_size_some_of_all_are_drawn(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    labels = np.repeat(np.arange(162), 3)
    labels = np.concatenate([labels, [100]])
    names = [f"class {c}" for c in range(162)]
    scatter(np.random.default_rng(0).random((len(labels), 2)), labels, names, tmp_path / "x", "t")
    axes = figures[0].axes[0]
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    places = [int(name.split()[1]) for name in shown]
    assert len(set(places)) == 20
    assert {0, 100, 161} <= set(places)
    assert all(b - a < 12 for a, b in itertools.pairwise(places))


def test_many_points_are_thinned_evenly_and_the_title_says_so(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    # Classes that alternate with the period of the stride, the worst case for one.
    points, labels = clusters(4, 5000, 2)
    scatter(points, labels, list("abcd"), tmp_path / "x", "t")
    axes = figures[0].axes[0]
    assert "one image in 4" in axes.get_title(loc="left")
    drawn = axes.collections[0]
    _, counts = np.unique(drawn.get_facecolor(), axis=0, return_counts=True)
    assert counts.tolist() == [1250] * 4


NAMES = ["_hidden", "$\\frac{$", "漢字", "a\nb\x1b[31m", "x" * 99, "\udc80", "100% <b>"]


def test_any_class_name_and_title_can_be_drawn(tmp_path, monkeypatch):
    points, labels = clusters(len(NAMES), 5, 2)
    scatter(points, labels, NAMES, tmp_path / "names.png", "$\\frac{$ \x1b 漢字")
    assert inked(tmp_path / "names.png") > 0.01
    figures = recorded(monkeypatch)
    scatter(points, labels, NAMES, tmp_path / "x", "t")
    shown = [t.get_text() for t in figures[0].axes[0].get_legend().get_texts()]
    assert shown == [
        "_hidden", "$\\frac{$", "??", "a?b?[31m", "x" * 23 + "…", "?", "100% <b>",
    ]  # fmt: skip


@pytest.mark.parametrize("dim", [2, 5])
def test_one_image_and_identical_images_can_be_drawn(tmp_path, dim):
    for count in (1, 50):
        path = tmp_path / f"{count}.png"
        scatter(np.ones((count, dim)), np.zeros(count, dtype=int), ["a"], path, "t")
        assert colours(path)


def test_the_same_data_gives_the_same_bytes(tmp_path):
    points, labels = clusters(5, 30, 8)
    for name in ("a", "b"):
        scatter(points, labels, list("abcde"), tmp_path / name, "t")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def history(steps=300):
    rng = np.random.default_rng(0)
    records = [
        {"step": s, "loss": float(np.exp(-s / 100) + 0.1 * rng.random())} for s in range(steps)
    ]
    ends = [
        {"epoch_end": True, "step": s, "loss": 9.0, "validation": {"map@r": s / 400, "x": 7.0}}
        for s in range(50, steps, 50)
    ]
    return sorted(records + ends, key=lambda r: r["step"])


def test_a_loss_curve_shows_raw_and_smooth_loss_and_the_first_score(tmp_path, monkeypatch):
    loss_curve(history(), tmp_path / "loss.png")
    assert 850 <= pixels(tmp_path / "loss.png").shape[1] <= 950
    assert len(colours(tmp_path / "loss.png")) > 2
    figures = recorded(monkeypatch)
    loss_curve(history(), tmp_path / "x")
    axes, second = figures[0].axes
    raw, smooth = (line.get_ydata() for line in axes.get_lines())
    assert raw.tolist() == [r["loss"] for r in history() if not r.get("epoch_end")]
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(raw)).mean()
    assert smooth[100] == pytest.approx(raw[97:104].mean())
    assert smooth[0] == pytest.approx(raw[:4].mean())
    assert second.get_ylabel() == "validation map@r"
    assert second.get_lines()[0].get_ydata().tolist() == [0.125, 0.25, 0.375, 0.5, 0.625]


def test_a_loss_curve_shows_the_loss_and_accuracy_on_validation_images(tmp_path, monkeypatch):
    steps = [r for r in history() if not r.get("epoch_end")]
    ends = [r for r in history() if r.get("epoch_end")]
    losses, accuracies = [3.0, None, 2.0, 1.5, 1.0], [0.5, None, 0.75, 0.9, 1.0]
    ends = [
        {**end, "validation_loss": loss, "validation_accuracy": accuracy}
        for end, loss, accuracy in zip(ends, losses, accuracies, strict=True)
    ]
    loss_curve([*steps, *ends], tmp_path / "loss.png")
    figures = recorded(monkeypatch)
    loss_curve([*steps, *ends], tmp_path / "x")
    axes, second = figures[0].axes
    known = [end["step"] for end in ends if end["validation_loss"] is not None]
    assert drawn(axes)["validation loss"] == (known, [3.0, 2.0, 1.5, 1.0])
    assert drawn(second)["validation accuracy"] == (known, [0.5, 0.75, 0.9, 1.0])
    assert second.get_ylabel() == "validation map@r, accuracy"
    legend = axes.get_legend()
    assert len(legend.get_texts()) == 4
    figures[0].canvas.draw()
    assert not axes._left_title.get_window_extent().overlaps(legend.get_window_extent())


def test_a_loss_that_is_none_leaves_a_gap(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    losses = [1.0, float("nan"), 3.0, float("inf"), 5.0]
    loss_curve([{"step": s, "loss": v} for s, v in enumerate(losses)], tmp_path / "x")
    smooth = figures[0].axes[0].get_lines()[1].get_ydata()
    np.testing.assert_array_equal(smooth, [1, np.nan, 3, np.nan, 5])


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 0, "loss": 1.0}],
        [{"step": 5, "epoch_end": True, "validation": {}}],
        [{"step": 5, "epoch_end": True, "validation": None}, {"step": 6, "loss": float("nan")}],
    ],
)
def test_a_run_of_hardly_any_steps_can_be_drawn(tmp_path, records):
    loss_curve(records, tmp_path / "loss.png")
    assert inked(tmp_path / "loss.png") > 0.001


def test_a_long_run_is_thinned(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    loss_curve([{"step": s, "loss": 1.0} for s in range(12_000)], tmp_path / "x")
    assert len(figures[0].axes[0].get_lines()[0].get_xdata()) == 4000


def epochs(**health):
    """The ends of epochs, with these values by name, between steps."""
    many = len(next(iter(health.values())))
    ends = [
        {"epoch_end": True, "epoch": n + 1, **{name: values[n] for name, values in health.items()}}
        for n in range(many)
    ]
    return [{"step": 1, "epoch": 1, "loss": 1.0}, *ends]


def drawn(axes):
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.get_lines()
    }


def test_health_is_drawn_by_epoch_and_a_collapse_is_crossed(tmp_path, monkeypatch):
    records = epochs(
        active_share=[0.9, 0.7, 1.0],
        spread=[0.5, 0.3, 0.01],
        effective_rank=[9.0, 8.0, 1.5],
        collapsed=[False, False, True],
    )
    health_curves(records, tmp_path / "health.png")
    assert 850 <= pixels(tmp_path / "health.png").shape[1] <= 950
    assert len(colours(tmp_path / "health.png")) > 3
    figures = recorded(monkeypatch)
    health_curves(records, tmp_path / "x")
    shares, rank = figures[0].axes
    assert drawn(shares) == {
        "active tuples": ([1, 2, 3], [0.9, 0.7, 1.0]),
        "spread": ([1, 2, 3], [0.5, 0.3, 0.01]),
        "collapsed": ([3], [0.01]),
    }
    assert drawn(rank) == {"effective rank": ([1, 2, 3], [9.0, 8.0, 1.5])}
    assert rank.get_ylim()[1] > 9.0


def test_health_that_is_unknown_is_left_out_and_said(tmp_path, monkeypatch):
    figures = recorded(monkeypatch)
    health_curves(epochs(active_share=[None, None], spread=[None, 0.3]), tmp_path / "x")
    shares, rank = figures[0].axes
    assert drawn(shares) == {"active tuples: unknown": ([], []), "spread": ([2], [0.3])}
    assert drawn(rank) == {"effective rank: unknown": ([], [])}


@pytest.mark.parametrize("records", [[], epochs(spread=[0.3]), [{"epoch_end": True, "epoch": 1}]])
def test_health_of_hardly_any_epochs_can_be_drawn(tmp_path, records):
    health_curves(records, tmp_path / "health.png")
    assert inked(tmp_path / "health.png") > 0.001


def test_pyplot_stays_out():
    code = "import sys, metricforge.report.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_queries_that_went_wrong_are_drawn_above_what_was_found(tmp_path, channels):
    rng = np.random.default_rng(0)
    asked, found = rng.integers(0, 255, (2, len(NAMES), channels, 9, 7), dtype=np.uint8)
    path = tmp_path / "failures.png"
    draw_pairs(asked, found, NAMES, NAMES[::-1], path)
    picture = pixels(path).astype(int)
    factor = TILE // 9
    for place in range(len(NAMES)):
        row, column = divmod(place, PER_ROW)
        left = column * COLUMN + COLUMN // 2 - 7 * factor // 2
        above, below = (strip[place] for strip in (asked, found))
        tops = [_top(picture, image, left, factor, row) for image in (above, below)]
        assert tops[0] < tops[1]
        # What was found has its name in red.
        name = picture[tops[1] - FONT_SIZE - GAP : tops[1], column * COLUMN :][:, :COLUMN]
        assert (name[..., 0] - name[..., 2]).max() > 100
    # Of two rows of five places the last three stay empty.
    assert (picture[picture.shape[0] // 2 :, 2 * COLUMN :] == 255).all()


def test_answers_are_drawn_beside_their_query_right_ones_green_wrong_ones_red(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 4, 3, 9, 7), dtype=np.uint8)
    rows = [
        Answered(images[0, 0], images[0, 1:], "a", ["a", "b", "a"]),
        Answered(images[1, 0], images[1, 1:3], "b", ["b", "a"]),
    ]
    draw_answers(rows, tmp_path / "answers.png")
    picture = pixels(tmp_path / "answers.png").astype(int)
    factor = answers_picture.TILE // 9
    height, width = 9 * factor, 7 * factor
    columns, line = answers_picture.COLUMN, answers_picture.LINE
    for row, drawn in enumerate(rows):
        top = GAP + row * (line + height + GAP)
        cells = [(drawn.query, None), *zip(drawn.nearest, drawn.nearest_classes, strict=True)]
        for column, (image, name) in enumerate(cells):
            middle = column * columns + columns // 2 + (answers_picture.APART if column else 0)
            shown = np.moveaxis(image, 0, -1).repeat(factor, 0).repeat(factor, 1)
            left = middle - width // 2
            at = picture[top + line : top + line + height, left : left + width]
            assert (at == shown).all()
            written = picture[top : top + line, left : left + width]
            red, green = (written[..., c] - written[..., 2] for c in (0, 1))
            assert (red.max() > 100) == (name is not None and name != drawn.query_class)
            assert (green.max() > 50) == (name == drawn.query_class)
    # The second query has two answers, and the place of a third stays empty.
    assert (
        picture[GAP + line + height + GAP :, 3 * columns + answers_picture.APART :] == 255
    ).all()


def _top(picture, image, left, factor, row):
    """Where in the picture an image is, each of its pixels a square."""
    shown = np.moveaxis(image, 0, -1).repeat(factor, 0).repeat(factor, 1)
    height, width = shown.shape[:2]
    half = picture.shape[0] // 2
    for top in range(row * half, (row + 1) * half):
        part = picture[top : top + height, left : left + width]
        if part.shape[0] == height and (part == shown).all():
            return top
    raise AssertionError("the image is not in the picture.")


@pytest.mark.fault(69)
def test_a_plot_that_does_not_fit_on_the_disk_is_named(tmp_path, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as Pillow does, without a name

    monkeypatch.setattr(Figure, "savefig", full)
    points, labels = clusters(2, 4, 2)
    draws = {
        "scatter.png": lambda path: scatter(points, labels, ["a", "b"], path, "two"),
        "loss.png": lambda path: loss_curve([{"step": 1, "loss": 0.5}], path),
        "health.png": lambda path: health_curves(
            [{"epoch_end": True, "epoch": 1, "spread": 0.5, "effective_rank": 2.0}], path
        ),
    }
    for name, draw in draws.items():
        with pytest.raises(ResourceError, match=rf"can't write .*{name}: No space left on device"):
            draw(tmp_path / name)
