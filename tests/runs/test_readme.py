"""README.md of a run's model: what it says, what it does not, and when it is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import metricforge as mf
from metricforge.atomic_files import read_folder
from metricforge.contracts import Estimate
from metricforge.data.split_file import Part, Parts, Record
from metricforge.hub.readme import amended
from metricforge.image_index import ImageIndex
from metricforge.model_card import Card, PairThreshold, readme
from metricforge.recipes.recipe import Recipe
from metricforge.runs.readme.facts import Facts
from metricforge.runs.readme.page import page
from metricforge.runs.readme.training import excerpt
from metricforge.runs.summary import Summary
from tests.cli.small_run import PARTS, make_images
from tests.test_markdown import HOSTILE

CARD = Card(
    backbone="conv4:channels=4", head="linear", dim=64, shape=(1, 28, 28), mean=(0.5,), std=(0.2,),
    trained_on="glyphs", seen_classes=("anna", "bert"), split="5f" * 32,
    pair_thresholds=(PairThreshold(0.01, 0.7, 0.9, 0.005, 0.02),),
)  # fmt: skip


def estimate(value: float, n: int = 30) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05, n, "classes")


def facts(**changes: object) -> Facts:
    """A run of two training classes, one that validated and 30 that were held out."""
    held_out = tuple(f"held-out {number}" for number in range(30))
    parts = Parts(Part(("anna",), 10), Part(("bert",), 5), Part(held_out, 90))
    summary = Summary(
        results={
            "trained": {"map@r": estimate(0.7), "mrr": estimate(0.8)},
            "pixels": {"map@r": estimate(0.3)},
        },
        notes=("anna is confused with bert",),
        definitions={"map@r": "1/R times a sum"},
        dataset="glyphs", closed_set=False, test_classes=held_out, test_images=90,
        split_hash="5f" * 32, selected_epoch=3, selected_by="map@r on validation classes",
        validation={"map@r": 0.61234}, epochs=4, images_seen=1_234, seconds=12.6,
        training_notes=("anna has 2 images",), headline=("map@r",),
        tested_on="2 classes: anna, bert",
    )  # fmt: skip
    known = Facts(
        name="glyphs-run", card=CARD, recipe=Recipe(), summary=summary,
        split=Record(parts, closed_set=False, hash="5f" * 32),
        environment={"device_name": "AMD EPYC", "threads": 2, "versions": {"torch": "2.10"},
                     "components": {"backbone": "metricforge 0.1.0", "loss": "other 2.0"}},
        extended_after=[],
    )  # fmt: skip
    return replace(known, **changes)


def but(**changes: object) -> Facts:
    return facts(summary=replace(facts().summary, **changes))


def test_the_page_has_what_a_stranger_asks_for() -> None:
    shown = page(facts())
    for part in (
        "# An embedding of images, trained on glyphs\n",
        "maps an image to 64 numbers",
        'metricforge.load("path/to/this/folder")',
        "pip install metricforge\n```",
        "On 30 held-out classes, no image of which was used in training or selection (90 images)",
        "| map@r | 0.700 [0.650, 0.750] | 0.300 [0.250, 0.350] |",
        "pixels: the raw images, without a network. 95 % intervals in brackets, over 30 classes.",
        "- `map@r`: 1/R times a sum",
        'sampler = "hard-triplet"',
        "4 epochs, 1,234 images. The weights are those of epoch 3",
        "](training.png)",
        f"- split: {'5f' * 32}",
        "- train: 1 classes, 10 images",
        "- test: 30 classes, 90 images",
        "- device: AMD EPYC, 2 threads",
        "- time: 13 s of training steps",
        "Few classes chose the epoch: 1.",
        "| 0.7 | at most 1 % [0.5, 2] | 90 % |",
    ):
        assert part in shown, part
    assert "| mrr |" not in shown, "the headline alone"
    assert "other" not in shown.split("## Results")[0].replace("another", "")


def test_no_class_is_named() -> None:
    """Classes may be people; what the run notes of them stays in its folder."""
    shown = page(facts())
    assert not any(name in shown for name in ("anna", "bert", "held-out 1"))
    assert "the names of the 2 classes" in shown


def test_the_head_is_what_a_hub_reads() -> None:
    cards = pytest.importorskip("huggingface_hub").ModelCard
    data = cards(page(facts())).data
    assert (data.library_name, data.pipeline_tag) == ("metricforge", "image-feature-extraction")
    assert data.model_name == "glyphs-run"
    (result,) = data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("glyphs", "test")
    assert result.dataset_args == {"split_hash": "5f" * 32, "closed_set": False}
    assert (result.metric_type, result.metric_value) == ("map@r", 0.7)
    assert result.metric_name == "map@r, 95 % interval 0.650 to 0.750"
    assert "license" not in data.to_dict()
    vectors = replace(CARD, shape=(16,), mean=(0.0,), std=(2.0,))
    assert cards(page(facts(card=vectors))).data.pipeline_tag == "feature-extraction"


def test_closed_test_classes_show_validation() -> None:
    shown = page(but(results={}, headline=()))
    assert "The test classes stayed closed" in shown
    assert "| map@r | 0.612 |" in shown
    assert 'split: "validation"' in shown
    assert "It was tested" not in shown
    assert "none chose it" in page(but(results={}, headline=(), validation={}))
    assert "model-index" not in page(but(results={}, headline=(), validation={}))


@pytest.mark.parametrize(
    ("train", "validation", "told"),
    [
        (("a", "b"), (), "other images of the 2 classes that trained the model (closed set)"),
        (("a", "c"), (), "2 classes, 1 of which trained the model"),
        (("c",), ("b",), "2 classes that did not train the model; 1 of them chose its epoch"),
    ],
)
def test_classes_that_are_not_held_out_are_told(
    train: tuple[str, ...], validation: tuple[str, ...], told: str
) -> None:
    parts = Parts(Part(train, 4), Part(validation, 4), Part(("a", "b"), 4))
    shown = page(facts(split=Record(parts, closed_set=False, hash="x")))
    assert told in shown
    assert ("say nothing about new classes" in shown) == ("closed set" in told)


def test_limits_tell_of_baselines_and_of_pretraining() -> None:
    better = {"trained": {"map@r": estimate(0.3)}, "pixels": {"map@r": estimate(0.6)}}
    assert "raw pixels beat the trained network: map@r is 0.300" in page(but(results=better))
    assert "beat" not in page(facts())
    assert "started from pretrained weights" not in page(facts())
    environment = {**facts().environment, "weights": {"backbone": "5f"}}
    assert "started from pretrained weights" in page(facts(environment=environment))


def test_the_recipe_names_no_file_and_no_data() -> None:
    recipe = Recipe.from_values(
        {
            "dataset": "folder:path=/home/anna/photos", "split": "classes:train=anna",
            "backbone": "conv4:channels=4,weights=/home/anna/secret.pth",
            "head": "linear:weights=secret.pth", "loss": "triplet:margin=0.3",
            "hooks": ["x:path=y"],
        },
        "a test",
    )  # fmt: skip
    shown = excerpt(recipe)
    assert 'backbone = "conv4:channels=4,weights=FILE"' in shown
    assert 'head = "linear:weights=FILE"' in shown
    assert 'loss = "triplet:margin=0.3"' in shown
    assert not any(word in shown for word in ("anna", "secret", "photos", "hooks"))


def test_a_network_of_a_plugin_or_of_ones_own_says_so() -> None:
    owners = {"backbone": "vit-pack 2.1", "adapter lora": "loras 0.3", "loss": "other 1.0"}
    shown = page(facts(environment={**facts().environment, "components": owners}))
    assert "pip install metricforge\npip install loras==0.3\npip install vit-pack==2.1\n" in shown
    own = page(facts(card=replace(CARD, backbone="object mine:Net")))
    assert 'load("path/to/this/folder", backbone=your_backbone)' in own
    assert "metricforge index" not in own


names = st.one_of(st.text(max_size=30), st.sampled_from(HOSTILE))


def outline(markdown: str) -> list[str]:
    """The kinds of all parts of a page, without its head and what is text in it."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown.split("\n---\n", 1)[1])
    inner = [child.type for token in tokens for child in token.children or []]
    return [token.type for token in tokens] + [kind for kind in inner if kind != "text"]


