"""What `metricforge doctor` tells."""

from __future__ import annotations

import json
from importlib.metadata import version

from tests.cli.process import metricforge


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
        "train and test", "load what was saved", "embed",
    ]  # fmt: skip
    assert {check["wrong"] for check in told["self_test"]} == {""}


def test_what_does_not_work_is_exit_code_1_and_said() -> None:
    done = metricforge("doctor", "--device", "cuda:77")
    assert done.returncode == 1
    assert "device 'cuda:77' can't be used" in done.stdout
    assert "versions" in done.stdout
