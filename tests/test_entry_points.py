"""Which entry points there are: of damaged, doubled and restricted distributions, and whose."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from itertools import count
from pathlib import Path

import pytest
import torch
from metricforge_standard.losses.triplet import Triplet
from metricforge_standard.samplers.hard_triplet import HardTriplet

from metricforge.entry_points import OWN, distribution_of, installed_points, normalized, owner_of
from metricforge.errors import PluginError, UsageError
from metricforge.registry import Registry, Status
from metricforge.spec import Spec

NUMBER = count()
Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with a module on the path, and gives the module's name."""

    def installed(
        name: str,
        source: str = 'class X:\n    """One."""\n',
        points: str = "[metricforge.samplers]\n{name} = {module}:X\n",
        version: str = "1.2",
        module: str | None = None,
        folder: str = "site",
        metadata: bool = True,
    ) -> str:
        site = tmp_path / folder
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
        module = module or f"installed_by_a_test_{next(NUMBER)}"
        code = site / f"{module.replace('.', '/')}.py"
        code.parent.mkdir(parents=True, exist_ok=True)
        code.write_text(source)
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(points.format(name=name, module=module))
        if metadata:
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
        importlib.invalidate_caches()
        return module

    return installed


def found(kind: str = "sampler") -> dict[str, str]:
    """Distribution and version of the entries that are not of this repository, by name."""
    entries = Registry.installed().entries(kind)
    return {e.name: e.origin for e in entries if not e.distribution.startswith("metricforge")}


def test_an_installed_distribution_is_found_and_named(install: Install) -> None:
    install("Some_Plugin", points="[metricforge.samplers]\nidea = {module}:X\n[other]\nx = y:z\n")
    assert found() == {"idea": "Some_Plugin 1.2"}
    assert {point.group for point in installed_points()} >= {"metricforge.samplers"}
    assert "other" not in {point.group for point in installed_points()}


def test_the_restriction_names_distributions_as_pip_does(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("Some.Plugin", points="[metricforge.samplers]\none = {module}:X\n")
    install("other-plugin", points="[metricforge.samplers]\ntwo = {module}:X\n")
    for text in ("some_plugin", " SOME--PLUGIN ,", "Some.Plugin,metricforge"):
        monkeypatch.setenv("METRICFORGE_PLUGINS", text)
        assert found() == {"one": "Some.Plugin 1.2"}
    monkeypatch.setenv("METRICFORGE_PLUGINS", "other.plugin,some-plugin")
    assert set(found()) == {"one", "two"}


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_an_empty_restriction_leaves_the_core_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    install("some-plugin")
    monkeypatch.setenv("METRICFORGE_PLUGINS", text)
    owners = {distribution_of(point)[0] for point in installed_points()}
    assert owners == {OWN}


def test_a_restriction_to_what_is_not_there_is_refused_with_what_is(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("some-plugin")
    monkeypatch.setenv("METRICFORGE_PLUGINS", "sone-plugin")
    with pytest.raises(UsageError, match="names sone-plugin, which is not installed") as caught:
        installed_points()
    assert "some-plugin" in str(caught.value).partition("there are:")[2]
    monkeypatch.setenv("METRICFORGE_PLUGINS", "no-2,some-plugin,no-1")
    with pytest.raises(UsageError, match="names no-1, no-2, which are not installed"):
        installed_points()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("A", "a"), ("a_b", "a-b"), ("a.-_b", "a-b"), ("A..B--c", "a-b-c"), ("", "")],
)
def test_names_are_compared_as_pip_compares_them(name: str, expected: str) -> None:
    assert normalized(name) == expected


def test_of_one_distribution_found_twice_the_first_on_the_path_counts(install: Install) -> None:
    module = install("some-plugin", version="1.0", folder="later")
    install("Some_Plugin", points=f"[metricforge.samplers]\nidea = {module}:X\n", version="2.0")
    assert found() == {"idea": "Some_Plugin 2.0"}


def test_without_metadata_it_is_found_but_nameless(install: Install) -> None:
    install("some-plugin", metadata=False)
    assert found() == {"some-plugin": "unknown ?"}


DAMAGED = ["no section = here\n", "[metricforge.samplers]\nno equals sign\n"]


@pytest.mark.parametrize("points", DAMAGED)
def test_broken_entry_points_cost_the_others_nothing(install: Install, points: str) -> None:
    install("bad-plugin", points=points)
    install("good-plugin")
    assert found() == {"good-plugin": "good-plugin 1.2"}
    registry = Registry.installed()
    (entry,) = (e for e in registry.entries("sampler") if e.name == "good-plugin")
    assert registry.status(entry) == Status("not imported")


