"""A plugin that can't be begun as asked: one sentence that says what to do, and no half folder."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metricforge.errors import ResourceError, UsageError
from metricforge.registry import Registry
from metricforge.scaffold import write_plugin
from metricforge.scaffold.contents import GUIDANCE


def refused(kind: str, name: str, folder: Path, registry: Registry | None = None) -> str:
    """The sentence with which it is refused, after which nothing was written."""
    there = sorted(folder.parent.iterdir())
    with pytest.raises(UsageError) as caught:
        write_plugin(kind, name, folder, registry)
    assert sorted(folder.parent.iterdir()) == there
    return str(caught.value)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path):
    folder = tmp_path / "my-idea"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    assert "exists, and nothing in it was changed" in refused("loss", "my-idea", folder)
    assert [path.name for path in folder.iterdir()] == ["precious"]


def test_a_link_that_leads_nowhere_is_left_alone_too(tmp_path: Path):
    (tmp_path / "my-idea").symlink_to(tmp_path / "nowhere")
    assert "exists" in refused("loss", "my-idea", tmp_path / "my-idea")


def test_an_unknown_kind_names_the_nearest(tmp_path: Path):
    sentence = refused("sampelr", "my-idea", tmp_path / "my-idea")
    assert "did you mean 'sampler'?" in sentence
    assert all(kind in sentence for kind in GUIDANCE)


@pytest.mark.parametrize(
    "name",
    ["", "x", "My-Idea", "my_idea", "my idea", "my--idea", "-idea", "idea-", "2d", "../idea", "ä-b",
     "my-idea\n", "a" * 31],
)  # fmt: skip
def test_a_name_of_another_form_says_which(name: str, tmp_path: Path):
    sentence = refused("sampler", name, tmp_path / "folder")
    assert "small letters and digits" in sentence
    assert "2 to 30 characters, e.g. my-idea" in sentence


@pytest.mark.parametrize("name", ["json", "torch", "metricforge", "pytest"])
def test_a_module_that_would_hide_another_is_refused(name: str, tmp_path: Path):
    assert f"module {name}.py would hide" in refused("sampler", name, tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("sampler", "tensor"), ("sampler", "every-triplet"), ("backbone", "residual"),
     ("loss", "triplets"), ("loss", "none"), ("miner", "lambda"), ("dataset", "drawn"),
     ("command", "found")],
)  # fmt: skip
def test_a_name_that_the_code_uses_already_is_refused(kind: str, name: str, tmp_path: Path):
    assert f"e.g. my-{name}" in refused(kind, name, tmp_path / name)


@pytest.mark.parametrize("name", ["test-images", "testset"])
def test_what_pytest_would_take_for_a_test_is_refused(name: str, tmp_path: Path):
    assert "pytest takes" in refused("dataset", name, tmp_path / name)


def test_a_registered_name_says_whose_it_is(tmp_path: Path):
    sentence = refused("sampler", "hard-triplet", tmp_path / "hard-triplet")
    assert "from metricforge" in sentence
    assert "choose another name" in sentence


def test_a_name_of_another_kind_is_free(tmp_path: Path):
    registry = Registry([EntryPoint("my-idea", "its:Idea", "metricforge.samplers")])
    assert "there already" in refused("sampler", "my-idea", tmp_path / "my-idea", registry)
    assert write_plugin("miner", "my-idea", tmp_path / "my-idea", registry).is_dir()


def test_a_registered_command_is_refused(tmp_path: Path):
    registry = Registry([EntryPoint("my-idea", "its:command", "metricforge.commands")])
    assert "there already" in refused("command", "my-idea", tmp_path / "my-idea", registry)


def test_the_folder_is_named_after_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert write_plugin("head", "my-idea") == Path("my-idea")
    assert (tmp_path / "my-idea" / "my_idea.py").is_file()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self: Path, text: str, **how: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        write_plugin("head", "my-idea", tmp_path / "my-idea")
    assert list(tmp_path.iterdir()) == []
