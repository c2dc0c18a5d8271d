"""Galleries: who an image is of, what adding and removing change, and what is refused."""

from __future__ import annotations

import json
import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

import metricforge
from metricforge.atomic_files import MANIFEST, read_folder, write_folder
from metricforge.errors import ArtefactError, DataError, InUseError, UsageError
from metricforge.galleries.files import ARRAYS, CONTENTS
from metricforge.galleries.gallery import Gallery
from metricforge.runs.lock import changing
from tests.cli.process import metricforge as command


@pytest.fixture
def gallery(run: Path, people: Path) -> Gallery:
    return metricforge.enrol(run, people, device="cpu")


def asked(images: Path, names: range) -> dict[str, list[Path]]:
    return {f"{name:02}": [images / f"{name:02}" / f"{n}.png" for n in (5, 6, 7)] for name in names}


def test_known_ones_are_identified_and_strangers_are_unknown(
    gallery: Gallery, images: Path
) -> None:
    assert gallery.classes == tuple(f"{name:02}" for name in range(28, 36))
    right = [
        gallery.identify(path).name == name
        for name, paths in asked(images, range(28, 36)).items()
        for path in paths
    ]
    assert np.mean(right) > 0.8
    strangers = [path for paths in asked(images, range(36, 40)).values() for path in paths]
    answers = gallery.identify_all(strangers)
    assert np.mean([answer.name is None for answer in answers]) > 0.7
    assert gallery.calibration.share == 0.05


def test_an_answer_rests_on_the_nearest_images_and_classes(gallery: Gallery, images: Path) -> None:
    path = images / "30" / "6.png"
    answer = gallery.identify(path, top=3)
    rows = gallery.model.encode([images / e.name / Path(e.image).name for e in gallery.enrolled])
    query = gallery.model.encode([path])[0].astype(np.float64)
    distances = np.linalg.norm(rows - query, axis=1)
    nearest = np.argsort(distances)[:5]
    assert [n.image for n in answer.neighbours] == [gallery.enrolled[i].image for i in nearest]
    np.testing.assert_allclose(
        [n.distance for n in answer.neighbours], distances[nearest], atol=1e-5
    )
    names = np.array([each.name for each in gallery.enrolled])
    of_class = {
        name: np.linalg.norm(rows[names == name].mean(0) - query)
        if gallery.calibration.by == "mean"
        else distances[names == name].min()
        for name in gallery.classes
    }
    expected = sorted(of_class, key=of_class.__getitem__)[:3]
    assert [candidate.name for candidate in answer.candidates] == expected
    assert answer.candidates[0].distance == pytest.approx(of_class[expected[0]], abs=1e-5)
    assert answer.confidence == gallery.calibration.confidence(answer.score)
    assert str(answer) == (
        f"{answer.name or f'unknown, or {answer.candidates[0].name}'} ({answer.confidence:.0%})"
    )


def test_several_images_of_one_thing_have_one_answer(gallery: Gallery, images: Path) -> None:
    answers = {
        name: gallery.identify_together(paths, top=2)
        for name, paths in asked(images, range(28, 40)).items()
    }
    known = [answers[name].name == name for name in gallery.classes]
    strangers = [answers[f"{name}"].name is None for name in range(36, 40)]
    assert np.mean(known) > 0.8
    assert np.mean(strangers) > 0.7
    rows = gallery.model.encode(asked(images, range(30, 31))["30"])
    sizes = [5] * 8
    chosen = gallery._strangers.calibrated(sizes, gallery.calibration.share, together=3)
    (expected,) = gallery._state.answers(
        rows.astype(np.float64).mean(axis=0, keepdims=True).astype(np.float32),
        2,
        gallery._strangers.cohort,
        chosen,
    )
    assert answers["30"] == expected
    assert gallery.identify_together([images / "30" / "5.png"]) == gallery.identify(
        images / "30" / "5.png"
    )
    with pytest.raises(DataError, match="and 20 others that ask together"):
        gallery.identify_rows_together(np.repeat(rows, 7, axis=0)[:20])
    with pytest.raises(DataError, match="no images"):
        gallery.identify_rows_together(rows[:0])