@settings(max_examples=60, deadline=None)
@given(names, names, names)
def test_hostile_names_change_nothing_but_text(one: str, two: str, three: str) -> None:
    results = {f"trained{one}": {f"m{two}": estimate(0.5)}}
    card = replace(CARD, trained_on=one, backbone=f"conv4{two}x", split=f"x{three}")
    environment = {**facts().environment, "device_name": f"x{three}x", "versions": {one: two}}
    summary = replace(
        facts().summary, results=results, dataset=f"x{one}x", selected_by=f"x{two}",
        headline=(), definitions={f"m{two}": three}, validation={three: 0.5},
    )  # fmt: skip
    hostile = facts(name=three, card=card, summary=summary, environment=environment)
    benign = replace(
        hostile,
        name="n",
        card=replace(CARD, backbone="conv4"),
        environment={**environment, "device_name": "x", "versions": {"a": "b"}},
        summary=replace(
            summary, results={"trained": {"m": estimate(0.5)}}, dataset="x", selected_by="x",
            definitions={"m": "d"}, validation={"m": 0.5},
        ),
    )  # fmt: skip
    assert outline(page(hostile)) == outline(page(benign))
    assert outline("\n---\n" + readme(card)) == outline("\n---\n" + readme(CARD))
    page(hostile).encode()


