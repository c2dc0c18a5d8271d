"""The hardware and versions of this machine, and a self test: a small training."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from metricforge.contracts import Dataset
from metricforge.errors import Interrupted, MetricForgeError
from metricforge.loading import load
from metricforge.registry import Registry
from metricforge.regular_file import read_text
from metricforge.runs.environment import RECORDED_VERSIONS, version_of
from metricforge.runs.folder import RunFolder
from metricforge.runs.run import Run
from metricforge.runs.train import train
from metricforge.runtime import keep_large_blocks

OPTIONAL = ("triton", "tensorboard", "metricforge-optuna", "timm", "pillow-heif")


@dataclass(frozen=True)
class Check:
    """A step of the self test: its name, its error ("" for none), its seconds."""

    name: str
    wrong: str
    seconds: float


def machine() -> dict[str, Any]:
    """Python, system, processor, memory, devices and precisions of this machine."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(_memory() / 2**30, 1),
        "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "allocator_keeps_blocks": keep_large_blocks(),
        "devices": devices(),
    }


def devices() -> dict[str, str]:
    """A description of each device, by the name that --device takes."""
    available = {"cpu": torch.backends.cpu.get_cpu_capability()}
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        available[f"cuda:{number}"] = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        available["mps"] = "Apple GPU"
    return available


def versions() -> dict[str, str]:
    """The version of each library that matters; of optional ones if they are installed."""
    optional = {name: version_of(name) for name in OPTIONAL}
    return {name: version_of(name) for name in RECORDED_VERSIONS} | {
        name: version for name, version in optional.items() if version != "not installed"
    }


def plugins(registry: Registry) -> dict[str, Any]:
    """How many components each distribution has, and those that can't be used, with the reason."""
    counts: dict[str, int] = {}
    broken: dict[str, str] = {}
    for entry in registry.entries():
        counts[entry.origin] = counts.get(entry.origin, 0) + 1
        status = registry.status(entry)
        if status.reason:
            broken[f"{entry.kind} {entry.shown} of {entry.origin}"] = status.reason
    return {"distributions": counts, "broken": broken}


def self_test(device: str = "auto") -> list[Check]:
    """Train, stop, resume, test and embed, on noise, in a temporary folder."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        made: dict[str, Any] = {}

        def trained(**options: Any) -> Run:
            return train(
                dataset=_noise(), split="classes:train=a-f,validation=g-h,test=i-j", epochs=1,
                sampler="hard-triplet:classes=3,per_class=4", orientations=1, dim=8,
                backbone="conv4:channels=8", device=device, out=path, protocols=("retrieval",),
                save_steps=1, progress=False, **options,
            )  # fmt: skip

        def stopping() -> None:
            with suppress(Interrupted):
                trained(hooks=_Stop())
            assert RunFolder(path).checkpoints.all(), "there is no checkpoint"

        def going_on() -> None:
            made["run"] = trained(auto_resume=True)
            log = read_text(path / "log.txt")
            assert "resumed at step 1\n" in log, "it began anew"

        def repeating() -> None:
            weights = made["run"].model.state_dict()
            again = load(path, device=device).state_dict()
            differing = [name for name, value in weights.items() if not value.equal(again[name])]
            assert not differing, f"{differing[0]} differs"

        def embedding() -> None:
            rows = made["run"].model.encode(_noise().images[:4])
            assert rows.shape == (4, 8), f"embeddings are {rows.shape}"

        steps: Mapping[str, Callable[[], None]] = {
            "train and stop": stopping,
            "go on and test": going_on,
            "load what was saved": repeating,
            "embed": embedding,
        }
        checks: list[Check] = []
        for name, step in steps.items():
            failed = next((check.name for check in checks if check.wrong), "")
            checks.append(_tried(name, step) if not failed else Check(name, f"needs {failed}", 0.0))
        return checks


class _Stop:
    """A hook that stops a training after its second step, once the first one is saved."""

    def on_step(self, record: Mapping[str, Any], embeddings: torch.Tensor) -> None:
        if record["step"] == 2:
            raise Interrupted("stopped.")


def _tried(name: str, step: Callable[[], None]) -> Check:
    began = time.perf_counter()
    wrong = ""
    try:
        step()
    except MetricForgeError as error:
        wrong = str(error)
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    return Check(name, wrong, round(time.perf_counter() - began, 2))


def _noise() -> Dataset:
    """Ten classes of eight images of noise."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 10
    noise = torch.randint(0, 100, (80, 1, 16, 16), generator=rng)
    images = (noise + 15 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Dataset("noise", images, labels, tuple("abcdefghij"), (1, 16, 16))


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
