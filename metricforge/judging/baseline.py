"""What pretrained features are worth on a dataset, before anything is fine-tuned."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from metricforge.contracts import EvaluationProtocol, Pretrained, Result
from metricforge.errors import DataError, UsageError
from metricforge.judging.compare import paired_differences
from metricforge.judging.frozen_ways import Row, Way, backbone_ways, features_name, pixels_way
from metricforge.recipes.components import make_dataset, make_protocol
from metricforge.recipes.dataset_spec import located
from metricforge.recipes.feature_cache import cache_folder
from metricforge.recipes.pretrained import IDENTITY
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.report.progress import Listener
from metricforge.runs.build import Assembly, assemble
from metricforge.scoring.measure import SELECT, Embedded, results_of
from metricforge.spec import Spec

BACKBONES = ("efficientnet-lite0",)
CLASSES = 16
SAMPLERS = ("hard-triplet", f"multi-similarity:classes={CLASSES},per_class=4")

ALIKE = {
    "rates": "backbone=0", "orientations": 1, "protocols": ("retrieval",), "test": False,
}  # fmt: skip
"""The options of every training of a head."""


@dataclass(frozen=True)
class Baseline:
    """Ways to embed a dataset without fine-tuning, the best on the validation classes first.

    Args:
        dataset: Name of the dataset.
        rows: The ways.
        command: The command that trains on from the choice.
        validation_classes: Number of classes that rank the ways, and of their images.
        test_classes: Number of classes that test them, and of their images.
        closed_set: Whether the test classes are training classes too.
        notes: Sentences for the user.
    """

    dataset: str
    rows: tuple[Row, ...]
    command: tuple[str, ...]
    validation_classes: tuple[int, int]
    test_classes: tuple[int, int]
    closed_set: bool
    notes: tuple[str, ...] = ()

    @property
    def choice(self) -> Row:
        """The best way on the validation classes."""
        return self.rows[0]

    def to_json(self) -> dict[str, Any]:
        """The table as plain values for JSON."""
        return asdict(self) | {
            "choice": self.choice.name,
            "command": shlex.join(self.command),
        }


def baseline(
    dataset: Any,
    *,
    backbones: Sequence[str] | None = None,
    samplers: Sequence[str] | None = None,
    split: str | None = None,
    test: bool = True,
    data_root: str | None = None,
    device: str = "auto",
    feature_cache: str | None = None,
    seed: int = 0,
    registry: Registry | None = None,
    listener: Listener | None = None,
) -> Baseline:
    """Rank pixels, frozen features and heads on them, on validation and then on test classes.

    Each backbone embeds each image once. Its features are compared by their cosine, as they are and
    whitened, and by a linear head that each sampler trains on them. Of a dataset of vectors these
    are the features.

    Args:
        dataset: A spec, a path or a Dataset; of a Dataset the command that trains on is empty.
        backbones: Specs of pretrained backbones. Default: efficientnet-lite0, and none of vectors.
        samplers: Specs of the samplers that train a head, each with its default loss. Default:
            hard-triplet and multi-similarity.
        split: Spec of the split. Default: that of `train`.
        test: Whether to open the test classes.
        data_root: Folder of the datasets. Default: "data".
        device: "auto", "cpu", "cuda" or "mps".
        feature_cache: Folder that keeps the features, or "none". Default: ~/.cache/metricforge.
        seed: Seed of the heads.
        registry: Registry of components. Default: what is installed.
        listener: Receives the progress.

    Returns:
        The ways, the best first.

    Raises:
        DataError: No two classes validate, so that nothing can be ranked.
        UsageError: A component does not exist, or a backbone's package is not installed.
    """
    registry, listener = registry or Registry.installed(), listener or Listener()
    _refuse_no_specs("backbones", BACKBONES if backbones is None else backbones)
    _refuse_no_specs("samplers", SAMPLERS if samplers is None else samplers)
    options = {
        "dataset": dataset, "split": split, "seed": seed, "device": device,
        "feature_cache": None if feature_cache is None else str(feature_cache),
    } | ({"data_root": str(data_root)} if data_root else {})  # fmt: skip
    recipe = located(Recipe.from_values(ALIKE | options, "baseline()"), registry)
    if backbones is None:
        backbones, recipe = _usual_backbones(recipe, registry)
    ways: list[Way] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="metricforge-") as scratch:
        if cache_folder(recipe) is None:
            # Heads of one backbone share its features all the same.
            recipe = recipe.but(feature_cache=f"{scratch}/features")
        for text in backbones:
            own = recipe.but(backbone=Spec.parse(text))
            assembly = assemble(own.but(sampler=Spec.parse((samplers or SAMPLERS)[0])), registry)
            _refuse_unranked(assembly)
            if not ways and not assembly.dataset.of_vectors:
                ways.append(pixels_way(assembly))
            chosen = samplers or _suited_samplers(assembly)
            ways += backbone_ways(own, assembly, chosen, Path(scratch), registry, listener)
            notes += _notes(text, assembly)
        rows = _ranked(ways, assembly, test, registry)
    sizes = [(len(assembly.dataset.labels[part].unique()), len(part))
             for part in (assembly.split.validation, assembly.split.test)]  # fmt: skip
    return Baseline(
        dataset=assembly.dataset.name,
        rows=rows,
        command=_command(dataset, split, data_root, rows),
        validation_classes=sizes[0],
        test_classes=sizes[1],
        closed_set=assembly.split.closed_set,
        notes=tuple(dict.fromkeys(notes)),
    )


def _refuse_no_specs(name: str, values: Sequence[str]) -> None:
    """UsageError for anything but some specs."""
    some = not isinstance(values, str) and bool(values)
    if not (some and all(isinstance(value, str) for value in values)):
        raise UsageError(f"{name} is a list of specs, not {values!r}.")


def _usual_backbones(recipe: Recipe, registry: Registry) -> tuple[Sequence[str], Recipe]:
    """The default backbones, and the recipe; vectors are given to heads as they are."""
    assert not isinstance(recipe.dataset, str), "it is located"
    if make_dataset(registry, recipe.dataset, recipe.data_root).of_vectors:
        return (str(IDENTITY),), recipe.but(rates=None)
    return BACKBONES, recipe


def _suited_samplers(assembly: Assembly) -> tuple[str, ...]:
    """The default samplers, with no more classes in a batch than there are."""
    classes = len(assembly.dataset.labels[assembly.split.train].unique())
    if classes >= CLASSES:
        return SAMPLERS
    return tuple(each.replace(f"classes={CLASSES}", f"classes={classes}") for each in SAMPLERS)


def _notes(backbone: str, assembly: Assembly) -> Iterator[str]:
    """The notes on one backbone: that it is random, and those on the images as it gets them."""
    network = assembly.setup.model.backbone
    if not assembly.dataset.of_vectors and not (
        isinstance(network, Pretrained) and network.pretrained is True
    ):
        yield f"{backbone} begins with random weights, not with pretrained ones."
    yield from assembly.notes


def _refuse_unranked(assembly: Assembly) -> None:
    classes = assembly.dataset.labels[assembly.split.validation].unique()
    if len(classes) < 2:
        raise DataError(
            f"nothing can be ranked: {len(classes)} classes of '{assembly.dataset.name}' validate; "
            "take another split, e.g. --split random:validation=0.2,test=0.3."
        )


def _ranked(
    ways: Sequence[Way], assembly: Assembly, test: bool, registry: Registry
) -> tuple[Row, ...]:
    """The rows with their metrics, by the main one on the validation classes."""
    protocols = {"retrieval": make_protocol(registry, Spec.parse("retrieval"))}

    def results(indices: Tensor) -> dict[str, Result]:
        part = Embedded({way.row.name: way.embed(indices) for way in ways}, indices)
        return {name: _result(name, part, protocols, assembly) for name in part.rows}

    validation = results(assembly.split.validation)
    tested = results(assembly.split.test) if test else {}
    rows = []
    for way in ways:
        name, base = way.row.name, features_name(way.row.backbone)
        differs = base in tested and base != name
        rows.append(
            replace(
                way.row,
                validation=validation[name].estimates,
                test=tested[name].estimates if tested else {},
                differences=paired_differences(tested[base], tested[name]) if differs else {},
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.validation[SELECT].value))


def _result(
    name: str, part: Embedded, protocols: Mapping[str, EvaluationProtocol], assembly: Assembly
) -> Result:
    (result,) = results_of(name, part, protocols, assembly.dataset, None)
    return result


def _command(
    dataset: Any, split: str | None, data_root: str | None, rows: Sequence[Row]
) -> tuple[str, ...]:
    """The command that trains from the best way on: its backbone, by the best sampler for it."""
    if not isinstance(dataset, str | Path):
        return ()
    backbone = next(row.backbone for row in rows if row.backbone)
    samplers = (row.sampler for row in rows if row.sampler and row.backbone == backbone)
    options = {
        "--dataset": str(dataset), "--split": split, "--data-root": data_root and str(data_root),
        "--backbone": backbone if backbone != str(IDENTITY) else None,
        "--sampler": next(samplers, None),
    }  # fmt: skip
    words = (word for flag, value in options.items() if value for word in (flag, value))
    return ("metricforge", "train", *words)
