"""`metricforge evaluate`, `encode`, `plugins` and `--help`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.process import metricforge


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "r"
    done = metricforge(
        "train",
        "--dataset",
        "digits",
        "--epochs",
        "1",
        "--orientations",
        "1",
        "--quiet",
        "--out",
        path,
    )
    assert done.returncode == 0, done.stderr
    return path


def test_the_runs_own_test_classes_give_the_runs_own_numbers(run: Path) -> None:
    done = metricforge("evaluate", run, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    summary = json.loads((run / "summary.json").read_text())
    assert record["results"]["trained"] == summary["results"]["trained"]
    assert record["results"]["pixels"] == summary["results"]["pixels"]
    assert record["classes"] == summary["test_classes"]
    again = metricforge("evaluate", run, "--json")
    assert again.stdout == done.stdout
    opened = (run / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["by"] for line in opened] == ["train", "evaluate", "evaluate"]


def test_classes_it_was_trained_on_are_refused_unless_allowed(run: Path) -> None:
    refused = metricforge("evaluate", run, "--part", "train")
    assert refused.returncode == 3
    assert "--allow-seen" in refused.stderr
    allowed = metricforge("evaluate", run, "--part", "train", "--allow-seen")
    assert allowed.returncode == 0, allowed.stderr
    assert "5 of 5 of which it was trained or selected on" in allowed.stdout


def test_a_dataset_it_was_not_trained_on(run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 255, (30, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    done = metricforge(
        "evaluate", run, "--dataset", f"folder:path={tmp_path / 'photos'}", "--protocol",
        "oneshot:way=3,shot=1,queries=2,episodes=20", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["results"]["trained"]) == {"accuracy@3way1shot"}
    same_names = metricforge("evaluate", run, "--dataset", "digits", "--part", "all")
    assert same_names.returncode == 3
    assert "trained" in same_names.stderr
    # Its own by name is its own: what was held out.
    own = metricforge("evaluate", run, "--dataset", "digits", "--json")
    assert json.loads(own.stdout)["part"] == "test"


BAD = [
    (["--protocol", "oneshot:way=20"], 3, "20"),
    (["--protocol", "oneshoot"], 2, "did you mean 'oneshot'?"),
    (["--protocol", "oneshot:wey=3"], 2, "did you mean 'way'?"),
    (["--part", "tset"], 2, "did you mean 'test'?"),
    (["--device", "tpu9"], 2, "cpu"),
]


@pytest.mark.parametrize(("options", "code", "told"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_options(run: Path, options: list[str], code: int, told: str) -> None:
    done = metricforge("evaluate", run, *options)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_run_or_damaged_is_exit_code_5(run: Path, tmp_path: Path) -> None:
    missing = metricforge("evaluate", tmp_path / "nothing")
    assert missing.returncode == 5, missing.stderr
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(run), str(copy)], check=True)
    weights = copy / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    damaged = metricforge("evaluate", copy)
    assert damaged.returncode == 5
    assert "weights.safetensors" in damaged.stderr


def test_encode_writes_the_embeddings_that_python_gives(run: Path, tmp_path: Path) -> None:
    import metricforge as mf

    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        Image.effect_noise((16, 16), 30 * (i + 1)).save(files[-1])
    done = metricforge("encode", run, *files, "--out", tmp_path / "e.npy")
    assert done.returncode == 0, done.stderr
    embeddings = np.load(tmp_path / "e.npy")
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (3, 64)
    np.testing.assert_array_equal(embeddings, mf.load(run, device="cpu").encode(files))
    lost = metricforge("encode", run, tmp_path / "gone.png", "--out", tmp_path / "f.npy")
    assert lost.returncode == 3
    assert "gone.png" in lost.stderr


def test_encode_takes_folders_names_its_rows_and_skips_what_is_broken(
    run: Path, tmp_path: Path
) -> None:
    for name in ("b/2.png", "b/1.png", "a.png", "alone.png"):
        path = tmp_path / ("photos" if "alone" not in name else ".") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 30).save(path)
    (tmp_path / "photos" / "b" / "3.png").write_bytes(b"nothing")
    (tmp_path / "photos" / "b" / "notes.txt").write_text("by-file")
    words = ("encode", run, "alone.png", "photos", "--out", "e.npy")
    refused = metricforge(*words, cwd=tmp_path)
    assert refused.returncode == 3
    assert "'photos/b/3.png' is no image that can be read; replace it, or take it away. " in (
        refused.stderr
    )
    assert "--broken skip" in refused.stderr
    assert not (tmp_path / "e.npy").exists()
    done = metricforge(*words, "--broken", "skip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "e.npy: 4 embeddings of 64 dimensions, 1 skipped; names in e.json\n"
    assert "skipped: 'photos/b/3.png'" in done.stderr
    names = json.loads((tmp_path / "e.json").read_text())
    assert names == ["alone.png", "photos/a.png", "photos/b/1.png", "photos/b/2.png"]
    assert len(np.load(tmp_path / "e.npy")) == 4


def test_plugins_lists_every_component_with_its_distribution() -> None:
    done = metricforge("plugins", "list", "--json", env={"METRICFORGE_PLUGINS": ""})
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    found = {(record["kind"], record["name"]) for record in records}
    assert found >= {
        ("sampler", "hard-triplet"),
        ("loss", "pml.NAME"),
        ("backbone", "resnet18"),
        ("dataset", "omniglot"),
    }
    assert all(record["summary"].endswith(".") for record in records)
    assert all(record["distribution"] == "metricforge" for record in records)
    table = metricforge("plugins", "list", "losses").stdout
    assert "triplet" in table
    assert "conv4" not in table


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["plugins"]])
def test_help_and_listing_import_no_torch(words: list[str]) -> None:
    program = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('HEAVY', sorted({'torch', 'numpy', 'faiss', "
        "'metricforge_standard'} & set(sys.modules))))\n"
        "from metricforge.cli import main\n"
        f"sys.argv = ['metricforge', *{words!r}]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metricforge", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("metricforge, version ")


def test_embeddings_of_another_program_are_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 12
    np.save(tmp_path / "x.npy", rng.standard_normal((12, 8))[labels] + rng.random((120, 8)) / 9)
    np.save(tmp_path / "y.npy", labels)
    (tmp_path / "y.txt").write_text("".join(f"class {label:02d}\n" for label in labels))
    shown = []
    for file in ("y.npy", "y.txt"):
        done = metricforge(
            "evaluate", "--embeddings", tmp_path / "x.npy", "--labels", tmp_path / file,
            "--protocol", "retrieval", "--protocol", "verification:pairs=2000", "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown.append(json.loads(done.stdout)["results"]["trained"])
    assert shown[0] == shown[1]
    assert shown[0]["map@r"]["value"] > 0.99
    assert shown[0]["auc"]["value"] > 0.99
    told = metricforge(
        "evaluate", "--embeddings", tmp_path / "x.npy", "--labels", tmp_path / "y.npy"
    )
    assert "embeddings (all, 120 images): classes 0, 1, 2" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "needs a RUN, or --embeddings"),
        (["--embeddings", "x.npy"], 2, "with --labels"),
        (["--embeddings", "x.npy", "--labels", "y.npy", "--part", "test"], 2, "RUN"),
        (["--embeddings", "none.npy", "--labels", "y.npy"], 3, "none.npy is not a file"),
        (["--embeddings", "x.npy", "--labels", "short.txt"], 3, "4 embeddings have 2 labels"),
        (["--embeddings", "x.npy", "--labels", "gap.txt"], 3, "gap.txt:2 has no label"),
        (["--embeddings", "y.npy", "--labels", "y.npy"], 3, "embeddings are real numbers [N, D]"),
        (["--embeddings", "x.npy", "--labels", "x.npy"], 3, "labels are whole numbers"),
        (["--embeddings", "bad.npy", "--labels", "y.npy"], 5, "bad.npy"),
        (["--embeddings", "x.npy", "--labels", "pickle.npy"], 5, "pickle.npy"),
    ],
)
def test_arrays_that_are_none_are_refused(
    tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 2)))
    np.save(tmp_path / "y.npy", np.arange(4) // 2)
    (tmp_path / "short.txt").write_text("a\nb\n")
    (tmp_path / "gap.txt").write_text("a\n\nb\nb\n")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nonsense")
    np.save(tmp_path / "pickle.npy", np.array([{}, {}, {}, {}], dtype=object))
    paths = [tmp_path / a if "." in a else a for a in arguments]
    done = metricforge("evaluate", *paths)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
