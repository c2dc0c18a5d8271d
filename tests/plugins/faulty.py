"""Distributions that go wrong in the ways that plugins do, and good ones beside them."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Source:
    """A distribution to build: one module, and what it registers by group."""

    name: str
    module: str
    points: dict[str, dict[str, str]]
    version: str = "1.2"

    def written(self) -> dict[str, str]:
        """Its files by name."""
        package = self.name.replace("-", "_")
        tables = [
            f'[project.entry-points."metricforge.{group}"]\n'
            + "".join(f'{name} = "{package}:{value}"\n' for name, value in names.items())
            for group, names in self.points.items()
        ]
        project = (
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
            f'[project]\nname = "{self.name}"\nversion = "{self.version}"\n'
        )
        return {
            "pyproject.toml": project + "".join(tables),
            f"{package}.py": dedent(self.module),
        }


SAMPLER = '''
import numpy as np
import torch
from metricforge.contracts import Triplets, AllTriplets

class Everything:
    kind = Triplets
    def __call__(self, embeddings, labels):
        return AllTriplets()

class Sampler:
    """Batches in random order."""
    default_loss = "triplet"
    def __init__(self, labels, *, size: int = 48) -> None:
        self.labels, self.size, self.miner = labels, size, Everything()
    def epoch(self, rng):
        order = torch.from_numpy(rng.permutation(len(self.labels)))
        yield from order.split(self.size)
'''


def sampler(name: str, before: str = "", **points: str) -> Source:
    """A sampler that works, after `before` is done at its import."""
    return Source(name, before + SAMPLER, {"samplers": points or {name: "Sampler"}})


MISPLACED = Source("misplaced", SAMPLER, {"sampler": {"lost": "Sampler"}})
GOOD = sampler("good-plugin", **{"good": "Sampler"})
CLASHING = (
    sampler("clash-one", **{"twice": "Sampler"}),
    sampler("clash-two", **{"twice": "Sampler"}),
    sampler("clash-standard", **{"random-pairs": "Sampler", "hard-triplet": "Sampler"}),
)
CLASHING_LOSS = Source(
    "clash-loss",
    "def other():\n    'Another triplet loss.'\n    raise RuntimeError('not meant')\n",
    {"losses": {"triplet": "other"}},
)
AT_IMPORT = (
    sampler("at-import-raises", "raise RuntimeError('no licence found')\n"),
    sampler("at-import-exits", "import sys\nsys.exit('goodbye')\n"),
    sampler("at-import-dies", "import os\nos._exit(9)\n"),
    sampler("at-import-hangs", "import time\ntime.sleep(600)\n"),
    sampler("needs-what-is-not-there", "import a_module_that_nobody_has\n"),
    Source("defines-nothing", "", {"samplers": {"defines-nothing": "Sampler"}}),
    Source("no-python", "def broken(:\n", {"samplers": {"no-python": "Sampler"}}),
)
OTHER_VERSION = (
    sampler("of-the-future", "METRICFORGE_API = 2\nfrom metricforge.contracts import Later\n"),
    sampler("of-this-version", "METRICFORGE_API = 1\n"),
)
GLOBAL_STATE = Source(
    "global-state",
    SAMPLER.replace("torch.from_numpy(rng.permutation", "(torch.randperm"),
    {"samplers": {"global-state": "Sampler"}},
)
COMMANDS = Source(
    "some-commands",
    '''
    import click

    @click.command()
    @click.argument("word")
    def echo(word: str) -> None:
        """Say a word."""
        click.echo(f"said {word}")

    @click.command()
    def stumble() -> None:
        """Fall over."""
        raise KeyError("shoe laces")

    def train() -> None:
        """Not the core's."""

    no_command = 3
    ''',
    {"commands": {"echo": "echo", "stumble": "stumble", "train": "train", "odd": "no_command"}},
)

WRONG = Source(
    "wrong-values",
    '''
    import torch
    from metricforge.contracts import Dataset, Pairs, Triplets
    from torch import nn

    class Lists:
        """A list, no tensor."""
        def __init__(self, labels): self.labels, self.miner = labels, Outside()
        def epoch(self, rng): yield list(range(len(self.labels)))

    class Beyond(Lists):
        """An index too many."""
        def epoch(self, rng): yield torch.arange(len(self.labels) + 1)

    class Mislabelled:
        """Any three images."""
        kind = Triplets
        def __call__(self, embeddings, labels):
            place = torch.arange(len(labels))
            return Triplets(place, place.roll(1), place.roll(2))

    class Liar(Lists):
        """Has triplets that are none."""
        def __init__(self, labels):
            super().__init__(labels)
            self.miner = Mislabelled()
        def epoch(self, rng): yield torch.arange(len(self.labels))

    class Stumbles(Lists):
        """Falls over."""
        def epoch(self, rng): return {}["x"]

    class Endless(Lists):
        """Never stops."""
        def epoch(self, rng):
            while True:
                yield torch.arange(len(self.labels))

    class NoMiner(Lists):
        """Brings no miner."""
        default_loss = "triplet"
        def __init__(self, labels): self.labels = labels

    class Outside:
        """Places that the batch does not have."""
        kind = Triplets
        def __call__(self, embeddings, labels):
            place = torch.tensor([len(labels)])
            return Triplets(place, place, place)

    class Elsewhere(Outside):
        """On a device of its own."""
        def __call__(self, embeddings, labels):
            place = torch.zeros(1, dtype=torch.int64, device="meta")
            return Triplets(place, place, place)

    class OtherKind(Outside):
        """Says triplets, gives pairs."""
        def __call__(self, embeddings, labels):
            place = torch.tensor([0])
            return Pairs(place, place + 1, place.bool())

    def vector(embeddings, labels, tuples):
        return embeddings.sum(1)

    def no_graph(embeddings, labels, tuples):
        return torch.tensor(1.0)

    def vector_loss():
        """A value an image."""
        return vector

    def no_graph_loss():
        """A number without a graph."""
        return no_graph

    def narrow_head(in_features, dim):
        """Half as wide as asked."""
        return nn.Linear(in_features, dim // 2)

    class LyingBackbone(nn.Module):
        """Says 7 features, gives 1."""
        out_features = 7
        def __init__(self, in_channels):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
        def forward(self, images): return images.mean((2, 3)) * self.weight

    def beyond_dataset():
        """Labels without a class."""
        return Dataset("beyond", torch.zeros(9, 1, 8, 8, dtype=torch.uint8),
                       torch.arange(9), ("a", "b", "c"), (1, 8, 8))

    def hollow_dataset():
        """A class made of classes that are not there."""
        return Dataset("hollow", torch.zeros(9, 1, 8, 8, dtype=torch.uint8),
                       torch.arange(9) % 3, ("a", "b", "c"), (1, 8, 8), made_of={2: (0, 3)})

    class DictProtocol:
        """A dict, no Result."""
        def evaluate(self, embeddings, images): return {"accuracy": 1.0}
    ''',
    {
        "samplers": {"lists": "Lists", "beyond": "Beyond", "endless": "Endless",
                     "liar": "Liar", "stumbles": "Stumbles",
                     "no-miner": "NoMiner"},
        "miners": {"outside": "Outside", "elsewhere": "Elsewhere", "other-kind": "OtherKind"},
        "losses": {"vector": "vector_loss", "no-graph": "no_graph_loss"},
        "heads": {"narrow": "narrow_head"},
        "backbones": {"lying": "LyingBackbone"},
        "datasets": {"beyond": "beyond_dataset", "hollow": "hollow_dataset"},
        "protocols": {"dict": "DictProtocol"},
    },
)  # fmt: skip

ALL = (
    GOOD,
    MISPLACED,
    *CLASHING,
    CLASHING_LOSS,
    *AT_IMPORT,
    *OTHER_VERSION,
    GLOBAL_STATE,
    COMMANDS,
    WRONG,
)
