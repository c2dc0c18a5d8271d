"""What a suite's file means, and what it can't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metricforge.bench import Suite, read_suite
from metricforge.errors import UsageError


@pytest.fixture
def read(tmp_path: Path):
    """The suite of a text."""

    def suite(text: str) -> Suite:
        (tmp_path / "small.toml").write_text(text)
        return read_suite(tmp_path / "small.toml")

    return suite


def test_axes_are_multiplied_and_named_by_their_values(read) -> None:
    suite = read(
        """
        seeds = 2
        [base]
        dataset = "digits"
        [budget]
        images = 100
        [axes]
        sampler = ["hard-triplet", "random-triplets"]
        loss = {narrow = "triplet:margin=0.1", wide = "triplet:margin=0.5"}
        """
    )
    assert [one.name for one in suite.approaches] == [
        "hard-triplet · narrow",
        "hard-triplet · wide",
        "random-triplets · narrow",
        "random-triplets · wide",
    ]
    plan = suite.plan()
    # A seed of each approach comes before the second seed of any.
    assert [one.seed for one in plan] == [0] * 4 + [1] * 4
    assert plan[1].options == {
        "dataset": "digits", "images": 100, "sampler": "hard-triplet",
        "loss": "triplet:margin=0.5", "seed": 0,
    }  # fmt: skip


def test_named_approaches_meet_each_choice_of_the_axes(read) -> None:
    suite = read(
        """
        [[approach]]
        name = "a"
        loss = "triplet"
        [[approach]]
        name = "b"
        loss = "margin"
        [axes]
        dim = [2, 64]
        """
    )
    assert [one.name for one in suite.approaches] == [
        "a · dim 2",
        "a · dim 64",
        "b · dim 2",
        "b · dim 64",
    ]
    assert suite.plan()[3].options == {"loss": "margin", "dim": 64, "seed": 0}


def test_every_fold_is_a_split_of_its_own(read) -> None:
    plan = read('folds = 3\nseeds = 2\n[[approach]]\nname = "a"\n').plan()
    assert [(one.seed, one.fold) for one in plan] == [(s, f) for s in (0, 1) for f in (0, 1, 2)]
    assert [one.options["split"] for one in plan[:3]] == [f"folds:k=3,fold={f}" for f in range(3)]


def test_only_some_can_be_chosen_by_a_part_of_their_name(read) -> None:
    suite = read('[axes]\nsampler = ["hard-triplet", "random-triplets", "balanced"]\n')
    assert [one.name for one in suite.matching(["triplet"])] == ["hard-triplet", "random-triplets"]
    assert [one.name for one in suite.matching(["hard", "bal"])] == ["hard-triplet", "balanced"]
    with pytest.raises(UsageError, match="did you mean 'balanced'"):
        suite.matching(["balancde"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "can't read the suite"),
        ("", "names nothing to compare"),
        ("sedes = 3", "did you mean 'seeds'"),
        ("seeds = 0\n[axes]\ndim = [2]", r"small\.toml: Expected `int` >= 1 - at `\$\.seeds`"),
        ("seeds = true\n[axes]\ndim = [2]", r"Expected `int`, got `bool` - at `\$\.seeds`"),
        ("[axes]\ndim = 2", "the axis dim takes a list of values"),
        ("[axes]\ndim = []", "the axis dim takes a list of values"),
        ("[axes]\ndmi = [2]", "did you mean 'dim'"),
        ('[axes]\ndim = ["two"]', "dim = 'two'; it takes int"),
        ("[axes]\ndim = [0]", "dim must be at least 1"),
        ("[axes]\ndim = [2, 2]", "two approaches by the name 'dim 2'"),
        (
            '[base]\noptimizer = "object torch.optim:SGD"\n[axes]\ndim = [2]',
            "an object of the program that made the run",
        ),
        ("[[approach]]\ndim = 2", r"missing required field `name` - at `\$\.approach\[0\]`"),
        ('baseline = "dim 3"\n[axes]\ndim = [2, 33]', "did you mean 'dim 33'"),
        ("[budget]\nimages = 9\nepochs = 1\n[axes]\ndim = [2]", "images and epochs; give one"),
        ("[budget]\nhours = 3\n[axes]\ndim = [2]", "Choices: epochs, images, seconds"),
        ('folds = 3\n[base]\nsplit = "random"\n[axes]\ndim = [2]', "leave no choice of a split"),
        ("folds = 2\n[axes]\ndim = [2]", r"Expected `int` >= 3 - at `\$\.folds`"),
        ('folds = 3\n[axes]\nsplit = ["random"]', "leave no choice of a split"),
        ('[[also]]\nname = "x"\n[axes]\ndim = [2]', r"field `dataset` - at `\$\.also\[0\]`"),
        (
            '[[also]]\nname = "x"\ndataset = "mnist"\nprotocols = ["knn"]\nparts = 1',
            "unknown key of .*also",
        ),
        (
            '[[also]]\nname = "x"\ndataset = "mnist"\nprotocols = "knn"\n[axes]\ndim = [2]',
            r"at `\$\.also\[0\]\.protocols`",
        ),
        ("also = [3]\n[axes]\ndim = [2]", r"Expected `object`, got `int` - at `\$\.also\[0\]`"),
        ("[base]\nseed = 3\n[axes]\ndim = [2]", "gives seed, which a suite gives"),
        ("[axes]\ntest = [false]", "gives test, which a suite gives"),
        ('[[approach]]\nname = "a"\ndim = 3\n[axes]\ndim = [2]', "is an axis, too"),
        ('[budget]\nimages = 9\n[[approach]]\nname = "a"\nimages = 3', "the same for all"),
        ("[base]\ndataset = 2024-01-01\n[axes]\ndim = [2]", "it takes str"),
        ('[axes]\nsampler = [["a", "b"]]', "it takes str"),
        ('[[approach]]\nname = " "', "' ' can't be a name"),
        ('[[approach]]\nname = "pixels"', "'pixels', which every table has by itself"),
        ('[axes]\nbackbone = ["untrained network"]', "every table has by itself"),
        ('[[approach]]\nname = "untrained network (dim 2)"', "every table has by itself"),
        ('[[approach]]\nname = "a · b"', "'a · b' can't be a name, or a part of one"),
        ('[axes]\nsampler = {" " = "hard-triplet"}', "' ' can't be a name"),
        ("[tune]\ntrials = 0\n[axes]\ndim = [2]", r">= 1 - at `\$\.tune\.trials`"),
        ("[tune]\ntrials = 2\n[axes]\ndim = [2]", "nothing to tune of 'dim 2'"),
        ('[[approach]]\nname = "a"\ntune = ["dim=2,4"]', "has no .tune."),
        ("[tune]\ntrials = 2\noptions = [3]\n[axes]\ndim = [2]", r"at `\$\.tune\.options\[0\]`"),
        ("[tune]\ntrials = 2\nepochs = 2", r"unknown key of `\$\.tune`: 'epochs'.* Choices: opt"),
        ('[tune]\ntrials = 2\noptions = ["dim=2,4"]\n[axes]\ndim = [2]', "tunes dim, which is"),
        (
            '[tune]\ntrials = 2\noptions = ["loss.margin=0.1,0.2"]\n'
            '[axes]\nloss = ["triplet:margin=0.5"]',
            "tunes loss.margin, which is what 'triplet:margin=0.5' is compared for",
        ),
        (
            '[tune]\ntrials = 2\noptions = ["sampler=balanced,grouped"]\n'
            '[[approach]]\nname = "a"\nsampler = "hard-triplet"',
            "tunes sampler, which is what 'a' is compared for",
        ),
        ('[budget]\nimages = 9\n[[approach]]\nname = "a"\nseconds = 3', "has seconds of its own"),
        ('[budget]\nepochs = 9\n[[approach]]\nname = "a"\npatience = 3', "patience of its own"),
        (
            '[budget]\nepochs = 9\n[tune]\ntrials = 2\noptions = ["epochs=5,6"]\n[axes]\ndim = [2]',
            "'dim 2' .* has epochs of its own, but .budget. is the same",
        ),
    ],
)
def test_what_a_suite_can_not_mean_is_refused(read, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't read the suite .*gone\.toml"):
        read_suite(tmp_path / "gone.toml")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "benchmarks" / "suites").glob("*.toml")),
    ids=lambda path: path.stem,
)  # fmt: skip
def test_the_suites_that_ship_can_be_read(path: Path) -> None:
    suite = read_suite(path)
    assert suite.title
    assert len(suite.approaches) > 1 or suite.name == "omniglot-record"
    assert {one.approach for one in suite.plan()} == {one.name for one in suite.approaches}
    baselines = [one.name for one in suite.approaches if suite.is_baseline(one.name)]
    assert baselines or not suite.baseline


def test_the_example_of_the_guide_is_a_suite(read) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    example, further = (part.partition("```")[0] for part in guide.split("```toml")[1:3])
    suite = read(example)
    assert len(suite.approaches) == 6
    assert sum(suite.is_baseline(one.name) for one in suite.approaches) == 2
    assert suite.tuning is not None
    assert suite.tuning.trials == 20
    assert [one.name for one in read(further).approaches] == ["proxies"]


@pytest.mark.fault(114)
def test_the_suites_of_the_documentation_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    axes, approach, *_ = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "suite.toml"
    path.write_text(axes)
    assert len(read_suite(path).approaches) == 6
    base = axes.partition("[axes]")[0].replace('baseline = "random-triplets"', "")
    path.write_text(base + approach)
    assert [each.name for each in read_suite(path).approaches] == ["proxies"]
    path.write_text(axes + approach)
    with pytest.raises(UsageError, match=r"'proxies' in .* has sampler, which is an axis, too"):
        read_suite(path)
