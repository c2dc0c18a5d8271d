"""Classes by the names that users give them: which are one, in what order, at which level."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metricforge.data.class_names import lookalikes
from tests.cli.process import metricforge

PARTS = ("train", "validation", "test")


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8))
    Image.fromarray(noise.astype(np.uint8)).save(path)


def tree(root: Path, names: Iterable[str], images: int = 2) -> Path:
    for number, name in enumerate(names):
        for image in range(images):
            draw(root / name / f"{image}.png", 100 * number + image)
    return root


def listed(root: Path, labels: Iterable[str]) -> Path:
    lines = ["path,label"]
    for number, label in enumerate(labels):
        draw(root / f"{number}.png", number)
        lines.append(f'{number}.png,"{label}"')
    (root / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "list.csv"


def split(what: object, rule: str | None = None) -> dict[str, list[str]]:
    """The classes of each part, by `metricforge data split`."""
    words = ["--split", rule] if rule else []
    done = metricforge("data", "split", what, *words, "--json")
    assert done.returncode == 0, done.stderr
    parts = json.loads(done.stdout)["parts"]
    return {part: parts[part]["classes"] for part in PARTS}


def check(what: object, *words: str) -> dict[str, Any]:
    return json.loads(metricforge("data", "check", what, *words, "--json").stdout)


@pytest.mark.fault(95)
def test_a_range_of_numbers_is_one_and_names_are_in_natural_order(tmp_path: Path) -> None:
    numbers = [str(number) for number in range(1, 13)]
    rule = "classes:train=1-6,validation=7-8,test=9-12"
    expected = {"train": numbers[:6], "validation": numbers[6:8], "test": numbers[8:]}
    assert split(tree(tmp_path / "num", numbers), rule) == expected
    (tmp_path / "csv").mkdir()
    assert split(listed(tmp_path / "csv", numbers * 2), rule) == expected
    np.savez(
        tmp_path / "n.npz", images=np.zeros((24, 8, 8), np.uint8), labels=np.array(numbers * 2)
    )
    assert split(tmp_path / "n.npz", rule) == expected
    done = metricforge("data", "split", tmp_path / "num", "--split", rule.replace("9-12", "12-9"))
    assert done.returncode == 2
    assert done.stderr == "error: the range '12-9' runs backwards; write '9-12'.\n"


@pytest.mark.fault(95)
def test_numbers_below_zero_are_numbers(tmp_path: Path) -> None:
    labels = [str(number) for number in range(-5, 7)]
    rule = "classes:train=-5-0,validation=1-2,test=3-6"
    found = split(listed(tmp_path, labels * 2), rule)
    assert found == {"train": labels[:6], "validation": labels[6:8], "test": labels[8:]}


@pytest.mark.fault(96)
def test_blanks_and_unicode_forms_make_no_class_of_their_own(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFC", f"é{number}") for number in range(6)]
    labels = [*names, *(unicodedata.normalize("NFD", name) + " " for name in names)]
    found = check(listed(tmp_path, labels))
    assert (found["classes"], found["warnings"]) == (6, [])
    told = " ".join(found["notes"])
    assert "labels with blanks around them, which were taken off: 6, e.g. " in told
    assert "labels whose Unicode was not composed (NFC), and is now: 6, e.g. " in told
    folders = tree(tmp_path / "tree", labels)
    found = check(folders)
    assert (found["images"], found["classes"]) == (24, 6)
    assert "folders with blanks around them, which were taken off: 6, e.g. " in " ".join(
        found["notes"]
    )


@pytest.mark.fault(96)
def test_names_that_look_like_one_are_told_by_check_split_and_train(tmp_path: Path) -> None:
    labels = ["Cat", "cat", "000", "0", "café", "cafe", "dog", "1.05", "1.5", "か", "が"]
    told = "'0' and '000'; 'Cat' and 'cat'; 'cafe' and 'café'; rename those that are one class."
    what = listed(tmp_path, labels * 4)
    (warning,) = [each for each in check(what)["warnings"] if "differ only in case" in each]
    assert warning.endswith(told)
    done = metricforge("data", "split", what)
    assert f"warnings   {warning}\n" in done.stdout
    done = metricforge("data", "split", what, "--json")
    assert done.stderr == f"warning: {warning}\n"
    done = metricforge(
        "train", "--dataset", f"csv:path={what},size=16", "--backbone", "conv4:channels=4",
        "--images", 8, "--out", tmp_path / "run", "--sampler", "hard-triplet:classes=2,per_class=2",
        "--protocol", "retrieval",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert warning in done.stderr


def layout(root: Path, shared: bool) -> Path:
    """Parts as torchvision's ImageFolder, Keras and Kaggle have them: of five classes, or ten."""
    for place, part in enumerate(("train", "Val", "test")):
        for number in range(5):
            first = 0 if shared else 100 * place
            for image in range(3):
                seed = 100 * place + 10 * number + image
                draw(root / part / f"cls{first + number}" / f"{image}.png", seed)
    return root


