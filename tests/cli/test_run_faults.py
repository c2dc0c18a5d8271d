"""What befalls a run: each case of docs/faults.md that is about one, by the real command."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metricforge.atomic_files import read_folder, write_folder
from metricforge.errors import ResourceError
from tests.cli.forked import LONGEST
from tests.cli.killing import ending
from tests.cli.process import (
    COMMAND,
    TORCHRUN,
    by_torchrun,
    metricforge,
    start,
    start_wrapped,
    wrapped,
)
from tests.cli.small_run import make_files, make_images, words


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of a small run."""
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing befell."""
    path = tmp_path_factory.mktemp("whole") / "run"
    done = metricforge("train", *words(images), "--out", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def stopped(images: Path, tmp_path: Path) -> Path:
    """The same run, killed before its seventh step, in its second epoch, with two checkpoints."""
    done = wrapped("killed=7", "train", *words(images), "--save-steps", 1, "--out", tmp_path / "r")
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in checkpoints(tmp_path / "r")] == ["step-00000005", "step-00000006"]
    return tmp_path / "r"


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*"))


@pytest.mark.fault(3)
@pytest.mark.parametrize("at", [20])
def test_a_full_disk_is_exit_code_6_and_the_last_checkpoint_is_kept(
    images: Path, whole: Path, tmp_path: Path, at: int
) -> None:
    given = (*words(images), "--save-steps", 1, "--out", tmp_path / "r")
    done = wrapped(f"full={at}", "train", *given)
    assert done.returncode == 6, done.stderr
    assert "No space left on device" in done.stderr
    kept = checkpoints(tmp_path / "r")
    assert kept
    assert all("model.safetensors" in read_folder(folder) for folder in kept)
    again = metricforge("train", "--auto-resume", *given)
    assert again.returncode == 0, again.stderr
    assert ending(tmp_path / "r") == ending(whole)


def test_a_disk_that_is_really_full_is_exit_code_6(images: Path, tmp_path: Path) -> None:
    """On a file system of 64 KiB; there the plots are the first that do not fit."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    line = f"{' '.join(mount)} && exec {COMMAND} train {' '.join(words(images))} --out {disk}/r"
    ways = (["sh", "-c", line], ["unshare", "--map-root-user", "--mount", "sh", "-c", line])
    try:
        for way in ways:
            done = subprocess.run(way, capture_output=True, text=True, timeout=LONGEST, check=False)
            if "mount" not in done.stderr and "unshare" not in done.stderr:
                break
        else:
            pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
        assert done.returncode == 6, done.stderr
        assert re.search(r"can't write \S+/r/\S+: No space left on device", done.stderr)
    finally:
        subprocess.run(["umount", str(disk)], capture_output=True, check=False)


