"""`metricforge train` as a user runs it: a process, its output, its folder, its exit code."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from metricforge.cli import cli
from metricforge.cli.train import INSTEAD
from metricforge.cli.train import command as train_command
from metricforge.registry import Registry
from metricforge.spec import Spec
from tests.cli.forked import LONGEST
from tests.cli.process import COMMAND, metricforge, start

QUICK = (
    "--dataset",
    "digits",
    "--epochs",
    "1",
    "--orientations",
    "1",
    "--protocol",
    "oneshot:episodes=50",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the default command, made quick."""
    path = tmp_path_factory.mktemp("run") / "a run"
    done = metricforge("train", *QUICK, "--protocol", "retrieval", "--out", path)
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout
    assert "untrained" in done.stdout
    assert "pixels" in done.stdout
    assert str(path) in done.stdout.replace("\n", "")
    assert "images/s" in done.stderr
    return path


def test_a_run_leaves_the_folder_of_the_design(run: Path) -> None:
    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert names >= {
        "config.toml",
        "env.json",
        "split.json",
        "metrics.jsonl",
        "summary.json",
        "log.txt",
        "report.html",
        "model/weights.safetensors",
        "model/model.json",
        "model/README.md",
        "plots/train.png",
        "plots/test.png",
        "plots/answers.png",
        "plots/loss.png",
    }
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["results"]) == {"trained", "untrained", "pixels"}
    assert set(summary["results"]["trained"]) >= {"recall@1", "map@r", "accuracy@3way1shot"}
    split = json.loads((run / "split.json").read_text())
    assert summary["split_hash"] == split["hash"]
    held_out = set(summary["test_classes"])
    assert held_out == set(split["parts"]["test"]["classes"])
    assert not held_out & set(split["parts"]["train"]["classes"])
    chosen = (
        f"The weights are those of epoch {summary['selected_epoch']} of {summary['epochs']}, by"
    )
    assert chosen in (run / "report.html").read_text()
    for plot in (run / "plots").iterdir():
        with Image.open(plot) as image:
            assert min(image.size) > 300


def test_the_config_repeats_the_run_with_the_same_numbers(run: Path, tmp_path: Path) -> None:
    again = metricforge("train", "--config", run / "config.toml", "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    first, second = (
        json.loads((path / "summary.json").read_text()) for path in (run, tmp_path / "again")
    )
    assert first["results"] == second["results"]
    one, two = ((p / "model/weights.safetensors").read_bytes() for p in (run, tmp_path / "again"))
    assert one == two