@pytest.mark.fault(94)
def test_folders_that_are_parts_are_the_official_split_and_no_classes(tmp_path: Path) -> None:
    root = layout(tmp_path / "mini", shared=True)
    names = [f"cls{number}" for number in range(5)]
    found = check(root)
    assert (found["images"], found["classes"], found["groups"]) == (45, 5, 0)
    assert any("Val, test, train are the parts of" in each for each in found["notes"])
    assert any("share 5 of 5 classes" in each and "a closed set" in each for each in found["notes"])
    assert split(root, "official") == dict.fromkeys(PARTS, names)
    shown = metricforge("data", "split", root, "--split", "official").stdout
    assert "a closed set: classes that are tested are trained on, too" in shown
    assert "never trained on" not in shown
    default = split(root)
    assert not set(default["train"]) & set(default["test"]), "each class is in one part"
    assert sorted(name for part in default.values() for name in part) == names


@pytest.mark.fault(94)
def test_parts_that_share_no_class_are_the_default(tmp_path: Path) -> None:
    root = layout(tmp_path / "mini", shared=False)
    assert split(root) == {
        "train": [f"cls{number}" for number in range(5)],
        "validation": [f"cls{number}" for number in range(100, 105)],
        "test": [f"cls{number}" for number in range(200, 205)],
    }
    shown = metricforge("data", "split", root).stdout
    assert "classes that are tested are never trained on" in shown
    assert "are the parts of the official split; they share no class." in shown
    found = check(f"folder:path={root},parts=none")
    assert (found["classes"], found["groups"]) == (15, 3)


@pytest.mark.fault(94)
def test_folders_of_one_name_in_several_folders_need_a_choice(tmp_path: Path) -> None:
    names = [f"person{p}/cam{c}" for p in range(6) for c in range(2)]
    root = tree(tmp_path / "people", names, images=3)
    for command in (("data", "check"), ("data", "split"), ("train", "--dataset")):
        done = metricforge(*command, root, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert (
            "folders of one name lie in several folders, e.g. 'person0/cam0' and 'person1/cam0': "
            "say what the class is, with the option label=path ('person0/cam0'), label=last "
            "('cam0', one class) or label=first ('person0', one class)."
        ) in done.stderr
    sizes = {"path": (12, 6), "last": (2, 0), "first": (6, 0)}
    for label, expected in sizes.items():
        found = check(f"folder:path={root},label={label}")
        assert (found["images"], (found["classes"], found["groups"])) == (36, expected)


@pytest.mark.fault(94)
def test_a_few_such_folders_are_told_and_not_refused(tmp_path: Path) -> None:
    names = ["a/cat", "a/dog", "a/owl", "b/fox", "b/cow", "b/owl"]
    found = check(tree(tmp_path / "few", names))
    assert found["classes"] == 6
    (warning,) = [each for each in found["warnings"] if "of one name" in each]
    assert "classes of their own: a/owl, b/owl; label=last makes one class of each" in warning


def test_a_warning_of_alike_names_does_not_depend_on_their_order() -> None:
    """They come from a set, whose order is another in each process."""
    names = ["dog", "Dog", "a", "A", "pig", "Pig", "cow", "Cow"]
    expected = list(lookalikes(names))
    assert "'A' and 'a'; 'Cow' and 'cow'; 'Dog' and 'dog'; and 1 more" in expected[0]
    assert list(lookalikes(reversed(names))) == expected
