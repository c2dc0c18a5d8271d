"""`metricforge data` as a user runs it: check, split and show."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from metricforge.cli import cli
from metricforge.data.images import fingerprint
from metricforge.data.split import split_dataset
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.recipes.dataset_spec import open_dataset
from metricforge.registry import Registry
from tests.cli.process import COMMAND, metricforge, on_a_terminal, uncoloured
from tests.covering import covering

CLASSES = ("a", "b", "c", "d", "e", "f", "g", "\x1b[31mh")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight classes of six pictures, no two alike; one class has an escape in its name."""
    for number, name in enumerate(CLASSES):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for place in range(6):
            picture(100 * number + 50 + place).save(folder / f"{place}.png")
    return tmp_path / "photos"


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((40, 30), Image.Resampling.BICUBIC)


def printed(*words: object, refused: type[Exception] | None = None) -> str:
    """What the command prints, called in this process; `refused` is the error it must end in."""
    done = CliRunner().invoke(cli, ["data", *map(str, words)], standalone_mode=False)
    assert type(done.exception) is (refused or type(None)), done.output
    return done.output


def test_check_of_a_corrupt_image_is_exit_code_3_and_names_it(photos: Path) -> None:
    broken = photos / "c" / "1.png"
    broken.write_bytes(broken.read_bytes()[:200])
    done = metricforge("data", "check", photos)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: '{photos}' is not fit to train on: image '{broken}' is damaged")
    assert re.search(rf"^broken +1\n +image '{re.escape(str(broken))}' is damaged", done.stdout,
                     re.M)  # fmt: skip
    assert "\nverdict" not in done.stdout
    assert "\x1b[31mh" not in done.stdout


def test_check_as_json_is_on_stdout_whatever_the_verdict(photos: Path, tmp_path: Path) -> None:
    good = json.loads(printed("check", photos, "--json"))
    assert (good["ok"], good["images"], good["dataset"]) == (True, 48, f"folder:path={photos}")
    (photos / "c" / "1.png").write_bytes(b"nothing")
    bad = json.loads(printed("check", photos, "--json", refused=DataError))
    assert bad["ok"] is False
    assert [each["image"] for each in bad["broken"]] == [str(photos / "c" / "1.png")]
    # Where there is no verdict, there is nothing but the error.
    assert printed("check", tmp_path / "none", "--json", refused=DataError) == ""
    assert printed("check", photos, "--json", "--sampler", "nope", refused=UsageError) == ""
    (tmp_path / "empty").touch()
    strange = ("--split", f"saved:path={tmp_path / 'empty'}")
    assert printed("check", photos, "--json", *strange, refused=ArtefactError) == ""
    assert printed("split", photos, "--json", *strange, refused=ArtefactError) == ""


@pytest.mark.parametrize(("form", "unbuffered"), covering([(), ("--json",)], ["", "1"]))
def test_a_full_disk_is_exit_code_6(photos: Path, form: tuple[str, ...], unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "data", "check", photos, *form], stdout=full, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 6, done.stderr
        assert done.stderr == "error: can't print the result to stdout: No space left on device.\n"


def test_check_shows_a_leak_across_train_and_test(photos: Path) -> None:
    with Image.open(photos / "a" / "0.png") as image:
        image.resize((20, 15)).save(photos / "g" / "copy.jpg", quality=80)
    split = f"classes:train=a-d,validation=e-f,test=g+{CLASSES[-1]}"
    lines = printed("check", photos, "--split", split).splitlines()
    at = lines.index("leaks      1 set of copies in more than one part")
    assert lines[at + 1].strip() == (f"{photos}/a/0.png (a, train) = {photos}/g/copy.jpg (g, test)")
    words = shlex.split(lines[-1])
    assert words[:5] == ["verdict", "ok:", "metricforge", "train", "--dataset"]
    assert words[5] == f"folder:path={photos}"


def test_the_command_that_check_prints_is_what_it_checked(photos: Path, tmp_path: Path) -> None:
    for name in CLASSES[3:]:
        shutil.rmtree(photos / name)
    for place in range(30):
        picture(place).save(photos / "abc"[place % 3] / f"more {place}.png")
    by = ("random-pairs", "balanced:classes=2,per_class=3")
    words = ("--split", "images:test=0.4", "--sampler", by[0], "--sampler", by[1],
             "--data-root", "my data")  # fmt: skip
    lines = printed("check", photos, *words).splitlines()
    first, second = (shlex.split(line.partition("metricforge train ")[2]) for line in lines[-2:])
    options = ["--dataset", f"folder:path={photos}", "--split", words[1], "--data-root", "my data"]
    assert first == [*options, "--sampler", by[0]]
    assert second == [*options, "--sampler", by[1]]
    quick = ("--epochs", "1", "--no-test", "--out", tmp_path / "run", "--quiet")
    done = CliRunner().invoke(cli, ["train", *second, *map(str, quick)], standalone_mode=False)
    assert done.exception is None, done.output