def test_a_gallery_is_the_same_when_it_is_opened(
    gallery: Gallery, images: Path, tmp_path: Path
) -> None:
    gallery.save(tmp_path / "g")
    opened = Gallery.open(tmp_path / "g", device="cpu")
    paths = [path for each in asked(images, range(28, 40)).values() for path in each]
    assert opened.identify_all(paths) == gallery.identify_all(paths)
    assert (opened.enrolled, opened.calibration) == (gallery.enrolled, gallery.calibration)
    # It is a model as well.
    rows = metricforge.load(tmp_path / "g", device="cpu").encode(paths[:3])
    np.testing.assert_array_equal(rows, gallery.model.encode(paths[:3]))


def test_a_class_more_changes_no_answer_that_is_not_nearer_to_it(
    gallery: Gallery, images: Path
) -> None:
    paths = [path for each in asked(images, range(28, 40)).values() for path in each]
    before = gallery.identify_all(paths)
    assert gallery.add([images / "38" / f"{n}.png" for n in range(4)], "a new one") == 4
    after = gallery.identify_all(paths)
    for old, new in zip(before, after, strict=True):
        if new.candidates[0].name == "a new one":
            assert new.candidates[0].distance < old.candidates[0].distance
        else:
            assert (new.name, new.confidence) == (old.name, old.confidence)
    assert sum(answer.name == "a new one" for answer in after) >= 2
    assert gallery.add([images / "38" / "3.png", images / "38" / "4.png"], "a new one") == 1
    assert gallery.remove("a new one") == 5
    assert gallery.identify_all(paths) == before


def test_beyond_what_the_threshold_was_chosen_for_it_is_chosen_anew(
    gallery: Gallery, images: Path
) -> None:
    held = gallery.calibration
    assert held.classes == 10
    for name in (36, 37):
        gallery.add([images / f"{name}" / f"{n}.png" for n in range(5)], f"{name}")
        assert gallery.calibration is held
    gallery.add([images / "38" / f"{n}.png" for n in range(5)], "38")
    assert (gallery.calibration.classes, gallery.calibration.share) == (11, held.share)
    for name in range(8):
        gallery.add([images / f"{name:02}" / f"{n}.png" for n in range(5)], f"{name:02}")
    before = (gallery.enrolled, gallery.calibration)
    # Of 20 validation classes 19 can be enrolled at a time.
    with pytest.raises(DataError, match=r"too few to promise that at most 5% .* one of 20 classes"):
        gallery.add([images / "08" / "0.png"], "08")
    assert (gallery.enrolled, gallery.calibration) == before


@pytest.mark.fault(150)
def test_for_more_images_of_the_same_classes_the_threshold_is_chosen_anew(
    run: Path, images: Path
) -> None:
    """Of more images one is nearer to a stranger: promises were broken by more than twice."""

    def files(count: int, name: int) -> list[Path]:
        return [images / f"{name}" / f"{n}.png" for n in range(count)]

    sizes = {name: 5 if name == 28 else 1 for name in range(28, 34)}
    paths = [path for name, count in sizes.items() for path in files(count, name)]
    labels = [path.parent.name for path in paths]
    grown = metricforge.enrol(run, paths, labels, device="cpu")
    before = grown.calibration
    for name in range(29, 34):
        grown.add(files(5, name), f"{name}")
    whole = [path for name in sizes for path in files(5, name)]
    afresh = metricforge.enrol(run, whole, [path.parent.name for path in whole], device="cpu")
    assert grown.calibration.sizes == (5,) * 6
    assert grown.calibration.threshold == afresh.calibration.threshold
    assert before.sizes == (1, 1, 1, 1, 1, 5)


