"""A run's held-out classes, tested on a dataset that has changed since its training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metricforge import Run, evaluate, load, train
from metricforge.data.class_names import folded
from metricforge.errors import DataError

CLASSES = 8


def add(folder: Path, name: str, first: int, count: int) -> None:
    """Images of a class: a grey level of its own, with noise."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(1000 * int(name[1:]) + number)
        dark = 6 * int(name[1:])
        pixels = rng.integers(dark, dark + 60, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("changed")
    for number in range(CLASSES):
        add(folder / "photos", f"c{number}", 0, 6)
    return train(dataset=f"folder:path={folder / 'photos'},size=16", epochs=1, out=folder / "run",
                 progress=False, orientations=1, test=False, backbone="conv4:channels=4",
                 protocols=["retrieval"])  # fmt: skip


@pytest.fixture
def photos(trained: Run, tmp_path: Path) -> Path:
    """A copy of the images that the run was trained on."""
    source = trained.path.parent / "photos"
    return Path(shutil.copytree(source, tmp_path / "photos"))


def held_out(run: Run) -> list[str]:
    return json.loads((run.path / "split.json").read_text())["parts"]["test"]["classes"]


@pytest.mark.fault(105)
def test_the_held_out_classes_of_a_dataset_that_has_grown(trained: Run, photos: Path) -> None:
    first, second, *_ = held = held_out(trained)
    add(photos, first, 6, 3)
    add(photos, "c9", 0, 6)
    result = evaluate(trained, photos, protocols=["retrieval"], baselines=False)
    assert result.part == "test"
    assert set(result.classes) == set(held)
    assert result.images == 6 * len(held) + 3
    assert any(
        f"{6 * len(held) + 3} images of {len(held)} classes; there were {6 * len(held)}" in note
        for note in result.notes
    )
    assert "new classes, which are not tested: 1 (c9)." in result.notes
    shutil.rmtree(photos / second)
    result = evaluate(trained, photos, protocols=["retrieval"], baselines=False)
    assert set(result.classes) == set(held) - {second}
    assert f"held-out classes that are gone: 1 ({second})." in result.notes


@pytest.mark.fault(105)
def test_images_that_were_tested_before_score_as_before(trained: Run, photos: Path) -> None:
    """A new class leaves the held-out ones as they are, and so are their metrics."""
    before = evaluate(trained, protocols=["retrieval"], baselines=False)
    add(photos, "c9", 0, 6)
    after = evaluate(trained, photos, protocols=["retrieval"], baselines=False)
    assert after.results == before.results


@pytest.mark.fault(105)
def test_another_dataset_is_tested_as_a_whole_or_refused(trained: Run, tmp_path: Path) -> None:
    for number in range(20, 23):
        add(tmp_path / "others", f"c{number % 10 + 20}", 0, 6)
    result = evaluate(trained, tmp_path / "others", protocols=["retrieval"], baselines=False)
    assert (result.part, result.images) == ("all", 18)
    seen = json.loads((trained.path / "split.json").read_text())["parts"]["train"]["classes"]
    add(tmp_path / "mixed", seen[0], 0, 6)
    add(tmp_path / "mixed", "c30", 0, 6)
    with pytest.raises(DataError, match="1 classes of 'mixed' have names that the model was"):
        evaluate(trained, tmp_path / "mixed", protocols=["retrieval"])


@pytest.mark.fault(117)
def test_images_of_another_dataset_are_decoded_to_the_size_of_the_model(
    trained: Run, tmp_path: Path
) -> None:
    """As `encode` decodes them, whatever the dataset's default size is."""
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "large" / f"k{number // 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (150, 130), np.uint8)).save(path)
    files = sorted((tmp_path / "large").rglob("*.png"), key=lambda path: int(path.stem))
    rows = load(trained).encode(files)
    expected = evaluate(rows, [path.parent.name for path in files], protocols=["retrieval"])
    result = evaluate(trained, tmp_path / "large", protocols=["retrieval"], baselines=False)
    assert result.results == expected.results
    named = f"folder:path={tmp_path / 'large'},size=64"
    other = evaluate(trained, named, protocols=["retrieval"], baselines=False)
    assert other.results != expected.results


@pytest.mark.fault(117)
def test_what_has_grown_is_decoded_to_the_size_of_the_model_too(
    tmp_path: Path, trained: Run
) -> None:
    """A run of a CSV and the folder that it lists: the folder's default size is another."""
    photos = Path(shutil.copytree(trained.path.parent / "photos", tmp_path / "photos"))
    files = sorted(photos.rglob("*.png"))
    rows = "".join(f"photos/{path.parent.name}/{path.name},{path.parent.name}\n" for path in files)
    (tmp_path / "photos.csv").write_text(f"path,label\n{rows}")
    run = train(dataset=f"csv:path={tmp_path / 'photos.csv'},size=16", epochs=1, test=False,
                out=tmp_path / "run", progress=False, orientations=1,
                backbone="conv4:channels=4", protocols=["retrieval"])  # fmt: skip
    before = evaluate(run, protocols=["retrieval"], baselines=False)
    add(photos, "c9", 0, 6)
    after = evaluate(run, photos, protocols=["retrieval"], baselines=False)
    assert after.results == before.results
    everything = evaluate(run, photos, protocols=["retrieval"], baselines=False, allow_seen=True)
    assert (everything.part, len(everything.classes)) == ("all", CLASSES + 1)


@pytest.mark.fault(119)
@pytest.mark.parametrize("respelled", [str.upper, lambda name: f"c0{name[1:]}"])
def test_a_class_in_another_spelling_is_one_that_was_seen(
    trained: Run, tmp_path: Path, respelled: Callable[[str], str]
) -> None:
    """As Windows, a spreadsheet or pandas write them."""
    for folder in (trained.path.parent / "photos").iterdir():
        shutil.copytree(folder, tmp_path / "others" / respelled(folder.name))
    with pytest.raises(DataError, match="names that the model was trained or selected on"):
        evaluate(trained, tmp_path / "others", protocols=["retrieval"])


@pytest.mark.parametrize("name", ["7", "007", "7.0", "7.00"])
def test_a_number_is_one_name_however_it_was_stored(name: str) -> None:
    assert folded(name) == "7"
    assert folded("1.5") == "1.5"
    assert folded("v1.0b") == "v1.0b"