def test_small_classes_train_as_a_closed_set_with_all_defaults(
    photos: Path, tmp_path: Path
) -> None:
    split = ("--split", "images")
    verdict = printed("check", photos, *split, "--sampler", "hard-triplet").splitlines()[-1]
    words = shlex.split(verdict.partition("metricforge ")[2])
    quick = ["--epochs", "1", "--quiet", "--out", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(cli, [*words, *quick], standalone_mode=False)
    assert done.exception is None, done.exception
    assert "Episodes ask 1 of each class, not 5: classes have few images." in done.stdout


def test_a_miner_and_a_loss_that_do_not_fit_are_named_as_they_were_typed(photos: Path) -> None:
    words = ["train", "--dataset", f"folder:path={photos}", "--miner", "pml.MultiSimilarityMiner"]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert str(done.exception).startswith(
        "loss triplet compares triplets and the miner "
        "pml.MultiSimilarityMiner gives pairs; losses that fit: contrastive, "
    )
    named = str(done.exception).partition("losses that fit: ")[2]
    assert not {"sum", "nested"} & {*named.rstrip(".").split(", ")}, named


def test_training_and_evaluation_take_a_path_and_find_what_was_moved(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    words = ["train", "--dataset", "photos", "--epochs", "1", "--quiet", "--out", "run"]
    by = ["--sampler", "balanced:classes=2,per_class=2", "--protocol", "retrieval"]
    assert CliRunner().invoke(cli, [*words, *by]).exit_code == 0
    assert "folder:path=photos,size=64" in Path("run/config.toml").read_text()
    held = json.loads(Path("run/summary.json").read_text())["results"]["trained"]
    photos.rename("moved")

    def evaluated(*more: str) -> tuple[int, str]:
        words = ["evaluate", "run", "--protocol", "retrieval", "--json", *more]
        done = CliRunner().invoke(cli, words, standalone_mode=False)
        code = getattr(done.exception, "exit_code", 0)
        return code, str(done.exception) if code else done.stdout

    code, told = evaluated()
    assert code == 3
    assert "the dataset of run can't be opened: option 'path'" in told
    assert "--dataset folder:path=NEW" in told
    for given in ("moved", "folder:path=moved"):
        code, told = evaluated("--dataset", given)
        assert (code, json.loads(told)["part"]) == (0, "test")
        assert json.loads(told)["results"]["trained"] == held
    # Once there are more images, the run's own split is for others.
    Path("moved").rename("photos")
    picture(7).save("photos/a/more.png")
    code, told = evaluated()
    assert code == 3
    held_out = told.partition("metricforge evaluate run ")[2].partition(" tests")[0]
    code, tested = evaluated(*shlex.split(held_out))
    assert (code, json.loads(tested)["part"]) == (0, "test")
    assert "'photos' differs from what run was trained on" in json.loads(tested)["notes"][0]
    now = told.rpartition("metricforge evaluate run ")[2].partition(" measures")[0]
    assert evaluated(*shlex.split(now))[0] == 0
    again = shlex.split(told.partition("metricforge train ")[2].partition(" trains anew")[0])
    quick = ["--epochs", "1", "--no-test", "--quiet", "--out", "again"]
    assert CliRunner().invoke(cli, ["train", *again, *by, *quick]).exit_code == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("fotos", "There is no folder or file 'fotos' either."),
        ("folder:photos", "can't read the dataset 'folder:photos'; write folder:path=photos"),
        ("csv:a, b.csv", 'write csv:path="a, b.csv"'),
    ],
)
def test_a_mistyped_dataset_says_how_it_is_given(
    photos: Path, monkeypatch: pytest.MonkeyPatch, given: str, told: str
) -> None:
    monkeypatch.chdir(photos.parent)
    for words in (["data", "check", given], ["train", "--dataset", given]):
        done = CliRunner().invoke(cli, words, standalone_mode=False)
        assert type(done.exception) is UsageError
        assert told in str(done.exception)


def test_check_says_what_is_there_and_what_each_sampler_says(photos: Path) -> None:
    lines = printed("check", photos, "--sampler", "random-pairs").splitlines()
    for expected in (
        "images     48 of 8 classes",
        "classes    6 to 6 images each, 6 at the median",
        "files      PNG 48",
        "           modes: RGB 48",
        "           sizes: all 40 x 30",
        "           the network sees: 64 x 64, colour",
        "broken     none",
        "leaks      none",
        "samplers   random-pairs ok",
    ):
        assert expected in lines
    assert not any("grouped" in line for line in lines), "it is not what was asked for"
    lines = printed("check", photos).splitlines()
    assert any(line.startswith("           grouped             no  ") for line in lines)


