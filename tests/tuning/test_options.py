"""What texts of options to search mean, and which are refused with what to do."""

from __future__ import annotations

import pytest

from metricforge import Recipe, Registry
from metricforge.errors import MetricForgeError, UsageError
from metricforge.recipes.recipe import options
from metricforge.spec import Spec
from metricforge.tuning.options import carried_out, read_options
from metricforge.tuning.space import Choice, Real, Whole

RECIPE = Recipe(loss="triplet:margin=0.2")


def read(*texts: str, recipe: Recipe = RECIPE) -> tuple[object, ...]:
    return read_options(texts, recipe, Registry.installed())


def refused(*texts: str, recipe: Recipe = RECIPE) -> str:
    with pytest.raises(MetricForgeError) as caught:
        read(*texts, recipe=recipe)
    assert type(caught.value) is UsageError
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("sampler.per_class=2,4,8", Choice("sampler.per_class", ("2", "4", "8"))),
        ("sampler.per_class=2..8", Whole("sampler.per_class", 2, 8)),
        ("loss.margin=0.05..0.5", Real("loss.margin", 0.05, 0.5)),
        ("loss.margin=.05...5", Real("loss.margin", 0.05, 0.5)),
        ("loss.soft=none,0.1", Choice("loss.soft", ("none", "0.1"))),
        ("loss.active_only", Choice("loss.active_only", ("true", "false"))),
        ("head.normalize", Choice("head.normalize", ("true", "false"))),
        ("optimizer.lr=1e-4..1e-2", Real("optimizer.lr", 1e-4, 1e-2)),
        ("schedule.warmup=0,0.1", Choice("schedule.warmup", ("0", "0.1"))),
        ("dim=32,64", Choice("dim", ("32", "64"))),
        ("dim=8..64", Whole("dim", 8, 64)),
        ("channels_last", Choice("channels_last", ("true", "false"))),
        ("optimizer=adam,sgd", Choice("optimizer", ("adam", "sgd"))),
        (
            'sampler="hard-triplet:classes=4,per_class=2",random-pairs',
            Choice("sampler", ("hard-triplet:classes=4,per_class=2", "random-pairs")),
        ),
    ],
)
def test_an_option_has_the_values_that_are_written(text: str, dimension: object) -> None:
    assert read(text) == (dimension,)


def test_what_is_searched_reads_back_as_it_was_written() -> None:
    for text in ('sampler="hard-triplet:classes=4,per_class=2",random-pairs', "dim=8..64",
                 "loss.margin=0.05..0.5", "loss.active_only=true,false"):  # fmt: skip
        assert [str(dimension) for dimension in read(text)] == [text]


def test_the_order_is_the_one_that_was_given() -> None:
    found = read("sampler.per_class=2,4", "sampler=hard-triplet,balanced", "dim=2,4")
    assert [d.key for d in found] == ["sampler.per_class", "sampler", "dim"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sampler.per_clas=2,4", "did you mean 'per_class'?"),
        ("samplr.per_class=2,4", "did you mean 'sampler'?"),
        ("sampler=hard-tripet", "did you mean 'hard-triplet'?"),
        ("dimm=2,4", "did you mean 'dim'?"),
        ("optimizer=adm", "did you mean 'adam'?"),
        ("optimizer.rl=1,2", "did you mean 'lr'?"),
        ("sampler.per_class=2,many", "takes int, not 'many'"),
        ("sampler.per_class=0.5..2", "not '0.5'"),
        ("loss.margin=high", "takes float, not 'high'"),
        ("loss.margin=0.5..0.05", "the lower first"),
        ("loss.margin=0..inf", "finite"),
        ("loss.margin=nan..1", "finite"),
        ("loss.margin", "a range, loss.margin=LOW..HIGH"),
        ("sampler", "needs values"),
        ("dim=2,2", "given twice"),
        ('sampler="hard-triplet', "can't read the values"),
        ("dim=", "takes int, not ''"),
        ("seed=1,2", "all trials must have the same seed"),
        ("augment=flip,erase", "is a list; give it with the recipe"),
        ("select=map@r,recall@1", "all trials must have the same select"),
        ("dataset.size=8,16", "unknown component to search 'dataset'"),
        ("miner.margin=1,2", "as an option, miner=NAME"),
        ("sampler.per_class.x=2", "unknown option"),
        ("sampler=", "name is missing"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, says: str) -> None:
    assert says in refused(text)


@pytest.mark.parametrize("name", list(options()))
def test_every_field_of_a_recipe_is_searched_or_refused(name: str) -> None:
    each = options()[name]
    usual = {"miner": "semihard", "precision": "fp32,bf16", "batch_norm": "batch,frozen"}
    if each.about.tunable:
        values = usual.get(name) or ("true,false" if each.type is bool else "1,2")
        read(f"{name}={getattr(RECIPE, name) if each.type is Spec and name != 'miner' else values}")
    else:
        told = (
            "it is a list"
            if name in ("augment", "adapters", "hooks")
            else "all trials must have the same"
        )
        assert told in refused(f"{name}=1,2")


def test_nothing_to_search_and_the_same_twice_are_refused() -> None:
    assert "nothing to search" in refused()
    assert "given twice" in refused("dim=2,4", "dim=8")


def test_an_option_must_be_one_of_every_component_that_may_be_chosen() -> None:
    says = refused("sampler=hard-triplet,random-pairs", "sampler.per_class=2,4")
    assert "option of sampler 'random-pairs'" in says


def test_a_recipe_is_carried_out_with_what_was_chosen() -> None:
    chosen = {
        "sampler.per_class": "4", "sampler": "hard-triplet:classes=3", "loss.margin": "0.5",
        "dim": "8", "channels_last": "false", "optimizer.lr": "0.01",
    }  # fmt: skip
    recipe = carried_out(RECIPE, chosen)
    assert str(recipe.sampler) == "hard-triplet:classes=3,per_class=4"
    assert str(recipe.loss) == "triplet:margin=0.5"
    assert (recipe.dim, recipe.channels_last) == (8, False)
    assert str(recipe.optimizer) == "adamw:lr=0.01"