@pytest.mark.parametrize("value", ["a:b:c", "a b", "a:"])
def test_a_value_that_is_no_reference_is_broken_and_blamed(install: Install, value: str) -> None:
    install("bad-plugin", points=f"[metricforge.samplers]\nbad = {value}\n")
    registry = Registry.installed()
    (entry,) = (e for e in registry.entries("sampler") if e.name == "bad")
    assert registry.status(entry).word == "broken"
    with pytest.raises(PluginError, match=r"sampler 'bad' of bad-plugin 1\.2"):
        registry.build("sampler", Spec("bad"), {"labels": 1})


def test_the_owner_of_a_component_is_told_by_its_class_or_itself() -> None:
    own = owner_of(HardTriplet)
    assert own.startswith("metricforge ")
    assert owner_of(HardTriplet(torch.arange(40) // 10)) == own
    assert owner_of(Triplet()) == own
    assert owner_of(HardTriplet.epoch) == own


def test_what_is_of_no_plugin_has_no_owner() -> None:
    def here() -> None: ...

    here.__module__ = "__main__"
    nameless = type("X", (), {"__module__": None})
    for thing in (here, nameless, nameless(), 3, len, partial(here), torch.nn.Linear, Registry):
        assert owner_of(thing) == "", thing


def test_in_a_shared_namespace_the_nearest_distribution_is_the_owner(install: Install) -> None:
    for part in ("one", "two"):
        install(f"plugin-{part}", module=f"namespace_of_a_test.{part}.code")
    for part in ("two", "one"):
        module = importlib.import_module(f"namespace_of_a_test.{part}.code")
        assert owner_of(module.X) == f"plugin-{part} 1.2"
        near = type("Near", (), {"__module__": f"namespace_of_a_test.{part}.other"})
        assert owner_of(near()) == f"plugin-{part} 1.2"


def test_a_module_whose_name_only_begins_alike_is_another() -> None:
    alike = type("X", (), {"__module__": "metricforge_standard_not.samplers"})
    assert owner_of(alike) == ""


def status(points: list[EntryPoint], name: str) -> dict[str, Status]:
    registry = Registry(points)
    return {e.distribution: registry.status(e) for e in registry.entries() if e.name == name}


def named(name: str) -> list[EntryPoint]:
    return [point for point in installed_points() if point.name == name]


def test_one_name_of_two_distributions_is_shadowed_for_both(install: Install) -> None:
    for name in ("Plugin_One", "plugin.two"):
        install(name, points="[metricforge.samplers]\nidea = {module}:X\nfam. = {module}:X\n")
    assert status(named("idea"), "idea") == {
        "Plugin_One": Status("shadowed", "plugin.two has the name too: write Plugin_One:idea"),
        "plugin.two": Status("shadowed", "Plugin_One has the name too: write plugin.two:idea"),
    }
    family = status(named("fam."), "fam.")
    assert family["plugin.two"].reason.endswith("write plugin.two:fam.NAME")
    registry = Registry.installed()
    for spelling in ("plugin-one", "PLUGIN.one", "plugin_One"):
        found = registry.find("sampler", Spec("idea", distribution=spelling))
        assert found.distribution == "Plugin_One"
        member = registry.find("sampler", Spec("fam.x", distribution=spelling))
        assert member.distribution == "Plugin_One"


def test_a_name_of_another_kind_shadows_nothing(install: Install) -> None:
    points = "[metricforge.samplers]\nidea = {module}:X\n[metricforge.losses]\nidea = {module}:X\n"
    install("some-plugin", points=points)
    assert status(named("idea"), "idea") == {"some-plugin": Status("not imported")}


@pytest.mark.parametrize(
    ("version", "way"), [(0, "upgrade the plugin"), (2, "upgrade metricforge")]
)
def test_a_plugin_for_another_version_is_broken_before_it_is_imported(
    install: Install, version: int, way: str
) -> None:
    module = install("some-plugin", f"METRICFORGE_API = {version}\nraise ValueError\nX = 1")
    reason = f"made for plugin API {version}, and this metricforge has 1: {way}"
    assert status(named("some-plugin"), "some-plugin") == {"some-plugin": Status("broken", reason)}
    with pytest.raises(PluginError, match=f"was {reason}"):
        Registry.installed().build("sampler", Spec("some-plugin"), {"labels": 1})
    assert module not in sys.modules


def test_what_is_broken_is_not_called_shadowed(install: Install) -> None:
    install("one", "Y = 1", points="[metricforge.samplers]\nidea = {module}:X\n")
    install("two", points="[metricforge.samplers]\nidea = {module}:X\n")
    assert {owner: s.word for owner, s in status(named("idea"), "idea").items()} == {
        "one": "broken",
        "two": "shadowed",
    }
