"""What `metricforge doctor` tells."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from metricforge.cli import cli
from metricforge.training.checkpoint import Checkpoints
from tests.cli.process import metricforge, wrapped


def test_it_tells_versions_devices_plugins_and_that_a_training_works() -> None:
    done = metricforge("doctor", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["versions"]["torch"] == version("torch")
    assert "cpu" in told["machine"]["devices"]
    assert told["machine"]["memory_gib"] > 0.5
    assert any(name.startswith("metricforge ") for name in told["plugins"]["distributions"])
    assert told["plugins"]["broken"] == {}
    assert [check["name"] for check in told["self_test"]] == [
        "train and stop", "go on and test", "load what was saved", "embed",
    ]  # fmt: skip
    assert {check["wrong"] for check in told["self_test"]} == {""}


@pytest.mark.parametrize(
    ("device", "code", "told"),
    [("bogus", 2, "no device is called 'bogus'"), ("cuda:77", 6, "'cuda:77' can't be used")],
)
def test_a_device_that_is_not_there_has_the_exit_code_of_train(
    device: str, code: int, told: str
) -> None:
    done = metricforge("doctor", "--json", "--device", device)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [("restore_newest", "train and stop: ok; go on and test: OSError: lost"),
     ("save", "train and stop: OSError: lost; go on and test: needs train and stop")],
)  # fmt: skip
def test_what_does_not_work_is_exit_code_1_and_said(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object, **options: object) -> None:
        raise OSError("lost")

    monkeypatch.setattr(Checkpoints, name, fails)
    done = CliRunner().invoke(cli, ["doctor", "--device", "cpu", "--json"])
    assert done.exit_code == 1, done.output
    checks = {
        check["name"]: check["wrong"] or "ok" for check in json.loads(done.stdout)["self_test"]
    }
    assert "; ".join(f"{name}: {wrong}" for name, wrong in checks.items()).startswith(told)


def test_of_several_ranks_the_first_tells() -> None:
    done = wrapped("none", "doctor", "--json", "--device", "cpu", ranks=2)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"]