def test_json_is_one_document_on_stdout(tmp_path: Path) -> None:
    done = metricforge("train", *QUICK, "--json", "--quiet", "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["run"] == str(tmp_path / "r")
    estimate = record["results"]["trained"]["accuracy@3way1shot"]
    assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert estimate["n"] == 50
    assert done.stderr == ""


@pytest.mark.exhaustive  # with losses of the suite `smoke` in test_suites.py
@pytest.mark.parametrize("sampler", ["random-pairs", "random-triplets", "balanced"])
def test_every_sampler_trains_with_its_own_defaults(sampler: str, tmp_path: Path) -> None:
    done = metricforge("train", *QUICK, "--sampler", sampler, "--json", "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"]["trained"]


def test_pml_miners_and_losses_train_by_name(tmp_path: Path) -> None:
    done = metricforge(
        "train", *QUICK, "--miner", "pml.MultiSimilarityMiner:epsilon=0.2", "--loss",
        "pml.MultiSimilarityLoss:alpha=1.5", "--head", "mlp:hidden=32", "--precision", "bf16",
        "--out", tmp_path / "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "alpha=1.5" in (tmp_path / "r" / "config.toml").read_text()


BAD_USAGE = [
    (["--sampler", "hard-triplets"], "did you mean 'hard-triplet'?"),
    (["--sampler", "hard-triplet:per_clas=3"], "did you mean 'per_class'?"),
    (["--sampler", "hard-triplet:per_class=many"], "int"),
    (["--loss", "pml.TripletMarginLos"], "TripletMarginLoss"),
    (["--split", "clases:train=0"], "did you mean 'classes'?"),
    (["--optimizer", "adamv"], "adamw"),
    (["--precision", "fp8"], "bf16"),
    (["--select", "map@k"], "map@r"),
    (["--sampler", "random-pairs", "--loss", "triplet"], "contrastive"),
    (["--dim", "0"], "at least 1"),
    (["--schedule", "cosine:warmup=2"], "fraction of the training"),
    (["--optimizer", "adam:lr=0"], "above 0"),
    (["--rates", "loss=100"], "this loss has no parameters"),
    (["--lr", "3"], "Write --optimizer adamw:lr=0.001"),
    (["--batch-size", "32"], "Write --sampler hard-triplet:classes=8,per_class=4"),
    (["--batch_size=32"], "Write --sampler hard-triplet:classes=8,per_class=4"),
    (["--epoch", "3"], "Write --epochs 10"),
    (["--margin", "1"], "Write --loss triplet:margin=0.2"),
]


@pytest.mark.fault(39, 44)
@pytest.mark.parametrize(("options", "told"), BAD_USAGE, ids=[" ".join(o) for o, _ in BAD_USAGE])
def test_bad_usage_is_one_sentence_and_exit_code_2(
    options: list[str], told: str, tmp_path: Path
) -> None:
    done = metricforge("train", *QUICK, *options, "--out", tmp_path / "r")
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "r" / "metrics.jsonl").exists()


def test_episodes_that_the_held_out_classes_cannot_fill_are_refused_before_training(
    tmp_path: Path,
) -> None:
    done = metricforge(
        "train", "--dataset", "digits", "--protocol", "oneshot:way=20", "--out", tmp_path / "r"
    )
    assert done.returncode == 3, done.stderr
    assert "20" in done.stderr
    assert not (tmp_path / "r").exists()


def test_an_unknown_flag_is_exit_code_2() -> None:
    done = metricforge("train", "--sample", "hard-triplet")
    assert done.returncode == 2
    assert "--sampler" in done.stderr


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.effect_noise((24, 24), 40).point(lambda value: (value + shade) % 256)
    image.save(path)


def tree(root: Path, classes: int = 6, images: int = 8) -> Path:
    for c in range(classes):
        for i in range(images):
            picture(root / f"class {c} ü" / f"{i}.png", 40 * c)
    return root


@pytest.mark.fault(51)
def test_a_folder_trains_and_its_report_is_one_offline_file(tmp_path: Path) -> None:
    root = tree(tmp_path / "my <b>photos</b>")
    picture(root / "<script>alert(1)<" / "only one.png", 7)
    done = metricforge(
        "train", *QUICK, "--dataset", f"folder:path={root},size=24", "--out", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<script>alert" not in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)


def broken(kind: str, root: Path) -> str:
    """A folder with something wrong, and what the error must tell of it."""
    if kind == "empty":
        root.mkdir()
        return str(root)
    if kind == "one class":
        tree(root, classes=1)
        return "one class"
    tree(root)
    if kind == "corrupt":
        (root / "class 1 ü" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
        return "3.png"
    if kind == "no image":
        (root / "class 1 ü" / "table.rar").write_bytes(b"PK")
        return "table.rar"
    raise AssertionError(kind)


@pytest.mark.fault(24, 26, 27, 28)
@pytest.mark.parametrize("kind", ["empty", "one class", "corrupt", "no image", "missing"])
def test_a_bad_folder_is_exit_code_3_and_named(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    told = str(root) if kind == "missing" else broken(kind, root)
    done = metricforge(
        "train", *QUICK, "--dataset", f"folder:path={root},size=24", "--out", tmp_path / "r"
    )
    assert done.returncode == 3, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.fault(23)
def test_classes_with_one_image_are_said_and_never_paired(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", classes=8)
    for c in range(4):
        picture(root / f"alone {c}" / "0.png", 200)
    done = metricforge(
        "train", *QUICK, "--dataset", f"folder:path={root},size=24", "--sampler",
        "random-triplets", "--out", tmp_path / "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "one image" in done.stderr


@pytest.mark.fault(38)
def test_no_network_and_no_files_says_where_they_were_looked_for(tmp_path: Path) -> None:
    done = metricforge(
        "train", *QUICK, "--dataset", "mnist", "--data-root", tmp_path / "nothing here",
        "--out", tmp_path / "r", env={"https_proxy": "http://127.0.0.1:9", "METRICFORGE_DATA": ""},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "nothing here" in done.stderr
    assert not list((tmp_path / "nothing here").rglob("*ubyte*"))


@pytest.mark.fault(5)
def test_a_used_folder_is_refused_and_can_be_overwritten(run: Path) -> None:
    before = (run / "summary.json").read_text()
    done = metricforge("train", *QUICK, "--out", run)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (run / "summary.json").read_text() == before


@pytest.mark.fault(4)
def test_a_read_only_place_is_exit_code_6(tmp_path: Path) -> None:
    # Root may write anywhere, so a file stands in for the folder that can't be made.
    (tmp_path / "file").write_text("")
    done = metricforge("train", *QUICK, "--out", tmp_path / "file" / "r")
    assert done.returncode == 6, done.stderr


@pytest.mark.fault(18)
def test_a_loss_that_is_not_a_number_is_exit_code_7_with_the_batch(tmp_path: Path) -> None:
    done = metricforge(
        "train", *QUICK, "--optimizer", "sgd:lr=1e30", "--schedule", "constant", "--head",
        "linear:normalize=false", "--out", tmp_path / "r",
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert re.search(r"batch of images \d+, \d+", done.stderr)
    assert "Try a lower learning rate, the option lr of the optimizer" in done.stderr
    assert "ended by an error: the loss is" in (tmp_path / "r" / "log.txt").read_text()


@pytest.mark.fault(19)
def test_a_network_that_does_not_fit_in_memory_is_exit_code_6(tmp_path: Path) -> None:
    done = metricforge("train", *QUICK, "--dim", 10**13, "--out", tmp_path / "r")
    assert done.returncode == 6, done.stderr
    assert "out of memory while head 'linear' was made; a smaller --dim" in done.stderr


def test_what_is_not_there_can_not_be_gone_on_with(tmp_path: Path) -> None:
    done = metricforge("train", "--resume", tmp_path / "none")
    assert done.returncode == 5
    assert f"{tmp_path / 'none'} does not exist" in done.stderr


@pytest.mark.fault(13)
def test_a_finished_run_has_nothing_to_resume(run: Path) -> None:
    done = metricforge("train", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr


@pytest.mark.fault(8)
def test_resuming_with_other_options_is_refused_with_the_difference(run: Path) -> None:
    done = metricforge("train", "--resume", run, "--dim", "7")
    assert done.returncode == 2
    assert "dim: 64 / 7" in done.stderr


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.fault(46)
@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_pickle_is_refused_unopened(command: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Canary(tmp_path / "opened")))
    words = ("train", "--resume") if command == "resume" else ("evaluate",)
    done = metricforge(*words, tmp_path / "model.pt")
    assert done.returncode == 5, done.stderr
    assert "not opened" in done.stderr
    assert not (tmp_path / "opened").exists()


@pytest.mark.fault(15, 16)
@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="SIGINT"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.exhaustive),
    ],
)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    options = (
        "--dataset",
        "digits",
        "--epochs",
        "4",
        "--orientations",
        "1",
        "--protocol",
        "oneshot:episodes=50",
    )
    straight = metricforge("train", *options, "--out", tmp_path / "straight")
    assert straight.returncode == 0, straight.stderr
    process = start("train", *options, "--out", tmp_path / "stopped")
    wait_for_steps(tmp_path / "stopped" / "metrics.jsonl", 20)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code, stderr
    assert re.search(r"^interrupted and saved at step \d+; resume with: .* --resume", stderr, re.M)
    assert "error:" not in stderr
    resumed = metricforge("train", "--resume", tmp_path / "stopped")
    assert resumed.returncode == 0, resumed.stderr
    one, two = (tmp_path / name / "model" / "weights.safetensors" for name in
                ("straight", "stopped"))  # fmt: skip
    assert one.read_bytes() == two.read_bytes()


def wait_for_steps(metrics: Path, steps: int) -> None:
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        if metrics.is_file() and len(metrics.read_text().splitlines()) >= steps:
            return
        time.sleep(0.01)
    raise AssertionError(f"{metrics} never had {steps} lines")


@pytest.mark.fault(22)
def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; metricforge plugins | head -1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
    )
    assert done.stdout == "samplers\n"
    assert done.stderr == ""


OF_OTHER_PROGRAMS = {
    "timm": ("--model", "--pretrained", "--opt", "--sched", "--lr", "--weight-decay",
             "--batch-size", "--img-size", "--num-classes", "--data-dir", "--output"),
    "ultralytics": ("--data", "--imgsz", "--batch", "--weights", "--project", "--name"),
    "metric learning": ("--embedding-size", "--margin", "--num-epochs", "--learning-rate", "--gpu",
                        "--num-workers", "--arch", "--checkpoint"),
}  # fmt: skip


@pytest.mark.fault(112)
@pytest.mark.parametrize("program", OF_OTHER_PROGRAMS)
def test_an_option_of_another_program_is_refused_with_what_to_write(program: str) -> None:
    for option in OF_OTHER_PROGRAMS[program]:
        for spelled in (option, option.replace("-", "_").replace("__", "--", 1)):
            done = CliRunner().invoke(cli, ["train", spelled, "x"])
            assert done.exit_code == 2
            assert f"No such option '{spelled}'. Write {INSTEAD[option]}" in done.output


@pytest.mark.fault(112)
@pytest.mark.parametrize("option", INSTEAD)
def test_what_to_write_in_its_place_is_taken(option: str, tmp_path: Path) -> None:
    instead = INSTEAD[option].partition(" for ")[0].replace("FOLDER", str(tmp_path))
    given = train_command.make_context("train", shlex.split(instead)).params
    chosen = {name: value for name, value in given.items() if value not in (None, False, ())}
    assert chosen, instead
    for name, value in chosen.items():
        if name in {"backbone", "optimizer", "sampler", "loss", "schedule"}:
            Registry.installed().complete(name, Spec.parse(str(value)))
        elif name == "dataset" and str(value).startswith("folder:"):
            assert Spec.parse(str(value)).options["size"] == "128"


@pytest.mark.fault(115)
def test_the_help_says_what_a_budget_of_seconds_counts() -> None:
    done = CliRunner().invoke(cli, ["train", "--help"], terminal_width=200)
    told = " ".join(done.output.split())
    assert "--seconds" in told
    assert "counting steps alone: validation and a sampler's refresh come on top" in told
