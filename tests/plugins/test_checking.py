"""Which components `plugins check` means by a word, and what it leaves out with a reason."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from metricforge.contracts import KINDS
from metricforge.errors import UsageError
from metricforge.plugin_tools import checking
from metricforge.plugin_tools.checking import Examined, examine
from metricforge.registry import Registry
from metricforge.testing import Finding, Report
from tests.test_registry import Installed

NUMBER = count()
Own = Callable[..., Registry]

SOURCE = '''
from metricforge.contracts import Triplets
from metricforge_standard.miners.batch_hard import BatchHard

class Good(BatchHard):
    """A miner that holds."""

class Needs(BatchHard):
    """A miner with an option that it must be given."""
    def __init__(self, *, size: int): self.size = size

class Bad:
    """A miner that gives None."""
    kind = Triplets
    def __call__(self, embeddings, labels): return None

FAMILY = {"good": Good, "bad": Bad}

def loss():
    """Never built."""

def odd(weather): ...
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """A registry of the distribution plug, or others, by `dist:kind:name=attribute` words."""
    monkeypatch.syspath_prepend(tmp_path)
    module = f"examined_by_a_test_{next(NUMBER)}"
    (tmp_path / f"{module}.py").write_text(SOURCE)

    def of(*words: str) -> Registry:
        points = []
        for word in words:
            head, _, attribute = word.partition("=")
            dist, kind, name = head.split(":")
            point = EntryPoint(name, f"{module}:{attribute}", KINDS[kind].group)
            points.append(point._for(Installed(dist)))
        return Registry(points)

    return of


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """What the kit was run on; it is not run."""
    calls: list[tuple[str, str, dict[str, Any]]] = []

    def check(kind: str, spec: str, registry: Registry, **where: Any) -> Report:
        calls.append((kind, spec, where))
        return Report(kind, spec, (Finding("stub", "passed", "yes."),))

    monkeypatch.setattr(checking, "check", check)
    return calls


def told(found: list[Examined]) -> dict[str, str]:
    return {e.spec: ", ".join(f"{f.outcome}: {f.says}" for f in e.findings) for e in found}


def test_the_kit_is_run_and_tells_good_from_bad(own: Own) -> None:
    registry = own("plug:miner:good=Good", "plug:miner:bad=Bad")
    bad, good = examine("plug", registry=registry)
    assert (good.kind, good.spec, good.origin) == ("miner", "good", "plug 1.2")
    assert not good.failures
    assert {finding.outcome for finding in good.findings} >= {"passed"}
    assert bad.failures
    assert {finding.outcome for finding in bad.failures} == {"failed"}


@pytest.mark.parametrize("word", ["plug", "PLUG", "Plug"])
def test_a_distribution_means_all_of_its_own(own: Own, asked: list[Any], word: str) -> None:
    registry = own("plug:miner:good=Good", "other:miner:else=Good", "plug:sampler:s=Good")
    found = list(examine(word, registry=registry))
    assert [call[:2] for call in asked] == [("sampler", "s"), ("miner", "good")]
    assert [each.origin for each in found] == ["plug 1.2"] * 2


def test_what_can_not_be_built_as_it_is_is_left_out_with_the_way(
    own: Own, asked: list[Any]
) -> None:
    registry = own("plug:miner:fam.=FAMILY", "plug:miner:needs=Needs", "plug:miner:gone=Gone",
                   "plug:miner:odd=odd", "plug:miner:good=Good")  # fmt: skip
    found = told(list(examine("plug", registry=registry)))
    assert found["fam.NAME"] == (
        "skipped: a family; name a member: metricforge plugins check fam.NAME"
    )
    assert found["needs"] == ('skipped: it needs size: metricforge plugins check "needs:size=SIZE"')
    assert found["gone"].startswith("failed: miner 'gone' of plug 1.2")
    assert "requires 'weather'" in found["odd"]
    assert [call[1] for call in asked] == ["good"]


def test_a_spec_means_the_one_with_its_options(own: Own, asked: list[Any]) -> None:
    registry = own("plug:miner:needs=Needs", "plug:miner:good=Good")
    list(examine("needs:size=3", registry=registry))
    assert asked == [("miner", "needs:size=3", {})]


def test_a_name_of_several_kinds_means_each_unless_one_is_said(own: Own, asked: list[Any]) -> None:
    registry = own("plug:miner:x=Good", "plug:loss:x=loss", "plug:head:y=Good")
    list(examine("x", registry=registry))
    assert [call[:2] for call in asked] == [("miner", "x"), ("loss", "x")]
    asked.clear()
    list(examine("x", "loss", registry=registry))
    assert [call[:2] for call in asked] == [("loss", "x")]
    with pytest.raises(UsageError, match="unknown component or distribution 'x'"):
        list(examine("x", "head", registry=registry))


@pytest.mark.parametrize("word", ["fam.", "fam.NAME"])
def test_a_family_itself_is_left_out(own: Own, asked: list[Any], word: str) -> None:
    registry = own("plug:miner:fam.=FAMILY", "plug:loss:other.=FAMILY")
    (found,) = examine(word, registry=registry)
    assert [f.outcome for f in found.findings] == ["skipped"]
    assert asked == []


def test_a_member_means_the_kinds_whose_family_has_it() -> None:
    registry = Registry.installed()

    def kinds(name: str) -> list[str]:
        spec = checking.Spec(name)
        return [kind for kind in KINDS if checking._exists(registry, kind, spec)]

    assert kinds("pml.TripletMarginLoss") == ["loss"]
    assert kinds("pml.TripletMarginMiner") == ["miner"]
    assert kinds("pml.") == ["miner", "loss"]
    assert kinds("pml.Nothing") == []


def test_of_two_with_one_name_a_distribution_means_its_own(own: Own, asked: list[Any]) -> None:
    registry = own("plug-one:miner:x=Good", "plug-two:miner:x=Bad")
    (found,) = examine("plug-two", registry=registry)
    assert asked == [("miner", "plug-two:x", {})]
    assert (found.spec, found.origin) == ("plug-two:x", "plug-two 1.2")


def test_a_dataset_is_offered_the_root(
    own: Own, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = own("plug:dataset:d=Good")
    monkeypatch.delenv("METRICFORGE_DATA", raising=False)
    list(examine("d", registry=registry))
    monkeypatch.setenv("METRICFORGE_DATA", "/from/the/environment")
    list(examine("d", registry=registry))
    list(examine("d", data_root="/said", registry=registry))
    assert [call[2]["root"] for call in asked] == ["data", "/from/the/environment", "/said"]


def test_what_nothing_is_called_is_refused_with_the_nearest(own: Own) -> None:
    registry = own("my-plugin:miner:good=Good")
    for word, near in (("gud", "good"), ("my-plugn", "my-plugin")):
        with pytest.raises(UsageError, match=f"did you mean '{near}'"):
            list(examine(word, registry=registry))
