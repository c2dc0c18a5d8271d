"""`metricforge push`, and hub:OWNER/NAME in place of a run: to a hub on this machine and back."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import metricforge as mf
from metricforge.atomic_files import read_folder, write_folder
from metricforge.errors import ArtefactError, UsageError
from metricforge.fetching import nothing_fetched
from metricforge.hub.address import Address, is_address
from metricforge.loading import load
from tests.cli.small_run import make_files
from tests.hub.conftest import Command
from tests.hub.server import READER, TOKEN, Hub

NAME = "anna/small"
OWN = {"README.md", "manifest.json", "model.json", "training.png", "weights.safetensors"}


def newest(hub: Hub, name: str = NAME) -> dict[str, bytes]:
    repository = hub.repositories[name]
    return repository.commits[repository.newest]


def test_a_model_comes_back_to_the_byte(
    finished: Path, hub: Hub, command: Command, tmp_path: Path
) -> None:
    images = make_files(tmp_path / "images")
    pushed = command("push", finished, NAME, "--yes", "--licence", "mit", "--json")
    assert pushed.returncode == 0, pushed.stderr
    told = json.loads(pushed.stdout)
    assert told["address"] == f"hub:{NAME}"
    assert told["commit"] == hub.repositories[NAME].newest
    files = newest(hub)
    assert files.keys() - {".gitattributes"} == OWN == told["files"].keys()
    for name in ("model.json", "weights.safetensors", "training.png"):
        assert files[name] == (finished / "model" / name).read_bytes()
    assert len(hub.stored) == 2, "large files are put where the hub wants them"
    # Into an empty cache, by another process.
    there = command("encode", f"hub:{NAME}", images, "--out", "there.npy", cache="other")
    here = command("encode", finished, images, "--out", "here.npy")
    assert (there.returncode, here.returncode) == (0, 0), there.stderr
    assert (tmp_path / "there.npy").read_bytes() == (tmp_path / "here.npy").read_bytes()
    assert "path/to" not in files["README.md"].decode()
    assert f'metricforge.load("hub:{NAME}")' in files["README.md"].decode()
    assert files["README.md"].startswith(b'---\nlicense: "mit"\nlibrary_name: "metricforge"\n')


def test_the_commands_that_take_a_run_take_an_address(
    finished: Path, hub: Hub, command: Command, tmp_path: Path
) -> None:
    images = make_files(tmp_path / "images")
    address = f"hub:{NAME}@{push(command, hub, finished)}"
    done = command("index", address, images, "--out", "index")
    assert done.returncode == 0, done.stderr
    one = next(images.glob("0/*.png"))
    found = command("search", address, "index", one, "--json")
    assert found.returncode == 0, found.stderr
    assert command("search", finished, "index", one, "--json").stdout == found.stdout
    other = next(images.glob("9/*.png"))
    verdict = command("verify", address, one, other, "--threshold", 1)
    assert verdict.returncode == 0, verdict.stderr
    tested = command("evaluate", address, "--dataset", f"folder:path={images}", "--allow-seen",
                     "--protocol", "retrieval")  # fmt: skip
    assert tested.returncode == 0, tested.stderr
    exported = command("export", address, "--to", "pt2", "--out", "model.pt2",
                       "--images", f"folder:path={images}")  # fmt: skip
    assert exported.returncode == 0, exported.stderr
    enrolled = command("enrol", address, images, "--out", "gallery")
    assert "no run says which validation classes this model has" in enrolled.stderr
    # Nothing more is downloaded than was the first time.
    asked = [request for request in hub.requests if request.startswith("GET /anna")]
    assert len(asked) == len(OWN)


def push(command: Command, hub: Hub, run: Path, *more: str) -> str:
    done = command("push", run, NAME, "--yes", *more)
    assert done.returncode == 0, done.stderr
    return hub.repositories[NAME].newest


def test_only_the_files_of_a_model_are_downloaded(
    finished: Path, hub: Hub, command: Command, tmp_path: Path
) -> None:
    push(command, hub, finished)
    newest(hub)["pytorch_model.bin"] = b"a pickle"
    newest(hub)["sub/weights.safetensors"] = b"as large as it likes"
    (tmp_path / "a.png").write_bytes(b"")
    command("encode", f"hub:{NAME}", "a.png", "--out", "a.npy", cache="other")
    names = {path.name for path in (tmp_path / "other").rglob("snapshots/*/*")}
    assert names == OWN


@pytest.mark.fault(148)
def test_a_damaged_download_is_refused(
    finished: Path, hub: Hub, command: Command, tmp_path: Path
) -> None:
    push(command, hub, finished)

    def flipped(name: str, content: bytes) -> bytes:
        if name != "weights.safetensors":
            return content
        return content[:-1] + bytes([content[-1] ^ 1])

    hub.damage = flipped
    done = command("encode", f"hub:{NAME}", "a.png", "--out", "a.npy", cache="other")
    assert (done.returncode, done.stdout) == (5, "")
    assert "weights.safetensors is damaged: its sha256 is not the manifest's" in done.stderr
    assert f"`hf cache rm model/{NAME}` removes the download" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("--yes",), ()])
def test_nothing_is_sent_without_a_token(
    words: tuple[str, ...], finished: Path, hub: Hub, command: Command
) -> None:
    done = command("push", finished, NAME, *words, HF_TOKEN="")
    expected = (6, "there is no token of the hub: log in") if words else (2, "pass --yes")
    assert done.returncode == expected[0]
    assert expected[1] in done.stderr
    assert hub.requests == []


def test_without_a_terminal_it_says_what_it_would_send(
    finished: Path, hub: Hub, command: Command, endpoint: str
) -> None:
    done = command("push", finished, NAME, "--private")
    assert (done.returncode, done.stdout, hub.requests) == (2, "", [])
    assert f"to      {endpoint}/{NAME} (private)\n" in done.stderr
    assert "note    model.json has the names of 8 classes.\n" in done.stderr
    for name in OWN - {"manifest.json", "README.md"}:
        size = (finished / "model" / name).stat().st_size
        assert any(name in line and f"{size:,} bytes" in line for line in done.stderr.splitlines())


REFUSALS = {
    "a wrong token": ({"HF_TOKEN": "hf_wrong"}, 6, "or the token is wrong; check the name"),
    "a token to read": ({"HF_TOKEN": READER}, 6, "the token does not allow it"),
    "no network": ({"HF_ENDPOINT": "http://127.0.0.1:9"}, 6, "the hub can't be reached"),
    "offline": ({"HF_HUB_OFFLINE": "1"}, 6, "HF_HUB_OFFLINE is set"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_push_that_fails_is_one_sentence(
    why: str, finished: Path, hub: Hub, command: Command
) -> None:
    env, code, told = REFUSALS[why]
    done = command("push", finished, NAME, "--yes", **env)
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (code, "")
    assert last.startswith(f"error: can't push to {NAME}: ")
    assert told in last
    assert "Traceback" not in done.stderr
    assert "hf_" not in done.stderr.replace("hf_of", "hf_"), "the token is not printed"
    assert hub.repositories == {}


def test_what_the_hub_says_is_told_without_the_token(
    finished: Path, hub: Hub, command: Command
) -> None:
    hub.refusal = (507, f"no room for {TOKEN}")
    done = command("push", finished, NAME, "--yes")
    assert done.returncode == 6
    assert "the hub answers 507, " in done.stderr
    assert "no room for ***" in done.stderr
    assert TOKEN not in done.stderr


DOWNLOADS = {
    "none of that name": ("hub:anna/other", {}, 2, "the hub has none of that name; check it"),
    "no token": ("hub:anna/other", {"HF_TOKEN": ""}, 6, "it is private, or the token is wrong"),
    "no revision": (f"hub:{NAME}@v9", {}, 2, "no such branch, tag or commit"),
    "no network": (f"hub:{NAME}", {"HF_ENDPOINT": "http://127.0.0.1:9"}, 6, "can't be reached"),
    "offline": (f"hub:{NAME}", {"HF_HUB_OFFLINE": "1"}, 6, "can't download hub:anna/small"),
    "no address": ("hub:small", {}, 2, "'small' is no repository of a hub; give hub:OWNER/NAME"),
    "a path": ("hub:../../etc", {}, 2, "is no repository of a hub; give hub:OWNER/NAME"),
}


@pytest.mark.parametrize("why", DOWNLOADS)
def test_a_download_that_fails_is_one_sentence(
    why: str, finished: Path, hub: Hub, command: Command
) -> None:
    push(command, hub, finished)
    address, env, code, told = DOWNLOADS[why]
    done = command("encode", address, "a.png", "--out", "a.npy", cache="other", **env)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_what_is_in_the_cache_needs_no_network(
    finished: Path, hub: Hub, command: Command, tmp_path: Path
) -> None:
    images = make_files(tmp_path / "images")
    push(command, hub, finished)
    for number, env in enumerate(({}, {"HF_HUB_OFFLINE": "1"})):
        done = command("encode", f"hub:{NAME}", images, "--out", f"{number}.npy", **env)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "0.npy").read_bytes() == (tmp_path / "1.npy").read_bytes()


def test_a_private_model_is_never_pushed_to_a_public_repository(
    finished: Path, hub: Hub, command: Command
) -> None:
    push(command, hub, finished)
    before = hub.repositories[NAME].newest
    done = command("push", finished, NAME, "--yes", "--private")
    assert done.returncode == 2
    assert f"{NAME} exists, and is public" in done.stderr
    assert hub.repositories[NAME].newest == before
    new = command("push", finished, "anna/new", "--yes", "--private", "--message", "The first.")
    assert new.returncode == 0, new.stderr
    assert hub.repositories["anna/new"].private
    assert hub.repositories["anna/new"].messages[-1] == "The first."


def test_pictures_of_images_go_only_when_they_are_asked_for_and_leave_with_the_next_push(
    finished: Path, hub: Hub, command: Command
) -> None:
    push(command, hub, finished, "--pictures")
    files = newest(hub)
    assert files["answers.png"] == (finished / "plots" / "answers.png").read_bytes()
    assert b"(answers.png)" in files["README.md"]
    assert "answers.png" in json.loads(files["manifest.json"])["sha256"]
    push(command, hub, finished)
    assert "answers.png" not in newest(hub)
    assert b"answers.png" not in newest(hub)["README.md"]
    assert not (finished / "model" / "answers.png").exists()


WRONG = {
    "a licence": (("--licence", 'MIT"\nx: y'), "is no licence of a hub"),
    "pictures": (("--pictures",), "there are no pictures to push"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_option_is_refused_before_the_hub_is_asked(
    what: str, finished: Path, hub: Hub, command: Command
) -> None:
    words, told = WRONG[what]
    done = command("push", finished / "model", NAME, "--yes", *words)
    assert done.returncode in (2, 5)
    assert told in done.stderr
    assert hub.requests == []


def test_a_gallery_is_not_pushed(finished: Path, tmp_path: Path) -> None:
    """It holds the names of images, and their embeddings."""
    pytest.importorskip("huggingface_hub")
    files = read_folder(finished / "model") | {"gallery.json": b"{}"}
    write_folder(tmp_path / "gallery", files)
    with pytest.raises(UsageError, match=r"gallery has gallery\.json, which is no file of a model"):
        mf.push(tmp_path / "gallery", NAME)


def test_a_missing_package_is_named_with_its_line_of_pip(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    told = r'requires the package huggingface_hub: pip install "metricforge\[hub\]"'
    with pytest.raises(UsageError, match=told):
        mf.push(finished, NAME)
    with pytest.raises(UsageError, match=told):
        mf.load(f"hub:{NAME}")


# What a file names is not fetched.


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download fails the test."""
    package = pytest.importorskip("huggingface_hub")

    def asked(*_: object, **__: object) -> NoReturn:
        pytest.fail("the hub is asked")

    monkeypatch.setattr(package, "snapshot_download", asked)


