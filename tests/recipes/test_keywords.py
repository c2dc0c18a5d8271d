"""The signature of `metricforge.train` has the options of a recipe."""

from __future__ import annotations

import inspect
from typing import Unpack, get_type_hints

import metricforge
from metricforge.recipes.keywords import TrainOptions
from metricforge.recipes.recipe import options
from tests.keywords import FILE, content


def test_the_keywords_are_those_of_the_recipe() -> None:
    assert FILE.read_text() == content(), "run python tests/keywords.py"
    assert list(TrainOptions.__annotations__) == list(options())


def test_train_takes_them_by_keyword() -> None:
    hints = get_type_hints(metricforge.train)
    (more,) = (
        name
        for name, parameter in inspect.signature(metricforge.train).parameters.items()
        if parameter.kind is inspect.Parameter.VAR_KEYWORD
    )
    assert hints[more] == Unpack[TrainOptions]