def test_a_note_of_several_samplers_is_said_once_with_their_names(photos: Path) -> None:
    for image in sorted((photos / "b").iterdir())[1:]:
        image.unlink()
    by = ("--sampler", "hard-triplet", "--sampler", "balanced", "--sampler", "random-pairs")
    split = f"classes:train=a-d,validation=e-f,test=g+{CLASSES[-1]}"
    lines = [line.strip() for line in printed("check", photos, "--split", split, *by).splitlines()]
    assert "1 class has one image: negatives only. (hard-triplet, balanced)" in lines
    assert "1 class has one image: never a positive. (random-pairs)" in lines


def test_classes_that_are_in_no_part_are_told_of(photos: Path, tmp_path: Path) -> None:
    split = ("--split", "classes:train=a+b+c,validation=d,test=e+f")
    told = "2 classes (12 images) are in no part of the split."
    assert told in printed("split", photos, *split)
    assert told in printed("check", photos, *split)
    assert json.loads(printed("check", photos, "--json", *split))["left_out"] == [told]
    words = ["train", "--dataset", f"folder:path={photos}", *split, "--epochs", "1", "--no-test",
             "--out", str(tmp_path / "run"), "--quiet", "--sampler", "balanced"]  # fmt: skip
    assert CliRunner().invoke(cli, words).exit_code == 0
    notes = json.loads((tmp_path / "run" / "summary.json").read_text())["training_notes"]
    assert told in notes


def test_check_refused_by_the_sampler_that_is_named_is_exit_code_3(photos: Path) -> None:
    printed("check", photos, "--sampler", "grouped", refused=DataError)
    printed("check", photos, "--sampler", "groped", refused=UsageError)


def test_check_fits_a_terminal_of_80_columns(photos: Path) -> None:
    shown = on_a_terminal("data", "check", "photos", columns=80, cwd=photos.parent)
    assert "\x1b[31mh" not in shown
    lines = uncoloured(shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "verdict    ok: metricforge train --dataset folder:path=photos"


def test_split_shows_the_parts_and_records_them(photos: Path, tmp_path: Path) -> None:
    words = ("split", photos, "--split", "random:seed=3")
    text = printed(*words, "--out", tmp_path / "split.json")
    dataset = open_dataset(str(photos), Registry.installed())
    record = json.loads((tmp_path / "split.json").read_text())
    assert record == json.loads(printed(*words, "--json"))
    assert record["dataset_fingerprint"] == fingerprint(dataset)
    assert record["hash"] in text
    assert record["hash"] != split_dataset(dataset).hash, "another seed is another split"
    for part, has in record["parts"].items():
        counted = rf"{part} +{has['images']} images, +{len(has['classes'])} classes$"
        assert re.search(counted, text, re.M)
    assert "never trained on" in text


def test_a_closed_set_is_said_to_be_one(tmp_path: Path) -> None:
    rows = []
    for place in range(16):
        Image.new("L", (8, 8), 10 * place).save(tmp_path / f"{place}.png")
        rows.append(f"{place}.png,{'ab'[place % 2]},{'train' if place < 8 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    text = printed("split", tmp_path / "list.csv", "--split", "official")
    assert "a closed set: classes that are tested are trained on, too" in text


def test_show_draws_the_part_that_is_asked_for(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.png"
    words = ("show", photos, "--out", out, "--classes", 2, "--per-class", 2)
    assert printed(*words) == f"{out}: 4 images of 2 classes\n"
    with Image.open(out) as image:
        assert image.height == 2 * 68 + 4
    record = json.loads(printed(*words, "--part", "test", "--json"))
    held = json.loads(printed("split", photos, "--json"))["parts"]["test"]["classes"]
    assert set(record["classes"]) <= set(held)
    assert record["images"] == [2, 2]


def test_show_does_not_write_into_the_dataset(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    before = sorted(photos.rglob("*"))
    printed("show", ".", refused=UsageError)
    printed("show", f"folder:path={photos}", "--out", photos / "a" / "m.png", refused=UsageError)
    assert sorted(photos.rglob("*")) == before
    printed("show", ".", "--out", photos.parent / "m.png")


def test_show_refuses_a_part_that_is_none_and_a_split_of_nothing(photos: Path) -> None:
    printed("show", photos, "--part", "tset", refused=UsageError)
    printed("show", photos, "--split", "random", refused=UsageError)
