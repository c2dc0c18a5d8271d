"""Some steps in float64 by this process or by all that torchrun started: their gradients, on disk.

python -m tests.training.ranked FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from metricforge.runtime import Ranks, Runtime
from metricforge.runtime.normalization import share_statistics
from metricforge.training.loop import TrainState, fit
from metricforge.training.setup import TrainingSetup
from tests.conftest import TinyNet, small_task

CASES: dict[str, dict[str, object]] = {
    "pairs": {"sampler": "hard-pairs:classes=3,per_class=3", "loss": "contrastive"},
    "triplets": {},
    # A batch of all images, and then none left over: 7 does not divide by two.
    "laid out": {"sampler": "random-triplets:triplets=7"},
    "proxies": {"sampler": "balanced:classes=3,per_class=3", "loss": "pml.ProxyAnchorLoss"},
    "all pairs": {"sampler": "all-pairs:classes=3,per_class=3", "loss": "contrastive"},
    "all triplets": {"sampler": "all-triplets:classes=3,per_class=3"},
    "in-batch": {"sampler": "balanced:classes=3,per_class=3", "loss": "supcon"},
    "drawn": {"sampler": "distance-weighted:classes=3,per_class=3"},
    "drawn pairs": {
        "sampler": "all-pairs:classes=3,per_class=3,balanced=true",
        "loss": "contrastive:reduction=sum",
    },
}


class Plain(TinyNet):
    """Without batch norm, which would see the chunk, and without dropout, which draws by it."""

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.convolution(images).relu().mean((2, 3))
        return features


class Normed(TinyNet):
    """Without dropout only."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.0)


def steps(
    case: str, chunk: int | None, network: type[TinyNet], optimizer: str = "sgd:lr=0.1"
) -> Iterator[dict[str, Tensor]]:
    """After each step: its loss, its gradients and the weights, by name."""
    setup = task_of(case, network, optimizer)
    runtime = Runtime(torch.device("cpu"), chunk=chunk, ranks=Ranks.current())
    if runtime.ranks.count > 1:
        share_statistics(setup.model.backbone)
    modules = [setup.model, *([setup.loss] if isinstance(setup.loss, nn.Module) else [])]
    for record in fit(setup, TrainState(), runtime):
        found = {"loss": torch.tensor(record.loss, dtype=torch.float64)}
        for number, module in enumerate(modules):
            for name, parameter in module.named_parameters():
                if parameter.grad is not None:
                    found[f"{number}.{name}.grad"] = parameter.grad
            for name, value in module.state_dict().items():
                found[f"{number}.{name}"] = value
        yield {name: value.detach().clone() for name, value in found.items()}


def task_of(case: str, network: type[TinyNet], optimizer: str = "sgd:lr=0.1") -> TrainingSetup:
    """The small training of a case, in float64."""
    return small_task(
        **CASES[case], epochs=2, optimizer=optimizer, network=network, dtype=torch.float64
    )


WAYS: dict[str, tuple[int | None, type[TinyNet]]] = {
    "normed": (None, Normed),
    "chunked": (2, Plain),
}
"""How each case is gone through: with batch norm, and in chunks of two images without it."""


def main() -> None:
    """All cases, each in both ways."""
    torch.set_num_threads(1)
    with Ranks.joined() as ranks:
        for case in CASES:
            for way, (chunk, network) in WAYS.items():
                folder = Path(sys.argv[1]) / case / way / str(ranks.rank)
                folder.mkdir(parents=True)
                for number, found in enumerate(steps(case, chunk, network)):
                    save_file(found, folder / f"{number:03d}.safetensors")


if __name__ == "__main__":
    main()