@pytest.mark.fault(147)
@pytest.mark.parametrize("part", ["backbone", "head"])
def test_a_model_that_names_a_hub_downloads_nothing(
    part: str, finished: Path, tmp_path: Path, no_download: None
) -> None:
    files = read_folder(finished / "model")
    card = json.loads(files["model.json"])
    card[part] = f"{card[part]}:weights=hub:{NAME}".replace("4:weights", "4,weights")
    write_folder(tmp_path / "model", files | {"model.json": json.dumps(card).encode()})
    with pytest.raises((ArtefactError, UsageError)):
        load(tmp_path / "model", device="cpu")


@pytest.mark.fault(147)
@pytest.mark.parametrize("shadow", [False, True])
def test_a_run_that_names_a_hub_downloads_nothing(
    shadow: bool,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_download: None,
) -> None:
    """Nor does it where a folder of that name is there."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    config = (run / "config.toml").read_text()
    named = config.replace("conv4:channels=4", f"conv4:channels=4,weights=hub:{NAME}")
    assert named != config
    (run / "config.toml").write_text(named)
    if shadow:
        shutil.copytree(finished / "model", tmp_path / f"hub:{NAME}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"weights=hub:anna/small: a spec downloads nothing"):
        mf.evaluate(run, untrained=True, protocols=["retrieval"], device="cpu")
    with pytest.raises(UsageError, match="a spec downloads nothing"):
        mf.train(dataset=f"npz:path={finished.parent / 'small.npz'}", progress=False,
                 backbone=f"conv4:channels=4,weights=hub:{NAME}")  # fmt: skip


@pytest.mark.fault(147)
def test_an_address_is_not_downloaded_while_a_model_is_read(no_download: None) -> None:
    told = "loading fetches nothing, and would have to fetch the model hub:anna/small"
    with nothing_fetched("loading"), pytest.raises(ArtefactError, match=told):
        load(f"hub:{NAME}")


def test_addresses() -> None:
    assert Address.parse("hub:a/b") == Address("a/b")
    assert Address.parse("hub:a/b.c@refs/pr/1") == Address("a/b.c", "refs/pr/1")
    assert str(Address("a/b", "v1")) == "hub:a/b@v1"
    assert is_address(Path("hub:a/b"))
    assert not any(map(is_address, ["runs/hub:a", Path("hub"), None, np.zeros(3)]))
    for wrong in ("hub:", "hub:a", "hub:a/b/c", "hub:a/..", "hub:a/b@", "hub:a/b@../x", "hub:-a/b",
                  "hub:a/b c", "hub:a/b\n", "hub:a/b@v1\n", "hub:é/b", "hub:a/b@-x"):  # fmt: skip
        with pytest.raises(UsageError, match="OWNER/NAME"):
            Address.parse(wrong)


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_at_a_terminal_it_asks(
    answer: str, finished: Path, hub: Hub, endpoint: str, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN}
    words = [sys.executable, "-m", "metricforge", "push", str(finished), NAME]
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        words, stdin=theirs, capture_output=True, text=True, check=False,
        env={**env, "HF_HUB_DISABLE_XET": "1"},
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert "Upload? [y/N]" in done.stderr
    assert done.returncode == (0 if answer == "y" else 130), done.stderr
    assert ("Nothing is uploaded." in done.stderr) == (answer != "y")
    assert (NAME in hub.repositories) == (answer == "y")
    if answer == "y":
        commit = hub.repositories[NAME].newest[:8]
        assert done.stdout.startswith(f"pushed  {endpoint}/{NAME}, commit {commit}\n")
