"""plugins/README.md: every block of it is run, and everything that a writer may use is in it."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from metricforge import Recipe, Registry, pairwise
from metricforge.cli.plugins import COMMANDS
from metricforge.cli.plugins import command as plugins
from metricforge.contracts import API_VERSION, KINDS
from metricforge.contracts import COMMANDS as COMMAND_GROUP
from metricforge.entry_points import GROUPS, RESTRICTION
from metricforge.testing import (
    CHECKS,
    check,
    check_backbone,
    check_head,
    check_miner,
    check_sampler,
)
from metricforge.tuning.options import read_options
from tests.plugins.environment import ROOT, Environment

GUIDE = (ROOT / "plugins" / "README.md").read_text()
EXAMPLE = ROOT / "plugins" / "example"
QUICK = ("--images", "400", "--quiet")


def blocks(language: str) -> list[str]:
    """The text of every fenced block of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


(NEAREST, NEAREST_TEST, SAMPLER, MINER, LOSS, HEAD, BACKBONE, NETWORKS, ADAPTER, DATASET,
 AUGMENTATION, OPTIMIZER, SCHEDULE, PROTOCOL, HOOK, COMMAND, SEARCH, TILES,
) = blocks("python")  # fmt: skip
PLUGINS = {
    "sampler": SAMPLER,
    "miner": MINER,
    "loss": LOSS,
    "head": HEAD,
    "backbone": BACKBONE,
    "adapter": ADAPTER,
    "dataset": DATASET,
    "augmentation": AUGMENTATION,
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "protocol": PROTOCOL,
    "hook": HOOK,
    "command": COMMAND,
    "search": SEARCH,
}
(PROJECT,) = blocks("toml")
TO_A_TRAINING, WITH_NEAREST, TO_PUBLISH = blocks("console")


def namespace(source: str) -> dict[str, Any]:
    """What a block of Python defines."""
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(source, "plugins/README.md", "exec"), names)
    return names


def test_no_block_goes_unrun() -> None:
    # Those named above, by language, are all there are.
    assert len(re.findall(r"^```\w*$", GUIDE, re.MULTILINE)) == 2 * (18 + 1 + 3)


def test_the_plugin_has_eleven_lines() -> None:
    assert len([line for line in NEAREST.splitlines() if line.strip()]) == 11


