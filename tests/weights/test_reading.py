"""Weights of strangers: read as tensors, or refused in a sentence; nothing in them is run."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from metricforge.errors import ArtefactError, UsageError
from metricforge.weights.reading import read_weights

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def same(one: object, other: dict[str, Tensor]) -> bool:
    assert isinstance(one, dict)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in other)


def test_both_formats_give_the_same_tensors_and_the_hash_of_the_file(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    torch.save(TENSORS, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        weights = read_weights(str(tmp_path / name))
        assert same(weights.tensors, TENSORS)
        assert weights.card is None
        assert weights.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_a_checkpoint_with_other_things_in_it_gives_its_tensors_by_dotted_names(
    tmp_path: Path,
) -> None:
    checkpoint = {"epoch": 3, "state_dict": TENSORS, "args": {"lr": 0.1}, "best": None}
    torch.save(checkpoint, tmp_path / "c.pth")
    expected = {f"state_dict.{name}": tensor for name, tensor in TENSORS.items()}
    assert same(read_weights(str(tmp_path / "c.pth")).tensors, expected)


class Touching:
    """What a pickle could run when it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, ("touch ran",)


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("code.pth", Touching()), ("net.pth", nn.Linear(2, 2))):
        torch.save({"state_dict": TENSORS, "more": value}, name)
        with pytest.raises(ArtefactError, match="would run its code; save the network's state_dic"):
            read_weights(name)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("w.pth", b"hello"), ("w.pth", b""), ("w.safetensors", b"hello"), ("w.bin", b"PK\3\4")],
)
def test_what_is_no_file_of_weights_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=r"no safetensors|is neither a safetensors file nor"):
        read_weights(str(tmp_path / name))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    for length in (len(content) - 1, len(content) // 2, 40):
        (tmp_path / "w.pth").write_bytes(content[:length])
        with pytest.raises(ArtefactError):
            read_weights(str(tmp_path / "w.pth"))


def test_a_file_without_named_tensors_is_refused(tmp_path: Path) -> None:
    for value in ([torch.ones(2)], torch.ones(2), {"epoch": 3}):
        torch.save(value, tmp_path / "w.pth")
        with pytest.raises(ArtefactError, match="no tensors by name"):
            read_weights(str(tmp_path / "w.pth"))


def test_a_name_of_nothing_is_a_fault_of_usage_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or run of that name"):
        read_weights(str(tmp_path / "none.pth"))
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(ArtefactError, match="no regular file"):
        read_weights(str(tmp_path / "pipe.pth"))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"manifest\.json"):
        read_weights(str(tmp_path))
