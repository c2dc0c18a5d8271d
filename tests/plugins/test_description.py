"""What `plugins show` tells of a component is true, and the command that it gives works."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from itertools import count
from pathlib import Path

import pytest
from metricforge_standard._pml import LOSSES, MINERS
from metricforge_standard.losses.triplet import Triplet
from metricforge_standard.samplers.hard_triplet import HardTriplet

from metricforge.cli.train import _typed_options
from metricforge.cli.train import command as train
from metricforge.contracts import COMMANDS, KINDS
from metricforge.errors import PluginError, UsageError
from metricforge.plugin_tools.description import Description, describe
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from metricforge.spec import Spec
from tests.test_registry import Installed

NUMBER = count()
Write = Callable[..., Registry]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A registry of the entry `x` (or another name) that names X of a module with this source."""
    monkeypatch.syspath_prepend(tmp_path)

    def of(source: str, kind: str = "sampler", name: str = "x", dists: str = "plug") -> Registry:
        module = f"described_by_a_test_{next(NUMBER)}"
        (tmp_path / f"{module}.py").write_text(source)
        group = COMMANDS if kind == "command" else KINDS[kind].group
        point = EntryPoint(name, f"{module}:X", group)
        return Registry(
            EntryPoint(*point._key())._for(Installed(dist))
            if (point := EntryPoint(name, f"{module}:X", group))
            else point
            for dist in dists.split()
        )

    return of


SOURCE = '''
import functools
from metricforge.contracts import Pairs

def wrapping(function):
    @functools.wraps(function)
    def inner(*given, **options):
        return function(*given, **options)
    return inner

class Made:
    """Does it.

    At length.
    """
    def __init__(self, labels, groups, *, size: int = 3, name: str, rate: float | None = None):
        ...

def made(labels, *, on: bool = True):
    """Is a function."""

@wrapping
def wrapped(labels, *, on: bool = True):
    """Is wrapped."""

class Callable:
    """Makes one when it is called."""
    def __call__(self, labels, *, on: bool = False): ...
'''


def line_of(source: str, text: str) -> int:
    return next(n for n, line in enumerate(source.splitlines(), 1) if line.startswith(text))


def test_a_class_is_described_in_full(own: Write) -> None:
    found = describe(own(f"{SOURCE}\nX = Made"), "sampler", Spec("x"))
    assert (found.name, found.doc) == ("x", "Does it.\n\nAt length.")
    assert found.asks == ("labels", "groups")
    told = {o.name: (o.type_name, o.required) for o in found.options.values()}
    assert told == {
        "size": ("int", False),
        "name": ("str", True),
        "rate": ("float or none", False),
    }
    assert found.options["size"].default == 3
    assert found.options["rate"].default is None
    assert Path(found.file or "").name == Path(sys.modules[found.entry.point.module].__file__).name
    assert found.line == line_of(SOURCE, "class Made")
    assert found.example == "metricforge train --sampler x:name=NAME"
    assert found.members == ()


@pytest.mark.parametrize(
    ("value", "doc", "line"),
    [
        ("made", "Is a function.", "def made"),
        ("functools.partial(made, on=False)", None, "def made"),
        ("functools.partial(functools.partial(Made, size=5), name='n')", None, "class Made"),
        ("wrapped", "Is wrapped.", "@wrapping"),
    ],
)
def test_functions_partials_and_wrapped_ones_lead_to_their_source(
    own: Write, value: str, doc: str | None, line: str
) -> None:
    found = describe(own(f"{SOURCE}\nX = {value}"), "sampler", Spec("x"))
    assert found.line == line_of(SOURCE, line)
    assert doc is None or found.doc == doc
    assert "labels" in found.asks


def test_a_partial_shows_the_default_that_it_sets(own: Write) -> None:
    found = describe(own(f"{SOURCE}\nX = functools.partial(made, on=False)"), "sampler", Spec("x"))
    assert found.options["on"].default is False


def test_where_there_is_no_source_there_is_no_line(own: Write) -> None:
    found = describe(own(f"{SOURCE}\nX = Callable()"), "sampler", Spec("x"))
    assert (found.file, found.line) == (None, None)
    assert found.doc == "Makes one when it is called."
    assert set(found.options) == {"on"}


def test_standard_components_lie_where_it_says() -> None:
    registry = Registry.installed()
    for kind, name, component in (
        ("sampler", "hard-triplet", HardTriplet),
        ("loss", "triplet", Triplet),
        ("loss", "pml.TripletMarginLoss", inspect.unwrap(LOSSES["TripletMarginLoss"])),
        ("miner", "pml.HDCMiner", inspect.unwrap(MINERS["HDCMiner"])),
    ):
        found = describe(registry, kind, Spec(name))
        assert found.file == inspect.getsourcefile(component)
        assert found.line is not None
        text = Path(found.file or "").read_text().splitlines()[found.line - 1]
        assert text.startswith(f"class {component.__name__}")


@pytest.mark.parametrize("name", ["pml.", "pml.NAME", "metricforge:pml.", "metricforge:pml.NAME"])
def test_a_family_lists_its_members(name: str) -> None:
    found = describe(Registry.installed(), "loss", Spec.parse(name))
    assert set(found.members) == set(LOSSES)
    assert found.name == "pml.NAME"
    assert found.doc == "Any loss of pytorch-metric-learning that options can build, as pml.NAME."
    assert found.example is None


FAMILY = "def one(labels):\n    '''One.'''\nX = {'one': one}\n"


