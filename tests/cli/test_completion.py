"""What the shell gets when TAB is pressed: names, from metadata alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.process import COMMAND, metricforge

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
SAMPLERS = set(PROJECT["entry-points"]["metricforge.samplers"])
PROGRAM = (
    "import sys\n"
    "from metricforge.cli import main\n"
    "sys.argv = ['metricforge']\n"
    "try:\n"
    "    main()\n"
    "finally:\n"
    "    heavy = {'torch', 'numpy', 'metricforge_standard', 'metricforge_optuna'}\n"
    "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
)


def environment(shell: str, *words: str) -> dict[str, str]:
    """The protocol of click: the words so far, the last of them unfinished."""
    before, incomplete = words[:-1], words[-1]
    line = " ".join(["metricforge", *before])
    last = {"fish": incomplete}.get(shell, str(len(words)))
    line = line if shell == "fish" else f"{line} {incomplete}"
    return {"_METRICFORGE_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": last}


def offered(*words: str, shell: str = "bash") -> set[str]:
    """What is offered for the last of these words."""
    done = metricforge(env=environment(shell, *words))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    if shell == "zsh":
        return set(lines[1::3])
    return {line.partition(",")[2].partition("\t")[0] for line in lines if line}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_offered_the_samplers(shell: str) -> None:
    assert offered("train", "--sampler", "", shell=shell) >= SAMPLERS
    random = {"random-hard-triplet", "random-pairs", "random-triplets"}
    assert offered("train", "--sampler", "rand", shell=shell) == random


def test_zsh_and_fish_are_told_what_each_is() -> None:
    line = "Every image once as an anchor, paired at random with one of its class or of another."
    zsh = metricforge(env=environment("zsh", "train", "--sampler", "random-p"))
    assert zsh.stdout == f"plain\nrandom-pairs\n{line}\n"
    fish = metricforge(env=environment("fish", "train", "--sampler", "random-p"))
    assert fish.stdout == f"plain,random-pairs\t{line}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "--loss", "tri"], {"triplet"}),
        (["train", "--loss", "pm"], {"pml."}),
        (
            ["train", "--protocol", ""],
            {"clustering", "identification", "knn", "oneshot", "retrieval", "verification"},
        ),
        (["train", "--validation", "ret"], {"retrieval"}),
        (["train", "--loss", "triplet", "--protocol", "one"], {"oneshot"}),
        (["train", "--head", "m"], {"mlp"}),
        (["train", "--dataset", "f"], {"fashion-mnist", "folder"}),
        (["train", "--sampler", "zzz"], set()),
        (["evaluate", "run", "--protocol", "re"], {"retrieval"}),
        (["plugins", "s"], {"show"}),
        (["plugins", "list", "s"], {"sampler", "schedule", "search"}),
        (["plugins", "show", "comm"], {"command"}),
        (["plugins", "show", "loss", "con"], {"contrastive"}),
        (["plugins", "show", "losses", "con"], {"contrastive"}),
        (["plugins", "show", "nothing", ""], set()),
        (["plugins", "check", "hard-t"], {"hard-triplet"}),
        (["plugins", "new", "pro"], {"protocol"}),
        (["plugins", "check", "--kind", "hea"], {"head"}),
        (["tra"], {"train"}),
        (["train", "--sampl"], {"--sampler"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_tab_offers_what_fits_there(words: list[str], expected: set[str]) -> None:
    assert offered(*words) == expected


def test_the_first_word_is_every_command_there_is() -> None:
    assert offered("") >= {"encode", "evaluate", "plugins", "train"}
    assert offered("plugins", "") == {"check", "list", "new", "show"}


def test_after_an_unknown_command_nothing_is_said() -> None:
    # `offered` wants an empty stderr: a message would stand in the line that is being typed.
    assert offered("frobnicate", "") == offered("")
    assert offered("plugins", "frobnicate", "") == offered("plugins", "")
    assert offered("nobody:train", "zzz") == set()


@pytest.mark.parametrize(
    "words", [("train", "--sampler", ""), ("plugins", "show", "loss", ""), ("",), ("tu",)], ids=str
)
def test_nothing_is_imported_to_offer_it(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, **environment("bash", *words)},
    )
    assert done.stdout.startswith("plain,"), done.stderr
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_is_given(shell: str) -> None:
    done = metricforge(env={"_METRICFORGE_COMPLETE": f"{shell}_source"})
    # click asks bash for its version, which must be there and new enough.
    assert done.returncode == 0, done.stderr
    assert f"_METRICFORGE_COMPLETE={shell}_complete" in done.stdout
    assert COMMAND.name in done.stdout


def test_the_restriction_holds_for_tab_too() -> None:
    env = environment("bash", "train", "--sampler", "") | {"METRICFORGE_PLUGINS": ""}
    found = {line.partition(",")[2] for line in metricforge(env=env).stdout.splitlines()}
    assert found == SAMPLERS
