"""Recipes and their records, and what the folder of a run refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from metricforge.errors import ArtefactError, UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.runs.folder import RunFolder, free_name
from metricforge.spec import Spec


def test_a_recipe_survives_its_record(tmp_path: Path) -> None:
    recipe = Recipe(sampler="balanced:per_class=3", dim=7, epochs=2, channels_last=False)
    (tmp_path / "config.toml").write_text(recipe.to_toml())
    assert Recipe.from_toml(tmp_path / "config.toml").record() == recipe.record()


BAD = [
    ("dimm = 3", "did you mean 'dim'"),
    ('dim = "3"', "takes int"),
    ("channels_last = 1", "takes bool"),
    ("dim = [", "can't read"),
    ("sampler = 3", "takes str"),
    ("protocols = [3]", "protocols with 3 in it; it takes str"),
    ("protocols = 3", "protocols with 3 in it"),
    ('augment = [["flip"]]', r"has augment with \['flip'\] in it; it takes a list of specs"),
    ("augment = [1, 2]", "has augment with 1 in it"),
    ("augment = {flip = 1}", "has augment with"),
]


@pytest.mark.parametrize(("text", "told"), BAD, ids=[text for text, _ in BAD])
def test_a_bad_config_is_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(UsageError, match=told):
        Recipe.from_toml(tmp_path / "config.toml")


def test_no_augmentation_is_an_empty_list_and_the_default_is_none() -> None:
    with pytest.raises(UsageError, match=r"train\(\) has hooks with None in it; .* none is \[\]"):
        Recipe.from_values({"hooks": None}, "train()")
    assert Recipe.from_values({"augment": None}, "train()").augment is None
    assert Recipe(augment=("none",)).augment == ()
    with pytest.raises(UsageError, match="augment none goes alone"):
        Recipe(augment=("none", "crop"))
    assert Recipe.from_values({"augment": []}, "train()").augment == ()
    assert Recipe.from_values({"augment": "flip"}, "train()").augment == (Spec("flip"),)


def test_one_protocol_may_be_a_plain_string() -> None:
    assert Recipe.from_values({"protocols": "oneshot"}, "here").protocols == (Spec("oneshot"),)


def test_differences_name_both_sides_and_leave_out_where_data_lies() -> None:
    assert Recipe(dim=3, data_root="a").differences(Recipe(dim=4, data_root="b")) == ["dim: 3 / 4"]


def test_overwriting_touches_runs_only(tmp_path: Path) -> None:
    precious = tmp_path / "project" / "model" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    with (
        pytest.raises(UsageError, match="no run to overwrite"),
        RunFolder.created(tmp_path / "project", overwrite=True),
    ):
        pass
    assert precious.read_text() == "mine"


def test_overwriting_a_run_clears_it_and_leaves_other_files(tmp_path: Path) -> None:
    with RunFolder.created(tmp_path / "r") as folder:
        folder.config.write_text("")
        folder.append(folder.metrics, {"step": 1})
        (tmp_path / "r" / "notes.md").write_text("mine")
    with RunFolder.created(tmp_path / "r", overwrite=True):
        pass
    assert not folder.metrics.exists()
    assert (tmp_path / "r" / "notes.md").read_text() == "mine"


def test_what_a_run_leaves_that_never_began_is_no_hindrance(tmp_path: Path) -> None:
    with RunFolder.created(tmp_path / "r"):
        pass
    with RunFolder.created(tmp_path / "r") as folder:
        assert folder.plots.is_dir()
    # The same without the mark of a run: somebody's own plots.
    (tmp_path / "mine" / "plots").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not empty"):
        RunFolder.refuse_used(tmp_path / "mine", overwrite=False)


def test_names_count_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert free_name(tmp_path, "a") == tmp_path / "a-3"
    assert free_name(tmp_path, "b") == tmp_path / "b"


def test_a_cut_last_line_of_metrics_is_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert folder.records(folder.metrics) == [{"step": 1}, {"step": 2}]


def test_what_is_no_run_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no config\.toml"):
        RunFolder.open(tmp_path)


def test_a_recipe_of_defaults_can_be_given_again() -> None:
    given = {key: value for key, value in vars(Recipe()).items() if value is not None}
    assert Recipe.from_values(given, "x") == Recipe()
    for wrong in ({"dim": True}, {"compile": 1}, {"sampler": ["a", "b"]}, {"split": 3}):
        with pytest.raises(UsageError, match="it takes"):
            Recipe.from_values(wrong, "x")


@pytest.mark.parametrize("number", ["1" + "0" * 400, "0x" + "f" * 5000, "[1, 0x10000000000000000]"])
def test_a_config_with_an_integer_of_more_than_64_bits_is_refused(number, tmp_path):
    (tmp_path / "config.toml").write_text(f"ema = {number}")
    with pytest.raises(UsageError, match="integer of more than 64 bits"):
        Recipe.from_toml(tmp_path / "config.toml")


def test_a_config_that_is_nested_too_deep_is_refused(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("dim = " + "[" * 20_000)
    with pytest.raises(UsageError, match=r"can't read the config .*config\.toml"):
        Recipe.from_toml(path)