def test_what_a_push_amends() -> None:
    shown = amended(page(facts()), "anna/glyphs", "cc-by-4.0", pictures=True)
    assert shown.startswith('---\nlicense: "cc-by-4.0"\nlibrary_name: "metricforge"\n')
    assert "path/to" not in shown
    assert shown.count("hub:anna/glyphs") == 4
    assert 'pip install "metricforge[hub]"\n' in shown
    assert shown.endswith("](answers.png)\n")
    again = amended(shown, "anna/glyphs", "mit", pictures=True)
    assert again == shown.replace('"cc-by-4.0"', '"mit"')
    short = amended(readme(CARD), "anna/glyphs")
    assert short.startswith('---\nlibrary_name: "metricforge"\n---\n\n# An embedding')
    assert 'metricforge.load("hub:anna/glyphs")' in short


def test_the_card_is_a_part_of_the_folder_and_of_no_hash(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    run = mf.train(
        dataset=f"npz:path={images}", split=PARTS, sampler="hard-triplet:classes=3,per_class=4",
        backbone="conv4:channels=4", augment=[], epochs=1, protocols=["retrieval"], device="cpu",
        dim=4, out=tmp_path / "run", progress=False,
    )  # fmt: skip
    files = read_folder(run.path / "model")
    assert files.keys() == {"README.md", "model.json", "training.png", "weights.safetensors"}
    assert files["training.png"] == (run.path / "plots" / "loss.png").read_bytes()
    assert len(files["training.png"]) < 200_000
    text = files["README.md"].decode()
    assert f"{run.results['trained']['map@r']}" in text
    assert json.loads((run.path / "split.json").read_text())["hash"] in text
    assert str(tmp_path) not in text
    # The short text of the same model: an index made with the one is one of the other.
    model = mf.load(run.path, device="cpu")
    rows = model.encode([])
    index = ImageIndex.of(run.path, model, [], rows)
    model.save(tmp_path / "bare")
    assert read_folder(tmp_path / "bare")["README.md"] == readme(model.card).encode()
    index.refuse_other_model(tmp_path / "bare", model.card)
