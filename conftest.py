"""What holds for every test, of the core and of each plugin."""

from __future__ import annotations

import importlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

OFFLINE = Path(__file__).parent / "tests" / "offline"

# Nothing here is large enough for two threads, which wait for each other on busy cores.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
os.environ["METRICFORGE_CACHE"] = "none"  # nothing is written to the user's own

# The same examples each time, however long each takes.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def offline() -> Iterator[None]:
    """Sockets reach this machine alone, here and in each process that a test starts."""
    importlib.import_module("tests.offline.sitecustomize")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(OFFLINE), prepend=os.pathsep)
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The global generators begin at the same point, whatever ran before."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
