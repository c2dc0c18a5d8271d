"""A run to push, and a hub to push it to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.process import metricforge
from tests.cli.small_run import make_images, words
from tests.hub.server import TOKEN, Hub, serving

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("hub")
    images = make_images(folder)
    done = metricforge("train", *words(images), "--out", folder / "small-run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "small-run"


@pytest.fixture
def served() -> Iterator[tuple[Hub, str]]:
    if find_spec("huggingface_hub") is None:
        pytest.skip("huggingface_hub is not installed")
    with serving() as both:
        yield both


@pytest.fixture
def hub(served: tuple[Hub, str]) -> Hub:
    return served[0]


@pytest.fixture
def endpoint(served: tuple[Hub, str]) -> str:
    return served[1]


@pytest.fixture
def command(endpoint: str, tmp_path: Path) -> Command:
    """Runs a command in a process that knows this hub, a token and a cache of its own."""

    def run(*words: object, cache: str = "cache", **env: str) -> subprocess.CompletedProcess[str]:
        own = {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / cache),
            "HF_TOKEN": TOKEN,
            # The transfer of large files that needs a second service, which is not here.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return metricforge(*words, env=own | env, cwd=tmp_path)

    return run
