"""`metricforge plugins` as a user runs it: list, show, check, new, and commands of plugins."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from metricforge.cli import COMMANDS
from metricforge.contracts import KINDS
from tests.cli.process import first_on_path, metricforge, on_a_terminal, uncoloured

Command = Callable[..., "subprocess.CompletedProcess[str]"]

ADDED = '''
import click

raise_at_import = {fails}
if raise_at_import:
    raise RuntimeError("no luck")

@click.command()
@click.option("--times", default=1)
def say(times):
    """Say it."""
    click.echo("said " * times)

@click.command()
def train():
    """Not the core's."""
    click.echo("the plugin's")

@click.command()
def refuse():
    """Refuse."""
    raise click.UsageError("not like this.")

class Good:
    """A sampler."""

class Bad:
    """A miner that gives None."""
    from metricforge.contracts import Triplets as kind
    def __call__(self, embeddings, labels): return None
'''


@pytest.fixture
def added(tmp_path: Path) -> Command:
    """`metricforge` where a distribution adds commands; its module fails if asked to."""
    fails = tmp_path / "added_by_a_test.py"
    info = tmp_path / "added_by_a_test-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: added-by-a-test\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        dedent("""
        [metricforge.commands]
        say = added_by_a_test:say
        train = added_by_a_test:train
        refuse = added_by_a_test:refuse
        gone = added_by_a_test:gone
        [metricforge.samplers]
        random-pairs = added_by_a_test:Good
        [metricforge.miners]
        bad = added_by_a_test:Bad
    """)
    )

    def run(*words: object, broken: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
        fails.write_text(ADDED.format(fails=broken))
        return metricforge(*words, env={**first_on_path(tmp_path), **env}, cwd=tmp_path)

    return run


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_a_word_more_or_less_lists_the_same() -> None:
    plain, listed = metricforge("plugins"), metricforge("plugins", "list")
    assert plain.returncode == listed.returncode == 0
    assert plain.stdout == listed.stdout
    assert plain.stderr == listed.stderr == ""
    heads = [line for line in listed.stdout.splitlines() if not line.startswith(" ")]
    assert heads[: len(KINDS)] == [kind.plural for kind in KINDS.values()]


@pytest.mark.parametrize("word", ["sampler", "samplers"])
def test_the_list_of_one_kind_is_a_table(word: str) -> None:
    done = metricforge("plugins", "list", word)
    head, *rows = done.stdout.splitlines()
    assert head == "samplers"
    (row,) = (row for row in rows if row.startswith("  hard-triplet "))
    assert re.search(
        r"hard-triplet +metricforge \d\S+ +not imported +P x K batches; for each anchor", row
    )
    starts = {re.match(r"  \S+ +", row).end() for row in rows}  # type: ignore[union-attr]
    assert len(starts) == 1, "the columns are aligned"


def test_the_records_say_all_of_it() -> None:
    found = records(metricforge("plugins", "list", "--json"))
    assert {record["kind"] for record in found} >= set(KINDS)
    (record,) = (r for r in found if (r["kind"], r["name"]) == ("loss", "triplet"))
    assert record.pop("version")
    assert record == {
        "kind": "loss",
        "name": "triplet",
        "distribution": "metricforge",
        "status": "not imported",
        "reason": "",
        "location": "metricforge_standard.losses.triplet:Triplet",
        "summary": "Wants the negative farther than the positive by a margin (Schroff 2015, "
        "Hermans 2017).",
    }


def test_a_narrow_terminal_cuts_lines_and_a_pipe_does_not() -> None:
    shown = uncoloured(on_a_terminal("plugins", columns=80))
    assert max(map(len, shown.splitlines())) == 80
    assert "…" in shown
    piped = metricforge("plugins", env={"COLUMNS": "80"}).stdout
    assert "…" not in piped
    assert max(map(len, piped.splitlines())) > 100
    assert "\x1b" not in piped


def test_broken_and_shadowed_ones_say_why(added: Command) -> None:
    found = {(r["name"], r["distribution"]): r for r in records(added("plugins", "list", "--json"))}
    assert found["gone", "added-by-a-test"]["reason"] == "its module does not define 'gone'"
    assert found["train", "added-by-a-test"]["reason"] == "metricforge has this command itself"
    for owner, other in (("metricforge", "added-by-a-test"), ("added-by-a-test", "metricforge")):
        reason = f"{other} has the name too: write {owner}:random-pairs"
        record = found["random-pairs", owner]
        assert (record["status"], record["reason"]) == ("shadowed", reason)
    lines = added("plugins", "list", "command").stdout.splitlines()
    assert "  gone    added-by-a-test 1.2" in "\n".join(lines)
    assert any(re.search(r"gone .* broken +its module does not define 'gone'", n) for n in lines)


def test_import_finds_what_the_source_does_not_tell(added: Command) -> None:
    words = ("plugins", "list", "command", "--json")
    before = {r["name"]: r["status"] for r in records(added(*words, broken=True))}
    after = {r["name"]: r for r in records(added(*words, "--import", broken=True))}
    assert before["say"] == "not imported"
    assert (after["say"]["status"], after["say"]["reason"]) == ("broken", "RuntimeError: no luck")


def test_show_prints_what_there_is_to_know() -> None:
    done = metricforge("plugins", "show", "sampler", "hard-triplet", env={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    head, *rest = done.stdout.splitlines()
    assert re.fullmatch(r"sampler hard-triplet  \(metricforge \d\S+\)", head)
    text = "\n".join(rest)
    assert max(map(len, rest)) <= 80 or "Written in" in max(rest, key=len)
    above, options = text.split("\nOptions\n")
    assert "Reference: Hermans et al., In Defense of the Triplet Loss" in above
    assert "Args:" not in text
    assert text.count("Images of each class in a batch (K)") == 1
    assert "Images of each class in a batch (K)" in options
    assert re.search(r"^  per_class +int( or none)? +default \S+$", text, re.M)
    assert re.search(r"^Asks the core for: labels$", text, re.M)
    assert re.search(r"^Written in /.*hard_triplet\.py:\d+$", text, re.M)
    assert text.endswith("Try it:    metricforge train --sampler hard-triplet")


def test_show_as_json() -> None:
    done = metricforge("plugins", "show", "dataset", "folder", "--json")
    (record,) = records(subprocess.CompletedProcess([], 0, f"[{done.stdout}]", done.stderr))
    options = {option["name"]: option for option in record["options"]}  # type: ignore[index]
    assert options["path"].pop("help").startswith("Folder of class folders")
    assert options["path"] | {"type": "-"} == {
        "name": "path", "type": "-", "required": True, "default": None,
    }  # fmt: skip
    assert record["fault"] == ""
    assert record["asks"] == []
    assert record["example"] == "metricforge train --dataset folder:path=PATH"
    assert Path(record["file"]).name == "folder.py"
    assert int(record["line"]) > 1


def test_show_lists_a_family_in_lines_that_fit() -> None:
    done = metricforge("plugins", "show", "loss", "pml.", env={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    assert "pml.TripletMarginLoss" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


UNKNOWN = [
    (["show", "sampler", "hard-triplett"], "did you mean 'hard-triplet'?"),
    (["show", "loss", "pml.TripletMarginLos"], "did you mean 'TripletMarginLoss'?"),
    (["show", "samplr", "x"], "unknown kind 'samplr'; did you mean 'sampler'?"),
    (["show", "command", "nothing"], "unknown command 'nothing'"),
    (["list", "samplr"], "did you mean 'sampler'?"),
    (["check", "hard-triplett"], "did you mean 'hard-triplet'?"),
    (["check", "hard-triplet", "--kind", "loss"], "unknown component or distribution"),
    (["check", "random"], "'random' is a search, which the kit does not check"),
    (["chek"], "unknown command 'chek'; did you mean 'check'?"),
    (["new", "samplr", "my-idea"], "did you mean 'sampler'?"),
    (["new", "sampler", "My Idea"], "small letters"),
]


@pytest.mark.parametrize(("words", "told"), UNKNOWN, ids=[" ".join(words) for words, _ in UNKNOWN])
def test_what_nothing_is_called_is_exit_code_2(words: list[str], told: str, tmp_path: Path) -> None:
    done = metricforge("plugins", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_check_passes_a_component_that_holds() -> None:
    done = metricforge("plugins", "check", "random-pairs", env={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    head, *rest = done.stdout.splitlines()
    assert head.startswith("sampler random-pairs  (metricforge ")
    assert rest
    assert all(re.match(r"  (passed|skipped|noted  |failed )|           ", line) for line in rest)


def test_check_means_the_kinds_that_have_the_member() -> None:
    done = metricforge("plugins", "check", "pml.TripletMarginLoss", "--json")
    (record,) = json.loads(done.stdout)
    assert (record["kind"], record["spec"]) == ("loss", "pml.TripletMarginLoss")


def test_check_of_what_fails_is_exit_code_4(added: Command) -> None:
    done = added("plugins", "check", "bad", "--json")
    assert done.returncode == 4
    (record,) = json.loads(done.stdout)
    assert record["passed"] is False
    failed = [finding for finding in record["findings"] if finding["outcome"] == "failed"]
    assert len(failed) == 1
    assert done.stderr == "error: 1 check failed, of miner bad.\n"
    assert record["distribution"] == "added-by-a-test 1.2"


def test_new_writes_a_plugin_and_says_what_to_do_next(tmp_path: Path) -> None:
    done = metricforge("plugins", "new", "sampler", "my-idea", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (tmp_path / "my-idea").iterdir())
    assert "pyproject.toml" in files
    assert done.stdout == (
        f"wrote my-idea: {', '.join(files)}\n\n"
        "  pip install --editable my-idea\n  metricforge train --sampler my-idea\n"
    )
    again = metricforge("plugins", "new", "sampler", "my-idea", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_new_names_the_option_that_takes_the_kind(tmp_path: Path) -> None:
    folder = tmp_path / "my-jitter"
    done = metricforge("plugins", "new", "augmentation", "my-jitter", "--out", folder)
    assert done.stdout.endswith("metricforge train --augment my-jitter\n")


def test_new_as_json_names_the_folder_and_the_next_words(tmp_path: Path) -> None:
    folder = tmp_path / "a place"
    done = metricforge("plugins", "new", "command", "my-word", "--out", folder, "--json")
    assert json.loads(done.stdout) == {
        "folder": str(folder),
        "kind": "command",
        "name": "my-word",
        "next": [f"pip install --editable '{folder}'", "metricforge my-word --help"],
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_the_core_has_is_not_begun(name: str, tmp_path: Path) -> None:
    done = metricforge("plugins", "new", "command", name, cwd=tmp_path)
    assert done.returncode == 2
    assert f"metricforge has the command '{name}' itself" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_commands_of_plugins_run_and_can_not_replace_the_cores(added: Command) -> None:
    assert added("say", "--times", 2).stdout == "said said \n"
    assert "--sampler" in added("train", "--help").stdout
    assert added("added-by-a-test:train").stdout == "the plugin's\n"
    helped = added("--help").stdout
    assert re.search(r"say +Say it. \(added-by-a-test\)", helped)
    assert re.search(r"train +Train an embedding", helped)
    assert added("refuse").returncode == 2


def test_a_command_that_can_not_be_imported_costs_no_other(added: Command) -> None:
    fallen = added("say", broken=True)
    assert fallen.returncode == 4
    assert "command 'say' of added-by-a-test 1.2" in fallen.stderr
    assert "RuntimeError: no luck" in fallen.stderr
    assert added("--help", broken=True).returncode == 0
    assert added("plugins", broken=True).returncode == 0
    env = {"_METRICFORGE_COMPLETE": "bash_complete", "COMP_WORDS": "metricforge ",
           "COMP_CWORD": "1"}  # fmt: skip
    completed = added(broken=True, **env)
    assert "plain,say\n" in completed.stdout
    assert completed.stderr == ""


@pytest.mark.parametrize("word", ["trian", "nobody:say", "added-by-a-test:sai"])
def test_an_unknown_command_is_exit_code_2(added: Command, word: str) -> None:
    done = added(word)
    assert done.returncode == 2
    assert f"unknown command '{word}'" in done.stderr