def test_the_tutorial_is_the_example() -> None:
    assert (EXAMPLE / "metricforge_example.py").read_text() == NEAREST
    assert (EXAMPLE / "pyproject.toml").read_text() == PROJECT
    assert (EXAMPLE / "tests" / "test_metricforge_example.py").read_text() == NEAREST_TEST
    assert tomllib.loads(PROJECT)["project"]["name"] == "metricforge-example"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who saved the eleven-line plugin and ran every command in order.

    In a fresh environment, with metricforge alone.
    """
    environment = Environment.create(tmp_path_factory.mktemp("guide"), [])
    desk = tmp_path_factory.mktemp("desk")
    nearest = desk / "nearest"
    nearest.mkdir()
    (nearest / "metricforge_example.py").write_text(NEAREST)
    (nearest / "test_metricforge_example.py").write_text(NEAREST_TEST)
    (nearest / "pyproject.toml").write_text(PROJECT)
    for line in "".join((TO_A_TRAINING, WITH_NEAREST, TO_PUBLISH)).splitlines():
        words = shlex.split(line)
        quick = QUICK if words[:2] == ["metricforge", "train"] else ()
        done = environment.run(*words, *quick, cwd=desk)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return desk


# One test, since each worker that runs one of several would build the environment again.
@pytest.mark.exhaustive  # wheels and what they bring are in test_wheels.py, packages in scaffold
def test_every_command_does_what_it_says(desk: Path) -> None:
    run = desk / "runs" / "glyphs-my-idea"
    assert (run / "report.html").is_file()
    assert [path.name for path in (desk / "dist").iterdir()] == ["my_idea-0.1.0-py3-none-any.whl"]
    command = namespace(COMMAND)["command"]
    assert isinstance(command, click.Command)
    done = CliRunner().invoke(command, [str(run)])
    assert done.exit_code == 0, done.output
    assert re.search(r"^map@r 0\.\d{3}$", done.stdout, re.MULTILINE)


def test_each_kind_has_a_heading_with_its_plugin_beneath() -> None:
    assert set(PLUGINS) == set(GROUPS.values())
    for kind, plugin in PLUGINS.items():
        section = GUIDE.partition(f"\n### {kind.capitalize()}\n")[2].partition("\n### ")[0]
        assert section.partition("```python\n")[2].startswith(plugin), kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_plugin_of_each_kind_holds(kind: str) -> None:
    found = namespace(PLUGINS[kind])
    report = check(kind, found["my_idea" if kind == "dataset" else "MyIdea"])
    assert [finding for finding in report.findings if finding.outcome == "failed"] == []


def test_the_search_chooses_what_can_be_tried() -> None:
    space = read_options(
        ("sampler.per_class=2,4", "dim=32,64", "optimizer.lr=1e-4..1e-2", "loss.margin=0.05..0.5"),
        Recipe(loss="triplet"),
        Registry.installed(),
    )
    tried = []
    for _ in range(2):
        search = namespace(SEARCH)["MyIdea"](seed=3)
        for _ in range(5):
            chooser = search.ask()
            options = {dimension.key: dimension.pick(chooser) for dimension in space}
            assert all(dimension.holds(options[dimension.key]) for dimension in space)
            tried.append(options)
            search.tell(chooser, 0.5)
    assert tried[:5] == tried[5:]


def test_the_networks_hold() -> None:
    found = namespace(NETWORKS)
    assert found["Plain"](3, 2).unit_length is False
    assert check_head(found["Plain"]).passed
    assert check_backbone(found["Pooled"], grid=2).passed


def test_every_kind_and_what_it_may_ask_for_is_documented() -> None:
    for kind in KINDS.values():
        row = next(line for line in GUIDE.splitlines() if f"| `{kind.group}` |" in line)
        for name in kind.offers:
            assert f"`{name}" in row
    assert f"| `{COMMAND_GROUP}` |" in GUIDE


@pytest.mark.parametrize("kind", KINDS)
def test_every_member_that_a_component_may_have_is_documented(kind: str) -> None:
    members, types = KINDS[kind].members, KINDS[kind].optional
    assert len(members) >= len(types)
    for name in members:
        assert f"`{name}" in GUIDE, name
    for each in types:
        assert f"`{each.__name__}`" in GUIDE, each


def test_the_core_looks_for_members_by_their_types() -> None:
    """By no name in a string, which no type checker and no near-miss check would see."""
    files = [ROOT / "metricforge" / "model.py"]
    for package in ("training", "recipes", "scoring", "runs", "judging"):
        files += (ROOT / "metricforge" / package).glob("*.py")
    members = {name for kind in KINDS.values() for name in kind.members}
    by_name = {
        (path.name, node.args[1].value)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr")
        and isinstance(node.args[1], ast.Constant)
    }
    # What must be there, and whose absence is an error with a sentence of its own.
    required = {
        ("build.py", "miner"),
        ("model.py", "out_features"),
        ("components.py", "out_features"),
        ("pretrained.py", "out_features"),
        ("mining.py", "kind"),
    }
    assert {found for found in by_name if found[1] in members} <= required


def test_every_command_and_its_options_are_documented() -> None:
    context = click.Context(plugins)
    for name in COMMANDS:
        assert f"`metricforge plugins {name}" in GUIDE
        command = plugins.get_command(context, name)
        for parameter in command.params:
            shown = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.name
            assert shown in GUIDE if shown.startswith("--") else shown.upper() in GUIDE


def test_every_check_is_documented_with_what_must_hold() -> None:
    rows = [
        f"| {kind} | `{check.name}` | {check.says} |"
        for kind, checks in CHECKS.items()
        for check in checks
    ]
    between = GUIDE.partition("<!-- checks -->")[2].partition("<!-- end of checks -->")[0]
    assert between.strip().splitlines()[2:] == rows
    for kind in KINDS:
        assert f"`check_{kind}`" in GUIDE


def test_the_rest_of_the_door_is_documented() -> None:
    assert f"The API version** is {API_VERSION}." in GUIDE
    assert f"`METRICFORGE_API = {API_VERSION}`" in GUIDE
    assert f"`{RESTRICTION}=a,b`" in GUIDE


def test_the_sampler_and_its_miner_in_tiles_hold() -> None:
    found = namespace(TILES)
    check_miner(found["BeyondHard"])
    check_sampler(found["BeyondHardTriplet"])


def test_all_of_pairwise_is_documented() -> None:
    documented = GUIDE.partition("| in `metricforge.pairwise` |")[2].partition("\n\n")[0]
    for name in set(pairwise.__all__) - {"anchors_of"}:
        assert f"`{name}" in documented, f"`{name}` is not in the guide's table"
