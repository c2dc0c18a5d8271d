"""Real wheels, built and installed by pip in a fresh environment: one plugin's fault is its own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.plugins import faulty
from tests.plugins.environment import Environment

# A plugin here has a loss of that name, too.
TRIPLET = ("--loss", "metricforge:triplet")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with metricforge and every faulty plugin."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = []
    for source in faulty.ALL:
        package = folder / "sources" / source.name
        package.mkdir(parents=True)
        for name, text in source.written().items():
            (package / name).write_text(text)
        sources.append(package)
    return Environment.create(folder, sources)


@pytest.fixture(scope="module")
def run(environment: Environment) -> Command:
    """The `metricforge` of the fresh environment."""
    return partial(environment.run, "metricforge")


def listed(run: Command, *words: str, **env: str) -> dict[tuple[str, str], dict[str, str]]:
    """The records of `plugins list`, by name and distribution."""
    done = run("plugins", "list", *words, "--json", **env)
    assert done.returncode == 0, done.stderr
    return {(r["name"], r["distribution"]): r for r in json.loads(done.stdout)}


def test_the_command_is_that_of_the_wheel(run: Command, environment: Environment) -> None:
    shown = run("plugins", "show", "sampler", "balanced", "--json")
    assert json.loads(shown.stdout)["file"].startswith(str(environment.site))


def test_the_suites_are_in_the_wheel(run: Command) -> None:
    done = run("bench", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert {"smoke", "omniglot-oneshot"} <= {suite["name"] for suite in json.loads(done.stdout)}


def test_help_and_listing_answer_whatever_is_installed(run: Command) -> None:
    helped = run("--help")
    assert helped.returncode == 0
    assert re.search(r"echo +Say a word. \(some-commands\)", helped.stdout)
    records = listed(run)
    assert records["good", "good-plugin"]["status"] == "not imported"
    assert records["good", "good-plugin"]["version"] == "1.2"
    assert records["good", "good-plugin"]["summary"] == "Batches in random order."


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "needs-what-is-not-there",
            "it imports 'a_module_that_nobody_has', which is not installed",
        ),
        ("defines-nothing", "its module does not define 'Sampler'"),
        ("no-python", "no_python.py can't be read: SyntaxError: "),
        ("of-the-future", "made for plugin API 2, and this metricforge has 1: upgrade metricforge"),
    ],
)
def test_what_can_be_told_from_the_source_is(run: Command, name: str, reason: str) -> None:
    record = listed(run)[name, name]
    assert record["status"] == "broken"
    assert record["reason"].startswith(reason)


@pytest.mark.exhaustive  # in test_importing.py
def test_what_only_importing_tells_is_told_by_importing(
    run: Command, environment: Environment
) -> None:
    statically = listed(run)
    assert {
        statically[name, name]["status"] for name in ("at-import-raises", "at-import-dies")
    } == {"not imported"}
    program = (
        "import json\n"
        "from metricforge.plugin_tools.importing import imported\n"
        "from metricforge.registry import Registry\n"
        "registry = Registry.installed()\n"
        "names = {'at-import-dies', 'at-import-exits', 'at-import-raises', 'good'}\n"
        "entries = [e for e in registry.entries('sampler') if e.name in names]\n"
        "found = imported({e: registry.status(e) for e in entries})\n"
        "print(json.dumps({e.name: [s.word, s.reason] for e, s in found.items()}))\n"
    )
    done = environment.run("python", "-c", program)
    assert json.loads(done.stdout) == {
        "at-import-dies": ["broken", "importing it ends the process (exit 9)"],
        "at-import-exits": ["broken", "SystemExit: goodbye"],
        "at-import-raises": ["broken", "RuntimeError: no licence found"],
        "good": ["ok", ""],
    }, done.stderr


@pytest.mark.fault(40)
def test_a_training_with_another_plugin_is_not_touched(run: Command, tmp_path: Path) -> None:
    done = run(
        "train", "--dataset", "digits", "--sampler", "good", *TRIPLET, "--epochs", 1,
        "--orientations", 1, "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    assert env["components"]["sampler"] == "good-plugin 1.2"


@pytest.mark.fault(40, 42)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("at-import-raises", "of at-import-raises 1.2 (at_import_raises:Sampler) can't be "
         "imported: RuntimeError: no licence found"),
        pytest.param("at-import-exits", "of at-import-exits 1.2 (at_import_exits:Sampler) can't "
                     "be imported: SystemExit: goodbye", marks=pytest.mark.exhaustive),
        pytest.param("of-the-future", "of of-the-future 1.2 (of_the_future:Sampler) was made for "
                     "plugin API 2, and this metricforge has 1: upgrade metricforge.",
                     marks=pytest.mark.exhaustive),
        pytest.param("twice", "sampler 'twice' is registered by more than one distribution; write "
                     "clash-one:twice or clash-two:twice.", marks=pytest.mark.exhaustive),
        pytest.param("random-pairs", "write clash-standard:random-pairs or "
                     "metricforge:random-pairs.", marks=pytest.mark.exhaustive),
    ],
)  # fmt: skip
def test_using_a_broken_one_says_whose_it_is(run: Command, words: str, message: str) -> None:
    done = run("train", "--sampler", words, *TRIPLET, "--epochs", 1)
    assert done.returncode == 4
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, "one sentence"


def test_a_default_that_nobody_typed_is_metricforges_own(run: Command, tmp_path: Path) -> None:
    # Other distributions here have samplers by the names of the default one and of random-pairs.
    short = ("--dataset", "digits", "--epochs", 1, "--orientations", 1, "--no-test", "--quiet")
    done = run("train", *short, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "run" / "config.toml").read_text()
    assert 'sampler = "metricforge:hard-triplet:' in config
    assert 'backbone = "conv4:' in config
    typed = run("train", "--sampler", "hard-triplet")
    assert typed.returncode == 4
    checked = run("plugins", "check", "clash-standard", "--json")
    noted = [record["findings"][0] for record in json.loads(checked.stdout)]
    assert {(finding["check"], finding["outcome"]) for finding in noted} == {
        ("name-is-free", "noted")
    }


def test_a_group_that_nobody_reads_is_told_of(run: Command) -> None:
    told = "misplaced registers 'lost' in 'metricforge.sampler', which is no group; did you mean "
    assert told + "'metricforge.samplers'?" in run("plugins").stderr
    used = run("train", "--sampler", "lost")
    assert used.returncode == 2
    assert told in used.stderr


@pytest.mark.exhaustive
def test_what_a_sampler_suggests_is_of_its_own_distribution(run: Command, tmp_path: Path) -> None:
    # hard-triplet suggests `triplet`, a name that an unrelated plugin has taken, too.
    done = run(
        "train", "--dataset", "digits", "--sampler", "metricforge:hard-triplet", "--epochs", 1,
        "--orientations", 1, "--no-test", "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'loss = "metricforge:triplet:' in (tmp_path / "run" / "config.toml").read_text()
    typed = run("train", "--loss", "triplet")
    assert typed.returncode == 4
    assert "write clash-loss:triplet or metricforge:triplet." in typed.stderr


@pytest.mark.fault(41)
def test_a_distribution_picks_among_two_of_a_name(run: Command, tmp_path: Path) -> None:
    records = listed(run)
    assert records["twice", "clash-one"]["status"] == "shadowed"
    assert records["twice", "clash-one"]["reason"] == (
        "clash-two has the name too: write clash-one:twice"
    )
    done = run(
        "train", "--dataset", "digits", "--sampler", "Clash_One:twice:size=32", *TRIPLET,
        "--epochs", 1, "--orientations", 1, "--out", tmp_path / "run", "--quiet", "--no-test",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.fault(43)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sampler lists", "wrong_values:Lists of wrong-values 1.2 must yield 1-D "
         "int64 tensors or arrays of indices; it gave list."),
        ("--sampler beyond", "wrong_values:Beyond of wrong-values 1.2 must yield "
         "indices from 0 to"),
        ("--sampler liar", "wrong_values:Mislabelled of wrong-values 1.2 must return positives of "
         "the anchor's class and negatives of others; it gave other labels"),
        ("--sampler stumbles", "wrong_values:Stumbles of wrong-values 1.2 failed: KeyError: 'x' "
         "(wrong_values.py:"),
        ("--sampler endless", "wrong_values:Endless of wrong-values 1.2 must end "
         "its epoch; it gave"),
        ("--sampler no-miner", "wrong_values:NoMiner of wrong-values 1.2 must bring a miner"),
        ("--miner outside", "wrong_values:Outside of wrong-values 1.2 must return places from 0 "),
        ("--miner elsewhere", "wrong_values:Elsewhere of wrong-values 1.2 must return tensors on "
         "cpu; it gave meta."),
        ("--miner other-kind", "wrong_values:OtherKind of wrong-values 1.2 must return Triplets; "
         "it gave Pairs."),
        ("--loss vector", "wrong_values:vector of wrong-values 1.2 must return a scalar tensor "),
        ("--loss no-graph", "wrong_values:no_graph of wrong-values 1.2 must return a scalar tensor "
         "with a graph"),
        ("--head narrow", "head narrow must give [B, 64] for B images, not [2, 32] for 2."),
        ("--backbone lying", "backbone lying must give [B, 7] for B images, not [2, 1] for 2."),
        ("--dataset beyond", "dataset beyond: labels must be int64 [9] from 0 to 2."),
        ("--dataset hollow", "dataset hollow: made_of must be of classes from 0 to 2."),
        ("--protocol dict", "wrong_values:DictProtocol of wrong-values 1.2 must give a "
         "metricforge.contracts.Result; it gave dict."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_the_plugins_fault(
    run: Command, tmp_path: Path, words: str, message: str
) -> None:
    done = run(
        "train", "--dataset", "digits", *words.split(),
        *([] if "--loss" in words else TRIPLET), "--epochs", 1, "--orientations", 1,
        "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, "one sentence"


@pytest.mark.fault(45)
def test_a_plugin_that_draws_from_global_state_fails_the_kit(run: Command) -> None:
    done = run("plugins", "check", "global-state", "--json")
    assert done.returncode == 4
    (record,) = json.loads(done.stdout)
    failed = {finding["check"] for finding in record["findings"] if finding["outcome"] == "failed"}
    assert {"global-generators-stay", "same-rng-same-batches"} <= failed
    assert "of sampler global-state" in done.stderr
    alone = run("plugins", "check", "good-plugin", METRICFORGE_PLUGINS="good-plugin")
    assert alone.returncode == 0, alone.stdout


def test_the_variable_restricts_what_is_used(run: Command) -> None:
    only = {owner for _, owner in listed(run, METRICFORGE_PLUGINS="good_plugin, clash-one")}
    assert only == {"metricforge", "good-plugin", "clash-one"}
    assert {owner for _, owner in listed(run, METRICFORGE_PLUGINS="")} == {"metricforge"}
    refused = run("train", "--sampler", "good", METRICFORGE_PLUGINS="clash-one")
    assert refused.returncode == 2
    assert "unknown sampler 'good'" in refused.stderr
    wrong = run("plugins", METRICFORGE_PLUGINS="god-plugin")
    assert wrong.returncode == 2
    assert "METRICFORGE_PLUGINS names god-plugin, which is not installed" in wrong.stderr


def test_commands_of_plugins(run: Command) -> None:
    assert run("echo", "hello").stdout == "said hello\n"
    assert run("echo").returncode == 2
    fallen = run("stumble")
    assert fallen.returncode == 4
    assert "command 'stumble' of some-commands 1.2 failed: KeyError: 'shoe laces'" in fallen.stderr
    odd = run("odd")
    assert odd.returncode == 4
    assert "must be a click.Command, not int" in odd.stderr
    # The core's own command stays what it is.
    assert "--sampler" in run("train", "--help").stdout
    assert listed(run)["train", "some-commands"]["status"] == "shadowed"


@pytest.mark.fault(39, 44)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--sampler", "good:sise=3"], "unknown option of sampler 'good': 'sise'; did you "
         "mean 'size'?"),
        (["ecko"], "unknown command 'ecko'; did you mean 'echo'?"),
        *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in (
            (["train", "--sampler", "goood"], "unknown sampler 'goood'; did you mean 'good'?"),
            (["train", "--sampler", "good:size=many"], "option 'size' of sampler 'good' takes int, "
             "not 'many'."),
            (["train", "--sampler", "good:size"], "write good:size=VALUE"),
            (["plugins", "check", "good:sise=3"], "did you mean 'size'?"),
            (["plugins", "check", "some-commands"], "has no component for the kit to check"),
            (["plugins", "show", "samplr", "good"], "unknown kind 'samplr'; did you mean "
             "'sampler'?"),
            (["plugins", "check", "good-plugn"], "did you mean 'good-plugin'?"),
        )),
    ],
)  # fmt: skip
def test_mistyped_names_get_the_nearest(run: Command, words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr


# Last: it damages the environment.
def test_damaged_metadata_of_one_costs_no_other(run: Command, environment: Environment) -> None:
    (damaged,) = environment.site.glob("clash_two-*.dist-info")
    (damaged / "entry_points.txt").write_text("[metricforge.samplers]\nno equals sign here\n")
    (nameless,) = environment.site.glob("clash_standard-*.dist-info")
    (nameless / "METADATA").unlink()
    records = listed(run)
    assert ("twice", "clash-two") not in records
    assert records["twice", "clash-one"]["status"] == "not imported"
    assert ("random-pairs", "unknown") in records
    assert run("train", "--help").returncode == 0
