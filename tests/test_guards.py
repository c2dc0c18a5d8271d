"""Rules that hold over the whole code: who imports whom, what loads torch, what is documented."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metricforge.contracts import KINDS, SEARCHES
from metricforge.registry import Entry
from metricforge.spec import options_of

ROOT = Path(__file__).parents[1]
CORE = ROOT / "metricforge"
STANDARD = ROOT / "plugins" / "standard" / "metricforge_standard"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# A module imports from its own row and from those above, never from those below.
LAYERS = (
    {"errors", "contracts"},
    {"spec", "source", "installed", "registry"},
    {"artefact", "data", "model", "runtime", "pairwise"},
    {"training", "evaluation"},
    {"report"},
    {"runs", "testing", "scaffold"},
    {"plugins", "tuning"},
    {"bench"},
    {"cli", "__main__"},
)
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(path: Path, module: str) -> set[str]:
    """The dotted names that a file imports, wherever in it: `from a import b` counts as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import in line {node.lineno}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def begins(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


CORE_MODULES, STANDARD_MODULES = modules(CORE), modules(STANDARD)
every_core_module = pytest.mark.parametrize("module", CORE_MODULES)
every_standard_module = pytest.mark.parametrize("module", STANDARD_MODULES)


def part_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_the_guards_see_the_code():
    assert {"metricforge.spec", "metricforge.training.loop"} <= set(CORE_MODULES)
    assert "metricforge_standard._pml" in STANDARD_MODULES
    parts = {part_of(name) for name in CORE_MODULES} - {""}
    assert parts == set(ROW), "every part of the core has its row above"
    found = imports(CORE / "training" / "step.py", "step")
    assert {"torch", "metricforge.errors.DivergedError"} <= found


@every_core_module
def test_the_core_imports_in_one_direction(module: str):
    # The package itself only maps names to their homes, for others.
    own = len(LAYERS) if module == "metricforge" else ROW[part_of(module)]
    below = [
        name
        for name in imports(CORE_MODULES[module], module)
        if begins(name, "metricforge") and ROW.get(part_of(name), 0) > own
    ]
    assert below == []


@every_core_module
def test_the_core_knows_no_plugin(module: str):
    source = CORE_MODULES[module].read_text()
    assert "metricforge_standard" not in source
    assert not [n for n in imports(CORE_MODULES[module], module) if "pytorch_metric" in n]


@every_core_module
def test_training_and_evaluation_receive_objects_and_never_names(module: str):
    if part_of(module) in ("training", "evaluation"):
        found = imports(CORE_MODULES[module], module)
        assert not [n for n in found if begins(n, "metricforge.registry")]


@every_standard_module
def test_plugins_import_the_contract_and_little_else(module: str):
    allowed = ["metricforge.contracts", "metricforge.errors", "metricforge_standard"]
    kind = part_of(module)
    allowed += {
        "protocols": ["metricforge.evaluation"],
        "datasets": ["metricforge.data"],
        "miners": ["metricforge.pairwise"],
        "losses": ["metricforge.pairwise"],
    }.get(kind, [])
    found = imports(STANDARD_MODULES[module], module)
    ours = [n for n in found if n.split(".")[0] in ("metricforge", "metricforge_standard")]
    assert [n for n in ours if not begins(n, *allowed)] == []


@pytest.mark.parametrize("module", {**CORE_MODULES, **STANDARD_MODULES})
def test_one_file_imports_pytorch_metric_learning(module: str):
    path = {**CORE_MODULES, **STANDARD_MODULES}[module]
    if module == "metricforge_standard._pml":
        assert 'import_module(f"pytorch_metric_learning.' in path.read_text()
    else:
        assert not [n for n in imports(path, module) if begins(n, "pytorch_metric_learning")]
        # Nor by its name, as importlib does.
        strings = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        assert not [s for s in strings if begins(str(s.value), "pytorch_metric_learning")]


def test_no_module_is_a_drawer_for_odds_and_ends():
    for module in (*CORE_MODULES, *STANDARD_MODULES):
        assert not FORBIDDEN_NAMES & {part.strip("_") for part in module.split(".")}, module


@pytest.mark.parametrize("module", {**CORE_MODULES, **STANDARD_MODULES})
def test_every_module_with_code_has_a_docstring(module: str):
    source = {**CORE_MODULES, **STANDARD_MODULES}[module].read_text()
    if source.strip():
        first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        assert first, f"{module} says nothing"


def loaded_by(program: str) -> set[str]:
    """The modules that a fresh interpreter has loaded when the program is done."""
    ending = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", ending + program], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


HEAVY = {"torch", "torchvision", "sklearn", "scipy", "matplotlib", "faiss", "numpy", "PIL"}
COMMANDS = ("--help", "--version", "plugins", "plugins list --json", "plugins list samplers",
            "plugins --help", "plugins show --help", "plugins check --help", "plugins new --help",
            "train --help", "encode --help", "evaluate --help", "data --help",
            "index --help", "search --help", "doctor --help",
            "data check --help", "data split --help", "data show --help")  # fmt: skip


def test_the_import_guard_sees_torch():
    assert "torch" in loaded_by("import metricforge; metricforge.load")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_listing_load_nothing_heavy(command: str):
    program = f"sys.argv = ['metricforge', *{command.split()!r}]\n"
    loaded = loaded_by(program + "from metricforge.cli import main\nmain()")
    assert "metricforge.cli" in loaded
    assert not loaded & HEAVY
    assert not [name for name in loaded if name.startswith("metricforge_standard")]


@pytest.mark.parametrize(
    "module",
    ["metricforge", "metricforge.contracts", "metricforge.errors", "metricforge.spec",
     "metricforge.registry", "metricforge.artefact"],
)  # fmt: skip
def test_the_light_modules_load_nothing_heavy(module: str):
    assert not loaded_by(f"import {module}") & HEAVY


def test_the_names_of_the_package_are_there_when_they_are_used():
    import metricforge

    for name in metricforge.__all__:
        assert getattr(metricforge, name) is not None
    assert set(metricforge.__all__) == {*metricforge._HOMES, "__version__"}
    assert PROJECT["version"] == metricforge.__version__


def points() -> list[Entry]:
    kinds = {kind.group: name for name, kind in KINDS.items()}
    groups = PROJECT["entry-points"]
    assert set(groups) == {*kinds, SEARCHES}
    return [
        Entry(kinds[group], name, EntryPoint(name, value, group))
        for group in kinds
        for name, value in groups[group].items()
    ]


@pytest.mark.parametrize("entry", points(), ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_every_entry_point_is_there_and_says_in_a_line_what_it_is(entry: Entry):
    component = entry.point.load()
    assert callable(component) or entry.family
    summary = entry.summary()
    if not entry.family:
        assert summary == (component.__doc__ or "").strip().partition("\n")[0]
    assert summary.endswith("."), f"'{summary}' is no sentence on one line"
    assert len(summary) < 110


def test_every_component_file_is_registered():
    """A component that nobody can name is dead code."""
    registered = {entry.point.module for entry in points()}
    kinds = {kind.plural for kind in KINDS.values()} - {"samplers", "miners", "losses", "datasets"}
    for module in STANDARD_MODULES:
        private = module.rpartition(".")[2].startswith("_")
        if part_of(module) in kinds and module.count(".") == 2 and not private:
            assert module in registered


@pytest.mark.parametrize("entry", points(), ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_every_option_is_told_of_in_the_docstring(entry: Entry):
    if not entry.family:
        component = entry.point.load()
        for name in options_of(component):
            assert re.search(rf"\b{name}\b", component.__doc__), name
