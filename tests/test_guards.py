"""Rules that hold over the whole code: who imports whom, what loads torch, what is documented."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metricforge.contracts import KINDS, SEARCHES, InnerSpec
from metricforge.registry import Entry
from metricforge.spec import Factory, further_of, options_of

ROOT = Path(__file__).parents[1]
CORE = ROOT / "metricforge"
STANDARD = ROOT / "plugins" / "standard" / "metricforge_standard"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# A module imports from its own row and from those above, never from those below.
LAYERS = (
    {"errors", "contracts"},
    {"extras", "fetching", "regular_file"},
    {"spec", "static_reading", "entry_points", "member_names", "registry"},
    {"decoding"},
    {
        "atomic_files",
        "data",
        "hub",
        "loading",
        "markdown",
        "model",
        "model_card",
        "weights",
        "runtime",
        "pairwise",
        "plugin_errors",
        "enforcement",
    },
    {"training", "evaluation"},
    {"recipes", "scoring", "report"},
    {"runs", "testing", "scaffold"},
    {"judging", "inspection", "image_index", "doctor"},
    {"plugin_tools", "tuning", "galleries", "stores"},
    {"shrinking", "exploring"},
    {"exporting"},
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
MODULES = {**CORE_MODULES, **STANDARD_MODULES}
IMPORTS = {module: imports(path, module) for module, path in MODULES.items()}
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


def part_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def importing(
    modules: Iterable[str], is_wrong: Callable[[str, str], bool]
) -> list[tuple[str, str]]:
    """Each module with what it imports and must not."""
    return [
        (module, name) for module in modules for name in IMPORTS[module] if is_wrong(module, name)
    ]


def test_the_guards_see_the_code():
    assert {"metricforge.spec", "metricforge.training.loop"} <= set(CORE_MODULES)
    assert "metricforge_standard._pml" in STANDARD_MODULES
    parts = {part_of(name) for name in CORE_MODULES} - {""}
    assert parts == set(ROW), "every part of the core has its row above"
    assert {"torch", "metricforge.errors.DivergedError"} <= IMPORTS["metricforge.training.step"]
    heavy = importing(CORE_MODULES, lambda module, name: name == "torch")
    assert ("metricforge.training.step", "torch") in heavy


def test_the_core_imports_in_one_direction():
    def row(name: str) -> int:
        # The package itself maps names to their homes, for users: it lies above all layers.
        return ROW.get(part_of(name), len(LAYERS))

    def is_below(module: str, name: str) -> bool:
        version = name == "metricforge.__version__"
        return begins(name, "metricforge") and not version and row(name) > row(module)

    assert importing(CORE_MODULES, is_below) == []


def test_the_core_knows_no_plugin():
    assert importing(CORE_MODULES, lambda _, name: "pytorch_metric" in name) == []
    named = [m for m, path in CORE_MODULES.items() if "metricforge_standard" in path.read_text()]
    assert named == []


def test_training_and_evaluation_receive_objects_and_never_names():
    inner = [m for m in CORE_MODULES if part_of(m) in ("training", "evaluation")]
    assert importing(inner, lambda _, name: begins(name, "metricforge.registry")) == []


def test_plugins_import_the_contract_and_little_else():
    allowed = (
        "metricforge.contracts",
        "metricforge.errors",
        "metricforge.extras",
        "metricforge.fetching",
        "metricforge.regular_file",
        "metricforge_standard",
    )
    further = {
        "protocols": "metricforge.evaluation",
        "datasets": "metricforge.data",
        "miners": "metricforge.pairwise",
        "losses": "metricforge.pairwise",
        "heads": "metricforge.pairwise",  # to scale rows as the core does
    }

    def is_internal(module: str, name: str) -> bool:
        own = further.get(part_of(module), "metricforge.contracts")
        ours = name.split(".")[0] in ("metricforge", "metricforge_standard")
        return ours and not begins(name, *allowed, own)

    assert importing(STANDARD_MODULES, is_internal) == []


ROOMS = ("contracts", "errors", "fetching", "data", "evaluation", "pairwise", "testing", "tuning")
PUBLIC = ("metricforge", *(f"metricforge.{room}" for room in ROOMS))


@pytest.mark.parametrize("name", ["example", "optuna", "xbm"])
def test_our_own_distributions_use_public_names_only(name):
    """As docs/stability.md lists them; they are the models that others follow."""
    files = sorted((ROOT / "plugins" / name).glob("metricforge_*/*.py"))
    files += sorted((ROOT / "plugins" / name).glob("metricforge_*.py"))
    assert files
    for file in files:
        for used in imports(file, file.stem):
            if not begins(used, "metricforge"):
                continue
            room, _, thing = used.rpartition(".")
            assert room in PUBLIC, f"{file.name} imports {used}, which is private"
            public = getattr(importlib.import_module(room), "__all__", None)
            assert public is None or thing in public, f"{used} is not in {room}.__all__"
    stability = (ROOT / "docs" / "stability.md").read_text()
    assert [room for room in PUBLIC if f"`{room}`" not in stability] == []


def test_one_file_imports_pytorch_metric_learning():
    home = "metricforge_standard._pml"
    assert 'import_module(f"pytorch_metric_learning.' in MODULES[home].read_text()
    others = [module for module in MODULES if module != home]
    assert importing(others, lambda _, name: begins(name, "pytorch_metric_learning")) == []
    # Nor by its name, as importlib does.
    named = [
        (module, node.lineno)
        for module in others
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Constant) and begins(str(node.value), "pytorch_metric_learning")
    ]
    assert named == []


def test_no_module_is_a_drawer_for_odds_and_ends():
    for module in (*CORE_MODULES, *STANDARD_MODULES):
        assert not FORBIDDEN_NAMES & {part.strip("_") for part in module.split(".")}, module


def test_every_module_with_code_has_a_docstring():
    silent = [
        module
        for module, tree in TREES.items()
        if tree.body and not (ast.get_docstring(tree) or "").partition("\n")[0]
    ]
    assert silent == []


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
            "index --help", "search --help", "export --help", "push --help", "shrink --help",
            "explore --help",            "doctor --help",
            "data check --help", "data split --help", "data show --help")  # fmt: skip


def test_the_import_guard_sees_torch():
    assert "torch" in loaded_by("import metricforge; metricforge.load")


def test_help_and_listing_load_nothing_heavy():
    """All in one process: whatever one loads, the guard sees at the end."""
    program = (
        "import contextlib, io\n"
        "from metricforge.cli import main\n"
        f"for words in {[command.split() for command in COMMANDS]!r}:\n"
        "    sys.argv = ['metricforge', *words]\n"
        "    out = io.StringIO()\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(out):\n"
        "        main()\n"
        "    assert out.getvalue(), words\n"
        "    heavy = sorted({*sys.modules} & " + repr(HEAVY) + ")\n"
        "    assert not heavy, f'{words} load {heavy}'\n"
    )
    loaded = loaded_by(program)
    assert "metricforge.cli" in loaded
    assert [name for name in loaded if name.startswith("metricforge_standard")] == []


def test_the_light_modules_load_nothing_heavy():
    light = ("contracts", "errors", "spec", "registry", "decoding", "atomic_files")
    program = "import metricforge\n" + "".join(f"import metricforge.{name}\n" for name in light)
    assert loaded_by(program) & HEAVY == set()


def test_the_package_imports_where_fcntl_lacks():
    """As it does on Windows."""
    loaded = loaded_by("sys.modules['fcntl'] = None\nimport metricforge.runs.folder")
    assert "metricforge.runs.lock" in loaded


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


def test_every_entry_point_is_there_and_says_in_a_line_what_it_is():
    wrong = []
    for entry in points():
        component = entry.point.load()
        summary = entry.summary()
        first = (component.__doc__ or "").strip().partition("\n")[0]
        is_sentence = summary.endswith(".") and len(summary) < 110
        if not is_sentence or not (entry.family or (callable(component) and summary == first)):
            wrong.append((entry.kind, entry.name, summary))
    assert wrong == []


def test_every_component_file_is_registered():
    """A component that nobody can name is dead code."""
    registered = {entry.point.module for entry in points()}
    kinds = {kind.plural for kind in KINDS.values()} - {"samplers", "miners", "losses", "datasets"}
    for module in STANDARD_MODULES:
        private = module.rpartition(".")[2].startswith("_")
        if part_of(module) in kinds and module.count(".") == 2 and not private:
            assert module in registered


def undocumented(component: Factory) -> list[str]:
    """The options of a factory on which its docstring has no sentence in "Args:"."""
    further = further_of(component)
    options = [*options_of(component).values(), *([further] if further else [])]
    return [option.name for option in options if not option.help]


def test_every_option_is_told_of_in_the_docstring():
    missing = [
        (entry.kind, entry.name, name)
        for entry in points()
        if not entry.family
        for name in undocumented(entry.point.load())
    ]
    assert missing == []


def test_an_option_without_a_sentence_of_its_own_is_undocumented():
    def sampler(
        labels, *, size: int = 3, rate: float = 0.1, off: bool = False, **stages: InnerSpec
    ):
        """Makes batches of `size` images at a `rate`.

        Args:
            labels: int64 [N].
            size: Images in a batch.
            off:

        stages: Not in the section.
        """

    assert undocumented(sampler) == ["rate", "off", "stages"]


def test_no_test_draws_from_a_generator_without_a_seed():
    """The global ones are seeded for each test; one of a test's own must be, too."""
    unseeded = re.compile(r"default_rng\(\)|\bRandom\(\)|Generator\(\)(?!\.manual_seed)")
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/tests/*.py")]
    drawn = [
        (file.name, line)
        for file in files
        if file != Path(__file__)
        for line in file.read_text().splitlines()
        if unseeded.search(line)
    ]
    assert drawn == []
