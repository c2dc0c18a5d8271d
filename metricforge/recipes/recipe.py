"""A recipe: every option of a training, declared once, and its record as TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import tomli_w

from metricforge.decoding import parsed_toml
from metricforge.errors import UsageError, unknown
from metricforge.recipes.custom_object import OBJECT, Component, CustomObject
from metricforge.recipes.option import (
    COMPARED,
    DATA,
    JUDGING,
    LEARNING,
    MACHINE,
    NETWORK,
    RUN,
    Option,
    declared_options,
    option,
)
from metricforge.regular_file import read_text
from metricforge.spec import Spec

NONE = "none"
"""The value for no augmentation, if the default would be some."""

NO_COMPONENT = (int, float, list, tuple, dict, date)
"""The types that can't be a component, which is a spec or an object."""


def _own(name: str) -> Spec:
    return Spec(name, typed=False)


@dataclass(frozen=True)
class Recipe:
    """The options of a training.

    Components are specs ("hard-triplet:per_class=8") or Python objects: a class is built by the
    core, which passes what its ordinary parameters require; any other object is used as it is. A
    dataset may be the path of a folder or file, which is a text until it is looked up. None is the
    suitable default, which the record of the run then contains. `metricforge train --help` has a
    sentence on each option.

    Raises:
        UsageError: A value is out of bounds, or is no spec.
    """

    dataset: Component | str = option(
        _own("glyphs"), "Dataset, or the path of a folder, archive, CSV or npz file.", DATA,
        kind="dataset",
    )  # fmt: skip
    split: Spec | None = option(
        None, "random, groups, folds:k=4,fold=0, classes:train=0-4,..., images, official or "
        "saved:path=FILE.", DATA, usual="official, else random",
    )  # fmt: skip
    sampler: Component = option(
        _own("hard-triplet"),
        "Which images meet in a batch.",
        COMPARED,
        kind="sampler",
        tunable=True,
    )
    miner: Component | None = option(
        None, "Which tuples of the batch are compared.", COMPARED, usual="the sampler's",
        kind="miner", tunable=True,
    )  # fmt: skip
    loss: Component | None = option(
        None, "How the tuples are scored.", COMPARED, usual="the sampler's", kind="loss",
        tunable=True,
    )  # fmt: skip
    backbone: Component = option(
        _own("conv4"), "The network, image to features.", NETWORK, kind="backbone", tunable=True
    )
    head: Component = option(
        _own("linear"),
        "Features to embedding; of a pretrained backbone it begins at the principal "
        "components of the features.",
        NETWORK,
        kind="head",
        tunable=True,
    )
    adapters: tuple[Component, ...] = option(
        (), "Which weights of the backbone learn, e.g. last-blocks:n=2 or lora:rank=8. Repeatable.",
        NETWORK, kind="adapter", flag="adapter",
    )  # fmt: skip
    dim: int | None = option(
        None, "Dimensions of the embedding.", NETWORK, usual="64, or 512 of a pretrained backbone",
        least=1, tunable=True,
    )  # fmt: skip
    orientations: int | None = option(
        None, "1, 4 or 8: each class turned, and mirrored, counts as further classes.", DATA,
        usual="8 for few classes of drawings, else 1", tunable=True,
    )  # fmt: skip
    augment: tuple[Component, ...] | None = option(
        None, "Random changes of the training images, in order. Repeatable; none for none.", DATA,
        usual="crop and flip for photographs", kind="augmentation",
    )  # fmt: skip
    views: int | None = option(
        None, "Augmented views of each image that a frozen backbone, or its frozen lower part, "
        "embeds, once each; the epochs take them in turn.",
        DATA, usual="the images as they are", least=1,
    )  # fmt: skip
    train_scale: float | None = option(
        None, "Size of the network's input in training, as a fraction of that in evaluation, e.g. "
        "0.875: random crops enlarge what they show, which a smaller input makes up for; it is "
        "also faster. Of images, and a backbone that learns.",
        LEARNING, usual="1", metavar="FRACTION", above=0.25, below=2, tunable=True,
    )  # fmt: skip
    hooks: tuple[Component, ...] = option(
        (), "Hook to run during training, e.g. tensorboard. Repeatable.", RUN, kind="hook",
        flag="hook", aside=True,
    )  # fmt: skip
    epochs: int | None = option(
        None, "Passes over the train set.", LEARNING, usual="by its size", least=1, tunable=True
    )
    images: int | None = option(
        None, "Train until the network has seen this many images.", LEARNING, least=1
    )
    seconds: float | None = option(
        None,
        "Train for this long, counting steps alone: validation and a sampler's refresh come on "
        "top. The result then depends on the machine.",
        LEARNING,
        above=0,
    )
    optimizer: Component = option(
        _own("adamw"), "How a gradient becomes a step, e.g. adamw:lr=1e-3,weight_decay=1e-4; of a "
        "pretrained backbone lr is 1e-4 by default.",
        LEARNING, kind="optimizer", tunable=True,
    )  # fmt: skip
    schedule: Component = option(
        _own("cosine"), "The learning rate over the training, e.g. cosine:warmup=0.05,end=0.1: "
        "rise over a twentieth, fall to a tenth.", LEARNING, kind="schedule", tunable=True,
    )  # fmt: skip
    rates: str | None = option(
        None, "Factors on the learning rate of backbone, head and loss, e.g. "
        "backbone=0.1,loss=100; 0 freezes.", LEARNING, metavar="PART=FACTOR,...",
        usual="1, or backbone=0.3 of a pretrained one",
    )  # fmt: skip
    freeze: int = option(
        0, "Epochs at the start in which the backbone is not trained.", LEARNING,
        metavar="EPOCHS", least=0, tunable=True,
    )  # fmt: skip
    batch_norm: str | None = option(
        None, "batch, or frozen: by its running statistics.", LEARNING, metavar="NAME",
        usual="batch, or frozen of a pretrained backbone", choices=("batch", "frozen"),
        tunable=True,
    )  # fmt: skip
    clip: float | None = option(
        None, "Scale longer gradients to this length.", LEARNING, metavar="NORM", above=0,
        tunable=True,
    )  # fmt: skip
    ema: float | None = option(
        None, "Evaluate and save an exponential moving average of the weights with this decay, "
        "e.g. 0.999; it is lower in the first steps.", LEARNING, metavar="DECAY", above=0, below=1,
        tunable=True,
    )  # fmt: skip
    patience: int | None = option(
        None, "Stop after this many epochs without a better score.", LEARNING, metavar="EPOCHS",
        least=1,
    )  # fmt: skip
    chunk: int | None = option(
        None, "Images that the network embeds at a time; the loss still compares the whole batch.",
        LEARNING, metavar="IMAGES", least=1,
    )  # fmt: skip
    accumulate: int = option(
        1, "Batches of a step, each compared by itself.", LEARNING, metavar="BATCHES", least=1,
        tunable=True,
    )  # fmt: skip
    protocols: tuple[Spec, ...] = option(
        (_own("retrieval"), _own("oneshot")), "How to test, e.g. oneshot:way=20,shot=1. "
        "Repeatable.", JUDGING, kind="protocol", flag="protocol",
    )  # fmt: skip
    validation: Spec = option(
        _own("retrieval"), "Protocol on validation classes after each epoch.", JUDGING,
        kind="protocol",
    )  # fmt: skip
    select: str = option(
        "map@r", "Its metric that chooses the best epoch.", JUDGING, metavar="NAME"
    )
    seed: int = option(0, "Seed of the weights and the batches.", LEARNING, least=0)
    device: str = option("auto", "auto, cpu, cuda or mps.", MACHINE, metavar="NAME")
    precision: str = option("fp32", "fp32, bf16 or fp16.", MACHINE, metavar="NAME", tunable=True)
    channels_last: bool = option(
        True, "Memory layout of images.", MACHINE, switch="channels-last/channels-first",
        tunable=True,
    )  # fmt: skip
    compile: bool = option(False, "Compile the network: slow to start, then faster.", MACHINE)
    save_steps: int | None = option(
        None, "Also save a checkpoint every N steps.", RUN, metavar="N", least=1, aside=True
    )
    save_minutes: float = option(
        10.0, "Also save a checkpoint every N minutes.", RUN, metavar="N", least=0, aside=True
    )
    keep: int = option(
        2, "Number of newest checkpoints to keep.", RUN, metavar="N", least=1, aside=True
    )
    workers: int | None = option(
        None, "Threads that decode image files.", DATA, usual="one per core", metavar="N", least=1,
        aside=True,
    )  # fmt: skip
    data_root: str = option(
        "data", "Where datasets lie or are downloaded to.", DATA, metavar="DIR", aside=True,
        envvar="METRICFORGE_DATA",
    )  # fmt: skip
    feature_cache: str | None = option(
        None, "Folder that keeps the features of frozen backbones for later runs, or none.", DATA,
        usual="~/.cache/metricforge", metavar="DIR", aside=True, envvar="METRICFORGE_CACHE",
    )  # fmt: skip
    test: bool = option(
        True, "Evaluate the test classes at the end, or leave them closed.", JUDGING
    )

    def __post_init__(self) -> None:
        for name, each in options().items():
            value = getattr(self, name)
            if each.type is Spec:
                value = _components(name, value) if each.several else _component(name, value)
                object.__setattr__(self, name, value)
            each.check(value)
        if self.augment and any(str(step) == NONE for step in self.augment):
            if len(self.augment) > 1:
                raise UsageError("augment none goes alone: leave it out to take the others.")
            object.__setattr__(self, "augment", ())

    def to_toml(self) -> str:
        """The recipe as TOML, without what is None; an object is written as its name."""
        return tomli_w.dumps(self.record(), multiline_strings=False)

    def record(self) -> dict[str, Any]:
        """The options as plain values, components as texts; without what is None."""
        every = ((key, _recorded(value)) for key, value in vars(self).items())
        return {key: value for key, value in every if value is not None}

    @classmethod
    def from_toml(cls, path: Path) -> Recipe:
        """Read a recipe from a TOML file.

        A component that was a Python object remains the name in the record; :meth:`specs_only`
        rejects it.

        Args:
            path: The file.

        Returns:
            The recipe.

        Raises:
            UsageError: The file can't be read, or has an unknown key or a wrong type.
        """
        try:
            values = parsed_toml(read_text(path))
        except OSError as error:
            raise UsageError(f"can't read the config {path}: {error.strerror}.") from error
        except ValueError as error:
            raise UsageError(f"can't read the config {path}: {error}.") from error
        return cls.from_values(values, str(path))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: str) -> Recipe:
        """Check named values and make a recipe of them.

        Args:
            values: Values by the option's name.
            source: Where they come from, for errors.

        Returns:
            The recipe.

        Raises:
            UsageError: A key is unknown, or a value has a wrong type.
        """
        known = options()
        for key in values:
            if key not in known:
                raise unknown(f"key in {source}:", key, known)
        return cls(**{key: _typed(known[key], value, source) for key, value in values.items()})

    def specs_only(self, source: str) -> Recipe:
        """This recipe, if it names no object, which only its program can pass.

        Hooks are exempt: a run without one has the same result.

        Args:
            source: Where the recipe comes from, for the error.

        Returns:
            The same recipe.

        Raises:
            UsageError: It names an object.
        """
        for key, _, component in self.components():
            if (
                isinstance(component, CustomObject)
                and component.is_lost
                and not options()[key].about.aside
            ):
                raise UsageError(
                    f"{source} has {key} = '{component}', an object of the program that made the "
                    "run: it can't be repeated from the config alone; repeat it from there."
                )
        return self

    def components(self) -> Iterator[tuple[str, str, Component]]:
        """Each component that the recipe names, with its option and its kind."""
        for name, each in options().items():
            value = getattr(self, name)
            if each.about.kind and not isinstance(value, str):
                parts = (value or ()) if each.several else (value,)
                yield from (
                    (name, each.about.kind, component)
                    for component in parts
                    if component is not None
                )

    def but(self, **changes: Any) -> Recipe:
        """The same recipe with some options changed.

        Args:
            changes: New values by the option's name.

        Returns:
            A new recipe.
        """
        return dataclasses.replace(self, **changes)

    def aside(self) -> dict[str, Any]:
        """The options that may differ when a run is resumed, by name."""
        return {key: getattr(self, key) for key, each in options().items() if each.about.aside}

    def differences(self, other: Recipe) -> list[str]:
        """The options in which two recipes differ, except those of :meth:`aside`.

        Args:
            other: The other recipe.

        Returns:
            A text "key: mine / theirs" for each.
        """
        known = [key for key, each in options().items() if not each.about.aside]
        pairs = {
            key: [_recorded(getattr(recipe, key)) for recipe in (self, other)] for key in known
        }
        return [f"{key}: {mine} / {yours}" for key, (mine, yours) in pairs.items() if mine != yours]