def test_what_can_not_be_promised_is_refused_before_an_image_is_embedded(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [images / "28" / f"{n}.png" for n in range(3)]

    def embed(*_: object) -> None:
        raise AssertionError("an image is embedded")

    monkeypatch.setattr("metricforge.model.EmbeddingModel.embed", embed)
    with pytest.raises(DataError, match="too few to promise that at most 1%"):
        metricforge.enrol(run, paths, ["a"] * 3, false_alarms=0.01)
    with pytest.raises(AssertionError):
        metricforge.enrol(run, paths, ["a"] * 3)


def test_images_with_their_labels_and_strangers_of_ones_own(
    run: Path, images: Path, tmp_path: Path
) -> None:
    model = metricforge.load(run, device="cpu")
    paths = [images / f"{name}" / f"{n}.png" for name in (28, 29) for n in range(3)]
    with pytest.raises(UsageError, match="no run says"):
        metricforge.enrol(model, paths, ["a"] * 3 + ["b"] * 3)
    others = tmp_path / "others"
    for name in range(8, 28):
        (others / f"other {name}").mkdir(parents=True)
        for n in range(4):
            target = others / f"other {name}" / f"{n}.png"
            target.write_bytes((images / f"{name:02}" / f"{n}.png").read_bytes())
    made = metricforge.enrol(model, paths, ["a"] * 3 + ["b"] * 3, validation=others)
    assert made.identify(images / "28" / "6.png").candidates[0].name == "a"
    with pytest.raises(DataError, match="6 images and 2 classes"):
        metricforge.enrol(model, paths, ["a", "b"], validation=others)
    with pytest.raises(DataError, match="names that the model was trained on: 00, 01"):
        metricforge.enrol(run, paths, ["a"] * 6, validation=images)


def test_a_copy_in_two_classes_is_told(run: Path, people: Path, tmp_path: Path) -> None:
    from metricforge.galleries.enrol import notes_on

    gallery = metricforge.enrol(run, people, device="cpu")
    gallery.add([people / "28" / "0.png"], "29")
    assert list(notes_on(gallery))[-1].endswith("is enrolled as 28 and as 29: remove one of them.")


def test_classes_of_more_images_than_the_trials_had_are_told(run: Path, images: Path) -> None:
    from metricforge.galleries.enrol import notes_on

    sizes = {28: 8, 29: 5}
    paths = [images / str(name) / f"{n}.png" for name, size in sizes.items() for n in range(size)]
    gallery = metricforge.enrol(run, paths, ["a"] * 8 + ["b"] * 5, device="cpu")
    (note,) = notes_on(gallery)
    assert note.startswith("a class has 8 images, and the trials enrolled 7 at most")


def test_a_run_without_validation_classes_takes_others(images: Path, tmp_path: Path) -> None:
    made = metricforge.train(
        dataset=f"folder:path={images},size=16", split="images", epochs=1, device="cpu",
        backbone="conv4:channels=4", dim=4, protocols=["retrieval"], orientations=1,
        out=tmp_path / "run",
    )  # fmt: skip
    with pytest.raises(DataError, match="held out no validation classes"):
        metricforge.enrol(made, images)


def test_threads_ask_while_classes_come_and_go(gallery: Gallery, images: Path) -> None:
    paths = [images / "30" / f"{n}.png" for n in (5, 6, 7)]
    rows = gallery.model.encode(paths)
    more = gallery.model.encode([images / "39" / f"{n}.png" for n in range(5)])
    expected = {str(gallery.identify_rows(rows))}
    gallery.add([images / "39" / f"{n}.png" for n in range(5)], "39")
    expected.add(str(gallery.identify_rows(rows)))
    gallery.remove("39")
    found, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            found.append(str(gallery.identify_rows(rows)))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        gallery.add([images / "39" / f"{n}.png" for n in range(5)], "39")
        gallery.remove("39")
    stop.set()
    for thread in threads:
        thread.join()
    assert len(more) == 5
    assert set(found) <= expected


def _hold(folder: Path, ready: object, done: object) -> None:
    with changing(folder):
        ready.set()  # type: ignore[attr-defined]
        done.wait(60)  # type: ignore[attr-defined]


def test_one_process_at_a_time_changes_a_gallery(gallery: Gallery, tmp_path: Path) -> None:
    gallery.save(tmp_path / "g")
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "g", ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(InUseError, match="in use by process"), changing(tmp_path / "g"):
        pass
    done.set()
    other.join()
    with changing(tmp_path / "g"):
        Gallery.open(tmp_path / "g", device="cpu")


def _other_rows(folder: Path) -> None:
    arrays = load((folder / ARRAYS).read_bytes())
    (folder / ARRAYS).write_bytes(save({**arrays, "rows": arrays["rows"][1:]}))


def _not_finite(folder: Path) -> None:
    arrays = load((folder / ARRAYS).read_bytes())
    strangers = np.where(np.arange(16) == 3, np.nan, arrays["strangers"]).astype(np.float32)
    (folder / ARRAYS).write_bytes(save({**arrays, "strangers": strangers}))


def _renamed(folder: Path) -> None:
    contents = json.loads((folder / CONTENTS).read_text())
    contents["calibration"]["by"] = "median"
    (folder / CONTENTS).write_text(json.dumps(contents))


def _without_distances(folder: Path) -> None:
    contents = json.loads((folder / CONTENTS).read_text())
    contents["calibration"]["distances"] = []
    (folder / CONTENTS).write_text(json.dumps(contents))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / CONTENTS).write_text("{}"), "is damaged"),
        (lambda folder: (folder / ARRAYS).write_bytes(b""), "is damaged"),
        (lambda folder: (folder / ARRAYS).unlink(), "can't be read"),
        (_other_rows, "does not fit together"),
        (_not_finite, "are NaN or infinite"),
        (_renamed, "not a whole gallery"),
        (_without_distances, "not a whole gallery"),
    ],
)
def test_a_damaged_gallery_is_refused(gallery: Gallery, tmp_path: Path, damage, told) -> None:
    import hashlib

    folder = tmp_path / "g"
    gallery.save(folder)
    damage(folder)
    if told not in ("is damaged", "can't be read"):  # a stranger's, with its own sums
        manifest = json.loads((folder / "manifest.json").read_text())
        for name in manifest["sha256"]:
            manifest["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match=told):
        Gallery.open(folder, device="cpu")


def test_a_model_is_no_gallery_and_no_folder_is_lost(
    gallery: Gallery, run: Path, people: Path
) -> None:
    with pytest.raises(ArtefactError, match="is no gallery"):
        Gallery.open(run / "model")
    with pytest.raises(UsageError, match="holds files that are no gallery"):
        gallery.save(people / "28")
    with pytest.raises(UsageError, match="unknown class of the gallery: '82'; did you mean"):
        gallery.remove("82")


def test_on_the_command_line(run: Path, people: Path, images: Path, tmp_path: Path) -> None:
    place = tmp_path / "gallery"
    words = ("enrol", run, people, "--out", place, "--device", "cpu", "--quiet")
    refused = command(*words, "--false-alarms", "1%")
    assert refused.returncode == 3
    assert "takes 99 classes, and the lowest share for these is 4.8%" in refused.stderr
    assert not place.exists()
    inside = command("enrol", run, people, "--out", people / "g", "--device", "cpu")
    assert (inside.returncode, "write it elsewhere" in inside.stderr) == (2, True)
    (people / "nobody").mkdir()
    made = command(*words, "--false-alarms", "10%")
    (people / "nobody").rmdir()
    assert made.returncode == 0, made.stderr
    assert "note: folders without images, which are no classes: 1 (nobody)." in made.stderr
    assert "64 x 64" not in made.stderr
    assert made.stdout.splitlines()[0] == f"{place}: 40 images of 8 classes"
    assert "with a probability of at most 10%;" in made.stdout
    door = images / "30" / "6.png"
    told = json.loads(command("identify", place, door, "--json", "--top", "2").stdout)[str(door)]
    assert (told["name"], len(told["candidates"])) == ("30", 2)
    shown = command("identify", place, door, "--quiet").stdout
    assert shown.startswith(f"{door}: 30 (")
    asking = asked(images, range(30, 31))["30"]
    # An image that is named twice counts once.
    together = command("identify", place, *asking, asking[0], "--together", "--quiet").stdout
    assert together.startswith("3 images: 30 (")
    told = json.loads(command("identify", place, *asking, "--together", "--json").stdout)
    assert (told["name"], told["images"]) == ("30", [str(path) for path in asking])
    new = images / "39"
    added = command("gallery", "add", place, new, "--as", "anna", "--quiet")
    first, *others = added.stdout.splitlines()
    assert first == "anna: 8 images added, 8 enrolled", added.stderr
    # No class had more than five.
    assert others[0] == "the threshold was chosen anew, for more classes or images:"
    listed = command("gallery", "list", place)
    assert "     8  anna\n" in listed.stdout
    again = json.loads(command("gallery", "add", place, new, "--as", "anna", "--json").stdout)
    assert (again["added"], again["already"]) == (0, 8)
    assert len(command("gallery", "show", place, "anna").stdout.splitlines()) == 8
    checked = json.loads(command("gallery", "check", place, "--json").stdout)
    assert checked["images"] == 48
    gone = command("gallery", "remove", place, "anna")
    assert gone.stdout == "anna: 8 images removed\n"
    unknown = command("gallery", "show", place, "anna")
    assert unknown.returncode == 2
    broken = tmp_path / "broken.png"
    broken.write_bytes(door.read_bytes()[:200])
    assert command("identify", place, broken, door).returncode == 3
    skipped = command("identify", place, broken, door, "--broken", "skip")
    assert skipped.returncode == 0
    assert "skipped: " in skipped.stderr
    for share in ("0%", "100%", "much"):
        assert command(*words, "--false-alarms", share).returncode == 2


def test_a_part_of_the_runs_dataset_is_enrolled(run: Path, images: Path) -> None:
    gallery = metricforge.enrol(run, images, part="test", device="cpu", false_alarms=0.2)
    assert gallery.classes == tuple(str(name) for name in range(28, 40))
    assert len(gallery) == 12 * 8


def test_training_images_may_normalise_distances(
    gallery: Gallery, run: Path, people: Path, images: Path, tmp_path: Path
) -> None:
    cohort = gallery._strangers.cohort
    assert cohort is not None
    training = [path for n in range(8) for path in sorted((images / f"{n:02}").iterdir())]
    np.testing.assert_allclose(cohort.rows, gallery.model.encode(training), atol=1e-6)
    paths = [path for each in asked(images, range(28, 40)).values() for path in each]
    for normalised in (True, False):
        held = replace(gallery.calibration, normalised=normalised, threshold=0.1)
        gallery._state = replace(gallery._state, calibration=held)
        gallery.save(tmp_path / "g")
        answers = Gallery.open(tmp_path / "g", device="cpu").identify_all(paths)
        assert answers == gallery.identify_all(paths)
        near = cohort.distances(gallery.model.encode(paths)) if normalised else np.zeros(len(paths))
        for answer, offset in zip(answers, near, strict=True):
            assert answer.score == pytest.approx(answer.candidates[0].distance - offset, abs=1e-6)
            assert (answer.name is not None) == (answer.score < 0.1)
            assert answer.confidence == held.confidence(answer.score)
    without = metricforge.enrol(run, people, normalise=False, device="cpu")
    assert (without._strangers.cohort, without.calibration.normalised) == (None, False)


@pytest.mark.parametrize(
    "cohort",
    [
        None,
        np.zeros((4, 3), np.float32),
        np.zeros((0, 16), np.float32),
        np.zeros((4, 16), np.float64),
        np.full((4, 16), np.nan, np.float32),
        np.zeros(16, np.float32),
    ],
)
def test_a_cohort_that_does_not_fit_is_refused(
    gallery: Gallery, tmp_path: Path, cohort: NDArray[Any] | None
) -> None:
    chosen = replace(gallery.calibration, normalised=True)
    gallery._state = replace(gallery._state, calibration=chosen)
    gallery.save(tmp_path / "g")
    files = read_folder(tmp_path / "g")
    arrays = {name: each for name, each in load(files[ARRAYS]).items() if name != "cohort"}
    files[ARRAYS] = save(arrays if cohort is None else {**arrays, "cohort": cohort})
    write_folder(tmp_path / "g", {name: each for name, each in files.items() if name != MANIFEST})
    with pytest.raises(ArtefactError, match=r"no cohort|a cohort float"):
        Gallery.open(tmp_path / "g", device="cpu")


def test_what_chooses_the_threshold_is_not_enrolled(
    run: Path, people: Path, images: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed"
    for name in range(10, 26):
        (renamed / f"other {name}").mkdir(parents=True)
        for image in (images / f"{name}").iterdir():
            (renamed / f"other {name}" / image.name).write_bytes(image.read_bytes())
    with pytest.raises(DataError, match="chosen on 128 of these images"):
        metricforge.enrol(run, renamed, device="cpu", normalise=False)
    with pytest.raises(DataError, match=r"classes of these names \(28, 29"):
        metricforge.enrol(run, people, validation=people, device="cpu")


def test_labels_are_an_array_too_and_a_part_is_of_a_dataset(run: Path, images: Path) -> None:
    paths = [images / name / f"{n}.png" for name in ("30", "31") for n in range(3)]
    labels = np.array(["a"] * 3 + ["b"] * 3)
    gallery = metricforge.enrol(run, paths, labels, device="cpu", normalise=False)  # type: ignore[arg-type]
    assert gallery.classes == ("a", "b")
    with pytest.raises(ArtefactError, match="is a run, and no gallery"):
        Gallery.open(run)
    with pytest.raises(UsageError, match="leave the labels out, or the part"):
        metricforge.enrol(run, paths, labels.tolist(), part="test", device="cpu")


def test_a_part_is_read_as_the_whole_is(run: Path, people: Path) -> None:
    """Files of a dataset that the model was not trained on, in the model's size."""
    whole, part = (
        metricforge.enrol(run, people, part=part, device="cpu", normalise=False)
        for part in (None, "all")
    )
    assert [each.sha256 for each in part.enrolled] == [each.sha256 for each in whole.enrolled]