@pytest.mark.fault(6)
def test_a_folder_is_held_by_one_run_and_a_dead_ones_is_taken_over(
    whole: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r"
    first = start("train", *words(images), "--epochs", "4000", "--out", out)
    wait_for(out / "metrics.jsonl")
    holder = rf"in use by process {first.pid} on \S+, since 20\d\d-"
    for given in (["--out", out, "--overwrite"], ["--out", out, "--auto-resume"]):
        second = metricforge("train", *words(images), "--epochs", "4000", *given)
        assert second.returncode == 2
        assert re.search(holder, second.stderr), second.stderr
    second = metricforge("train", "--resume", out)
    assert (second.returncode, bool(re.search(holder, second.stderr))) == (2, True), second.stderr
    first.kill()
    first.communicate()
    taken = metricforge("train", *words(images), "--out", out, "--overwrite")
    assert taken.returncode == 0, taken.stderr
    assert ending(out) == ending(whole)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.fault(7)
@pytest.mark.parametrize(
    ("damage", "name"),
    [(flip, "model.safetensors"), (truncate, "epoch.safetensors"), (flip, "manifest.json")],
)
def test_a_damaged_checkpoint_is_passed_over_and_said(
    stopped: Path, whole: Path, damage: Any, name: str
) -> None:
    damage(checkpoints(stopped)[-1] / name)
    done = metricforge("train", "--resume", stopped)
    assert done.returncode == 0, done.stderr
    said = re.compile(r"skipped a checkpoint: .*step-00000006")
    assert said.search(done.stderr)
    assert said.search((stopped / "log.txt").read_text())
    assert ending(stopped) == ending(whole)


@pytest.mark.fault(7)
def test_without_an_intact_checkpoint_it_is_exit_code_5(stopped: Path) -> None:
    for folder in checkpoints(stopped):
        flip(folder / "model.safetensors")
    done = metricforge("train", "--resume", stopped)
    assert done.returncode == 5
    assert "step-00000005" in done.stderr
    assert "step-00000006" in done.stderr


@pytest.mark.fault(8)
def test_resumed_by_the_same_command_with_another_option_it_tells_the_difference(
    stopped: Path, images: Path
) -> None:
    same = (*words(images), "--out", stopped, "--auto-resume")
    for given, told in (
        (("--clip", 3), "clip: None / 3.0"),
        (("--loss", "triplet:margin=0.9"), "margin=0.9"),
        (("--chunk", 4), "chunk: None / 4"),
    ):
        done = metricforge("train", *same, *given)
        assert done.returncode == 2, done.stderr
        assert told in done.stderr
    # What has no share in the result may change.
    done = metricforge("train", *same, "--keep", 3, "--save-minutes", 1)
    assert done.returncode == 0, done.stderr


@pytest.mark.fault(11)
@pytest.mark.parametrize("what", ["a pixel", "groups"])
def test_a_dataset_that_has_changed_is_exit_code_3(stopped: Path, images: Path, what: str) -> None:
    with np.load(images) as kept:
        arrays = dict(kept)
    before = images.read_bytes()
    try:
        if what == "groups":
            arrays["groups"] = arrays["labels"] % 2
        else:
            arrays["images"][7, 3, 3] ^= 1
        np.savez(images, **arrays)
        done = metricforge("train", "--resume", stopped)
    finally:
        images.write_bytes(before)
    assert done.returncode == 3, done.stderr
    assert "images or labels have changed" in done.stderr, "groups are labels, too"


@pytest.mark.fault(12)
def test_a_checkpoint_of_a_newer_format_is_exit_code_5(stopped: Path) -> None:
    for folder in checkpoints(stopped):
        files = read_folder(folder)
        state = json.loads(files["state.json"]) | {"format": 9}
        write_folder(folder, files | {"state.json": json.dumps(state).encode()})
    done = metricforge("train", "--resume", stopped)
    assert done.returncode == 5
    assert "format 9" in done.stderr
    assert "upgrade metricforge" in done.stderr


@pytest.mark.fault(15)
def test_a_second_ctrl_c_leaves_what_can_be_resumed(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    process = start("train", *words(images), "--epochs", "4000", "--save-steps", 1,
                    "--out", tmp_path / "r")  # fmt: skip
    wait_for(tmp_path / "r" / "checkpoints" / "best")
    # More than two, for it may be anywhere when the second comes.
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.003)
    _, stderr = process.communicate(timeout=LONGEST)
    assert process.returncode == 130, stderr
    for folder in checkpoints(tmp_path / "r")[-1:]:
        assert "model.safetensors" in read_folder(folder)


@pytest.mark.fault(16)
def test_a_run_that_decodes_is_saved_by_sigterm_at_once(tmp_path: Path) -> None:
    files = make_files(tmp_path / "files")
    out = tmp_path / "r"
    process = start_wrapped(
        "decoding", "train", *words(files), "--epochs", "4000", "--workers", "2", "--out", out
    )
    wait_for(out / "checkpoints" / "best")
    before = len((out / "metrics.jsonl").read_text().splitlines())
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "interrupted and saved at step" in stderr
    # Seconds for this run are minutes on a busy machine; no more than the step at hand was taken.
    assert len((out / "metrics.jsonl").read_text().splitlines()) <= before + 2


@pytest.mark.fault(16)
def test_ranks_are_saved_by_the_sigterm_that_torchrun_hands_on(
    images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r"
    process = subprocess.Popen(
        [*TORCHRUN, "-m", "metricforge", "train", *words(images), "--epochs", "4000",
         "--out", str(out)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(out / "checkpoints" / "best")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=LONGEST)
    assert process.returncode != 0
    step = int(re.findall(r"saved at step (\d+)", (out / "log.txt").read_text())[-1])
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] == step
    assert "model.safetensors" in read_folder(checkpoints(out)[-1]), stderr


@pytest.mark.fault(66)
@pytest.mark.parametrize(("what", "last"), [("none", signal.SIGHUP), ("nohup", signal.SIGTERM)])
def test_a_lost_terminal_saves_the_run_unless_nohup_ignores_it(
    images: Path, tmp_path: Path, what: str, last: signal.Signals
) -> None:
    out = tmp_path / "r"
    process = start_wrapped(what, "train", *words(images), "--epochs", "4000", "--out", out)
    wait_for(out / "checkpoints" / "best")
    process.send_signal(signal.SIGHUP)
    if last != signal.SIGHUP:
        lines = len((out / "metrics.jsonl").read_text().splitlines())
        while len((out / "metrics.jsonl").read_text().splitlines()) < lines + 8:
            assert process.poll() is None, process.shown()
        process.send_signal(last)
    _, stderr = process.communicate()
    assert process.returncode == 128 + last, stderr
    assert "interrupted and saved at step" in stderr
    assert "model.safetensors" in read_folder(checkpoints(out)[-1])


@pytest.mark.fault(68)
@pytest.mark.parametrize(
    "mebibytes", [300, pytest.param(700, marks=pytest.mark.exhaustive),
                  pytest.param(1_500, marks=pytest.mark.exhaustive)]
)  # fmt: skip
def test_too_little_room_to_load_the_libraries_is_exit_code_6(mebibytes: int) -> None:
    limit = mebibytes * 2**20
    done = subprocess.run(
        [COMMAND, "data", "check", "digits"], capture_output=True, text=True, timeout=LONGEST,
        check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    assert done.stderr.startswith("error: out of memory; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.fault(77, 83)
def test_what_a_component_prints_does_not_spoil_the_json(images: Path, tmp_path: Path) -> None:
    done = wrapped("printing", "train", *words(images), "--json", "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "r")
    assert done.stderr.count("a line of a component") == 8


@pytest.mark.fault(10)
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    """They are threads, which decode; those of a run that goes on may be others."""
    files = make_files(tmp_path / "files")
    for workers in (1, 3):
        out = tmp_path / str(workers)
        done = wrapped("decoding", "train", *words(files), "--workers", workers, "--out", out)
        assert done.returncode == 0, done.stderr
    assert ending(tmp_path / "1") == ending(tmp_path / "3")


@pytest.mark.fault(20)
def test_no_worker_is_a_process_that_could_be_killed(tmp_path: Path) -> None:
    """Images are decoded by threads of the process: who kills one of them kills the run."""
    files = make_files(tmp_path / "files")
    out = tmp_path / "r"
    process = start_wrapped(
        "decoding", "train", *words(files), "--epochs", "4000", "--workers", "3", "--out", out
    )
    try:
        wait_for(out / "checkpoints" / "best")
        tasks = Path(f"/proc/{process.pid}/task")
        names = [(task / "comm").read_text() for task in tasks.iterdir()]
        assert sum("decode" in name for name in names) in (0, 3)  # not named before Python 3.14
        assert len(names) > 3
        # Not counted again: by now there may be a thread more.
        assert not any((task / "children").read_text() for task in tasks.iterdir())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.fault(19)
def test_too_little_memory_is_exit_code_6_with_a_number_to_try(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "many.npz", images=rng.integers(0, 256, (1000, 64, 64), dtype=np.uint8),
             labels=np.repeat(np.arange(10), 100))  # fmt: skip
    given = ["train", "--dataset", f"npz:path={tmp_path / 'many.npz'}", "--backbone",
             "conv4:channels=256", "--sampler", "hard-triplet:classes=5,per_class=100",
             "--orientations", "1", "--epochs", "1", "--device", "cpu", "--protocol", "retrieval",
             "--out", str(tmp_path / "r")]  # fmt: skip
    limit = 2 * 2**30

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    done = subprocess.run(
        [str(COMMAND), *given], capture_output=True, text=True, timeout=LONGEST, check=False,
        preexec_fn=limited,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert re.search(r"out of memory with 5\d\d images at a time; try --chunk 25\d", done.stderr)


@pytest.mark.fault(21)
def test_more_classes_than_there_are_is_exit_code_3_and_more_images_are_said(
    images: Path, tmp_path: Path
) -> None:
    done = metricforge("train", *words(images), "--sampler", "hard-triplet:classes=40,per_class=3",
                       "--out", tmp_path / "r")  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "the train set has 6; set classes=6 or less" in done.stderr
    done = metricforge("train", *words(images), "--sampler", "hard-triplet:classes=3,per_class=40",
                       "--out", tmp_path / "r")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "6 classes have fewer than per_class=40 images, which all come at once" in done.stderr


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + LONGEST
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def together(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by two ranks, of which nothing befell either."""
    path = tmp_path_factory.mktemp("together") / "run"
    done = wrapped("none", "train", *words(images), "--out", path, ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next    metricforge evaluate") == 1
    return path


@pytest.mark.fault(17)
@pytest.mark.exhaustive  # ranks that are stopped and saved are in a test above
@pytest.mark.parametrize(("step", "deaths"), [(6, 1), (4, 3)])
def test_a_rank_that_dies_ends_the_others_and_a_restart_goes_on_to_the_same_bytes(
    images: Path, together: Path, tmp_path: Path, step: int, deaths: int
) -> None:
    given = ("train", *words(images), "--save-steps", 2, "--auto-resume", "--out", tmp_path / "r")
    done = by_torchrun(f"dying={step}", *given, restarts=deaths)
    assert done.returncode == 0, done.stderr
    # Torchrun names the rank that was killed, or the other, if that ended before it looked.
    codes = re.findall(r"failed \(exitcode: (-?\d+)\)", done.stderr)
    assert len(codes) == deaths, done.stderr
    assert set(codes) <= {"-9", str(ResourceError.exit_code)}
    assert ending(tmp_path / "r") == ending(together)


@pytest.mark.fault(9)
def test_resumed_by_two_ranks_it_has_the_batches_of_one(
    stopped: Path, whole: Path, together: Path
) -> None:
    done = wrapped("none", "train", "--resume", stopped, ranks=2)
    assert done.returncode == 0, done.stderr
    kept = [ending(run)["metrics"] for run in (whole, stopped, together)]
    for lines in zip(*kept, strict=True):
        assert len({tuple(line) for line in lines}) == 1
        for name, value in lines[0].items():
            for other in lines[1:]:
                _close(other[name], value, name)


def _close(found: Any, expected: Any, name: str) -> None:
    # Between the two, rounding may choose another negative, whose loss is as good as the same.
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), name
    elif isinstance(expected, dict):
        assert found == pytest.approx(expected, abs=0.2), name
    else:
        assert found == expected, name


def test_what_fails_on_all_ranks_is_said_once(images: Path, tmp_path: Path) -> None:
    done = wrapped("none", "train", *words(images), "--loss", "tripelt", "--out", tmp_path / "r",
                   ranks=2)  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("did you mean 'triplet'?") == 1
    assert not (tmp_path / "r").exists()


def test_what_fails_on_the_first_rank_alone_is_its_to_tell(images: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("")
    done = wrapped("none", "train", *words(images), "--out", tmp_path / "r", ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("is not empty; give another --out") == 1
    assert "fault of metricforge" not in done.stderr
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["thesis.txt"]
