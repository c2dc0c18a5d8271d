"""`metricforge shrink`: what smaller embeddings of a run cost, and a model that has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from metricforge_standard.heads.shrunk import Shrunk

import metricforge
from metricforge import EmbeddingForm as Form
from metricforge.cli.shrink import command, print_table
from metricforge.errors import ArtefactError, UsageError
from metricforge.judging.part_choice import tested_part as part_of
from metricforge.registry import Registry
from metricforge.scoring.embed import embed
from metricforge.shrinking import search_speed
from metricforge.shrinking.form import usual
from metricforge.shrinking.shrink import OWN, Shrunken, shrink
from tests.glyph_files import write_glyphs
from tests.small_runs import folder_run

DIM = 32


@pytest.fixture(scope="module", autouse=True)
def _few_rows_to_search():
    """Speeds are reported, and no test is of them."""
    whole, search_speed.ROWS = search_speed.ROWS, 2_000
    yield
    search_speed.ROWS = whole


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = metricforge.train(
        dataset="glyphs:per_class=4,size=16", epochs=2, device="cpu", dim=DIM,
        backbone="conv4:channels=8", protocols=["retrieval"], orientations=1,
        loss="nested:dims=8+16,of=multi-similarity", sampler="multi-similarity",
        out=tmp_path_factory.mktemp("run") / "run",
    )  # fmt: skip
    return made.path


@pytest.fixture(scope="module")
def table(run: Path) -> Shrunken:
    return shrink(run)


def save(made: Shrunken, folder: Path) -> None:
    assert made.model is not None
    made.model.save(folder)


def test_the_usual_forms_are_compared_on_validation_classes(run, table):
    own, *forms = table.rows
    assert table.part == "validation"
    assert own.name == OWN
    assert own.differences == {}
    assert [(row.name, row.bytes) for row in forms] == [
        ("32 x int8", 32), ("32 x binary", 4), ("32 x pq", 32), ("32 x pq", 16),
    ]  # fmt: skip
    assert all(row.queries > 0 for row in table.rows)
    expected = metricforge.evaluate(run, part="validation", allow_seen=True, baselines=False)
    for name in ("recall@1", "map@r"):
        assert own.metrics[name] == expected.results["trained"][name]
    int8 = forms[0].differences["map@r"]
    assert abs(int8.value) < 0.01
    assert forms[1].metrics["map@r"].value - own.metrics["map@r"].value == pytest.approx(
        forms[1].differences["map@r"].value, abs=1e-6
    )


def test_usual_forms_have_fewer_dimensions_than_the_model():
    for dim in (3, 24, 64, 512):
        forms = list(usual(dim))
        assert all(form.dim is None or form.dim <= dim for form in forms)
        assert len({*forms}) == len(forms)
    assert [form.dim for form in usual(512) if form.code == "float"] == [256, 128, 64, 32]


@pytest.mark.parametrize(
    "form",
    [
        Form(8),
        Form(8, axes="first"),
        Form(16, "int8"),
        Form(code="binary"),
        Form(16, "pq", 4),
    ],
)
def test_a_saved_model_embeds_and_scores_as_its_row(run, tmp_path, form):
    made = shrink(run, [form], images="glyphs:per_class=4,size=16", part="all")
    save(made, tmp_path / "small")
    model = metricforge.load(tmp_path / "small", device="cpu")
    assert model.card.dim == (form.dim or DIM)
    again = metricforge.evaluate(
        model, "glyphs:per_class=4,size=16", part="all", allow_seen=True, baselines=False
    )
    for name in ("recall@1", "map@r"):
        value = again.results["trained"][name].value
        assert value == pytest.approx(made.rows[1].metrics[name].value, abs=2e-3)
    assert model.card.pair_thresholds
    assert model.card.pair_thresholds != metricforge.load(run).card.pair_thresholds


@pytest.mark.parametrize("form", [Form(16, "int8"), Form(code="binary"), Form(16, "pq", 4)])
def test_a_saved_model_gives_rows_of_its_code(run, tmp_path, form):
    save(shrink(run, [form]), tmp_path / "small")
    model = metricforge.load(tmp_path / "small", device="cpu")
    images = torch.randint(0, 256, (40, 1, 16, 16), dtype=torch.uint8)
    rows = torch.from_numpy(model.encode(images))
    assert isinstance(model.head, Shrunk)
    assert torch.allclose(rows, model.head.unpack(model.head.pack(rows)), atol=1e-6)
    if form.code == "binary":
        assert torch.allclose(rows.abs(), torch.tensor(DIM**-0.5))


def test_another_dataset_is_compared_as_a_whole(run):
    made = shrink(run, images="digits")
    assert (made.part, made.model) == ("all", None)


def test_a_dataset_that_has_moved_is_named(tmp_path):
    folder = write_glyphs(tmp_path / "here", 20, 6, 16)
    options = {"size": 16, "epochs": 1, "backbone": "conv4:channels=8"}
    moved = folder_run(folder, tmp_path / "run", 20, 8, 12, **options)
    folder.rename(tmp_path / "there")
    made = shrink(moved, [Form(4)], images=f"folder:path={tmp_path / 'there'},size=16")
    assert made.part == "test"
    assert made.model is not None
    assert made.model.card.pair_thresholds


def test_a_smaller_model_is_exported(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="requires metricforge[export]")
    pytest.importorskip("onnxscript", reason="requires metricforge[export]")
    save(shrink(run, [Form(8)]), tmp_path / "small")
    made = metricforge.export(
        tmp_path / "small", tmp_path / "small.onnx", images="glyphs:per_class=4,size=16"
    )
    assert made.description.dim == 8


def test_axes_are_those_of_training_images(run):
    made = shrink(run, [Form(8)]).model
    assert made is not None
    opened, model = metricforge.Run.open(run), metricforge.load(run, device="cpu")
    part = part_of(model, opened, None, "train", True, None, Registry.installed())
    rows = embed({OWN: model}, part.dataset, part.indices, False).rows[OWN]
    axes = torch.linalg.svd(rows, full_matrices=False).Vh[:8]
    assert isinstance(made.head, Shrunk)
    assert torch.allclose((made.head.axes @ axes.T).abs(), torch.eye(8), atol=1e-2)


def test_without_validation_classes_there_are_no_thresholds(tmp_path):
    closed = metricforge.train(
        dataset="glyphs:per_class=6,size=16", split="images", epochs=1, device="cpu", dim=8,
        backbone="conv4:channels=8", protocols=["retrieval"], orientations=1, out=tmp_path / "run",
    )  # fmt: skip
    assert any("was trained" in note for note in shrink(closed, [Form(4)], part="train").notes)
    made = shrink(closed, [Form(4)])
    assert made.model is not None
    assert made.model.card.pair_thresholds == ()
    assert any("no threshold for verify" in note for note in made.notes)


def test_a_model_that_rounds_is_not_exported(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="requires metricforge[export]")
    save(shrink(run, [Form(8, "int8")]), tmp_path / "small")
    with pytest.raises(UsageError, match=r"rounds its embeddings \(int8\)"):
        metricforge.export(tmp_path / "small", tmp_path / "small.onnx", images="glyphs")


def test_product_quantization_is_left_out_where_images_are_few(run, monkeypatch):
    monkeypatch.setattr("metricforge.shrinking.shrink.MOST_FITTED", 200)
    made = shrink(run)
    assert [row.name for row in made.rows] == [OWN, "32 x int8", "32 x binary"]
    (note,) = made.notes
    assert "needs 256 training images" in note
    with pytest.raises(UsageError, match="needs 256 training images"):
        shrink(run, [Form(code="pq")])


def test_classes_that_the_model_knows_are_told(run):
    made = shrink(run, [Form(8)], part="train")
    assert any("was trained or selected on" in note for note in made.notes)
    assert shrink(run, [Form(8)]).notes == ()


def test_the_command_saves_one_form_and_prints_it(run, tmp_path):
    out = tmp_path / "small"
    words = [str(run), "--dim", "16", "--int8", "--out", str(out), "--quiet"]
    done = CliRunner().invoke(command, [*words, "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert [row["bytes"] for row in told["rows"]] == [4 * DIM, 16]
    assert (told["part"], told["out"]) == ("test", str(out))
    assert metricforge.load(out).card.dim == 16
    with pytest.raises(UsageError, match="exists: give a new folder"):
        CliRunner().invoke(command, words, catch_exceptions=False)


def test_the_table_fits_a_terminal(table, capsys):
    print_table(table)
    printed = capsys.readouterr().out
    assert "32 x binary" in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "small"], "--out saves one form"),
        (["--int8", "--binary"], "take one of --int8, --binary and --pq"),
        (["--axes", "first"], "--axes is for --dim"),
        (["--dim", "33"], "keep at most the 32 dimensions of the model, not 33"),
        (["--pq", "5"], "32 dimensions into equal parts, not 5"),
    ],
)
def test_what_makes_no_form_is_refused(run, words, told):
    with pytest.raises(UsageError, match=told):
        CliRunner().invoke(command, [str(run), *words, "--quiet"], catch_exceptions=False)


def test_a_model_without_training_images_or_shrunk_before_is_refused(run, tmp_path):
    save(shrink(run, [Form(8)]), tmp_path / "small")
    with pytest.raises(UsageError, match="shrunk already: give a run with another head"):
        shrink(tmp_path / "small", [Form(4)])
    with pytest.raises(UsageError, match="a model alone has no training images"):
        shrink(metricforge.load(run), [Form(4)])
    with pytest.raises(ArtefactError, match="does not exist: give the folder of a run"):
        shrink(tmp_path / "nowhere", [Form(4)])