def options() -> dict[str, Option]:
    """Every option of a recipe, by name."""
    return declared_options(Recipe)


def _component(name: str, value: Any) -> Any:
    if name == "dataset" and isinstance(value, Path):
        return str(value)
    if not isinstance(value, str):
        return value if isinstance(value, Spec | CustomObject | None) else CustomObject.of(value)
    if value.startswith(OBJECT):
        return CustomObject(value.removeprefix(OBJECT))
    # A path is no spec; the installed datasets decide which of both it is.
    return value if name == "dataset" else Spec.parse(value)


def _components(name: str, values: Any) -> Any:
    if values is None:
        return None
    parts = values if isinstance(values, tuple | list) else (values,)
    return tuple(_component(name, part) for part in parts)


def _recorded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return str(value) if isinstance(value, Spec | CustomObject) else value


def _typed(each: Option, value: Any, source: str) -> Any:
    """A value from a file or a program; UsageError for one of another type."""
    key = each.name
    if each.several:
        if value is None and each.default is None:
            return None
        parts = value if isinstance(value, tuple | list) else (value,)
        for part in parts:
            _check_part(each, part, source)
        return tuple(parts)
    if value is None and each.default is None:
        return None
    if each.type is Spec:
        wrong = value is None or isinstance(value, NO_COMPONENT)
        if wrong or not (each.takes_objects or isinstance(value, str | Spec)):
            raise UsageError(f"{source} has {key} = {value!r}; it takes str.")
        return value
    if each.type is float and type(value) in (int, float):
        return float(value)
    # A default is a text of its own kind; true is no number.
    if not isinstance(value, each.type) or (isinstance(value, bool) and each.type is not bool):
        raise UsageError(f"{source} has {key} = {value!r}; it takes {each.type.__name__}.")
    return value


def _check_part(each: Option, part: Any, source: str) -> None:
    held = f"{source} has {each.name} with {part!r} in it"
    if not (each.takes_objects or isinstance(part, str | Spec)):
        raise UsageError(f"{held}; it takes str.")
    if part is None or isinstance(part, NO_COMPONENT):
        raise UsageError(f"{held}; it takes a list of specs, and none is [].")