def test_one_family_of_two_distributions_must_be_told_apart(own: Write) -> None:
    registry = own(FAMILY, name="fam.", dists="plug-one plug-two")
    with pytest.raises(PluginError, match="more than one distribution"):
        describe(registry, "sampler", Spec("fam."))
    for dist in ("plug-one", "plug-two"):
        for name in ("fam.", "fam.NAME", "fam.one"):
            assert describe(registry, "sampler", Spec(name, {}, dist)).entry.distribution == dist


def test_a_command_is_described_by_its_help_and_its_function(own: Write) -> None:
    source = 'import click\n@click.command()\ndef X():\n    """Say it.\n\n    Twice."""\n'
    found = describe(own(source, "command", "say"), "command", Spec("say"))
    assert found.doc == "Say it.\n\nTwice."
    assert found.line == 2
    assert found.example == "metricforge say --help"


def test_what_is_wrong_is_said_as_anywhere(own: Write) -> None:
    with pytest.raises(UsageError, match="unknown sampler 'y'"):
        describe(own(SOURCE), "sampler", Spec("y"))
    with pytest.raises(PluginError, match="sampler 'x' of plug"):
        describe(own("raise ValueError('x')"), "sampler", Spec("x"))
    with pytest.raises(UsageError, match=r"unknown loss of pml\.NAME: 'Tripel'"):
        describe(Registry.installed(), "loss", Spec("pml.Tripel"))


@pytest.mark.parametrize(
    ("kind", "says", "expected"),
    [
        ("miner", "kind = Pairs", "--miner x --loss contrastive"),
        ("miner", "kind = Triplets", "--miner x"),
        ("miner", "kind = None", "--miner x --loss pml.SupConLoss"),
        ("miner", "@property\n    def kind(self): return Pairs", "--miner x --loss contrastive"),
        ("loss", "accepts = (Pairs,)", "--sampler random-pairs --loss x"),
        ("loss", "accepts = (None,)", "--sampler balanced --loss x"),
        ("loss", "accepts = (Pairs, Triplets)", "--loss x"),
        ("loss", "", "--loss x"),
    ],
)
def test_the_example_has_what_the_component_goes_with(
    own: Write, kind: str, says: str, expected: str
) -> None:
    source = f"from metricforge.contracts import Pairs, Triplets\nclass X:\n    {says or 'pass'}\n"
    found = describe(own(source, kind), kind, Spec("x"))
    assert found.example == f"metricforge train {expected}"
    # A function says nothing of what it makes: it is asked to make one.
    maker = f"{source}Y = X\ndef X(): return Y()\n"
    assert describe(own(maker, kind), kind, Spec("x")).example == f"metricforge train {expected}"


REGISTRY = Registry.installed()
NEEDS = {
    "mnist": "a download",
    "fashion-mnist": "a download",
    "kmnist": "a download",
    "omniglot": "a download",
    "cub": "a folder",
    "cars": "a folder",
    "sop": "a folder",
    "npz": "a file",
    "vectors": "a file",
    "onnx": "a file",
    "identity": "vectors",
    "lora": "a network with linear layers",
    "dropout": "vectors",
    "noise": "vectors",
    "pml.RankedListLoss": "numbers for its required options",
    "folder": "a folder",
    "timm": "a name of timm's",
    "csv": "a file",
    "grouped": "a dataset with groups",
    "schedule": "stages",
    "sum": "losses",
}


def standard() -> list[tuple[str, str]]:
    """Kind and name of what needs nothing: standard components, and members of pml."""
    found = []
    for entry in REGISTRY.entries():
        if entry.distribution != "metricforge" or entry.kind == "search":
            continue
        if entry.family:
            members = {"loss": LOSSES, "miner": MINERS}.get(entry.kind, ("mobilenet_v3_small",))
            members = ("RandomGrayscale",) if entry.kind == "augmentation" else members
            found += [(entry.kind, f"{entry.name}{member}") for member in members]
        else:
            found.append((entry.kind, entry.name))
    names = {name for _, name in found}
    assert names >= set(NEEDS)
    return [(kind, name) for kind, name in found if name not in NEEDS]


def words_of(found: Description) -> list[str]:
    assert found.example is not None
    program, command, *words = shlex.split(found.example)
    assert (program, command) == ("metricforge", "train")
    return words


# Some of pytorch-metric-learning's losses warn while they are made.
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@pytest.mark.parametrize(("kind", "name"), standard())
def test_the_example_of_every_standard_component_can_be_trained(kind: str, name: str) -> None:
    words = words_of(describe(REGISTRY, kind, Spec(name)))
    context = train.make_context("train", words)
    turned = None if kind == "augmentation" else 1
    recipe = Recipe(dataset="digits", epochs=1, orientations=turned).but(
        **_typed_options(context, context.params)
    )
    assembled = assemble(recipe, REGISTRY)
    field = {
        "augmentation": "augment",
        "adapter": "adapters",
        "protocol": "protocols",
        "hook": "hooks",
    }.get(kind, kind)
    assert getattr(assembled.recipe, field)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("dataset", "folder", "--dataset folder:path=PATH"),
        ("dataset", "mnist", "--dataset mnist"),
        ("sampler", "schedule", "--sampler schedule:NAME=SPEC"),
        ("loss", "pml.RankedListLoss", "pml.RankedListLoss:margin=MARGIN,Tn=TN"),
    ],
)
def test_the_example_names_what_a_user_must_give(kind: str, name: str, told: str) -> None:
    assert told in shlex.join(words_of(describe(REGISTRY, kind, Spec(name))))
