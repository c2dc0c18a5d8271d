"""Checks the names in a suite before hours of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from metricforge.bench.suite import Suite
from metricforge.errors import DataError, PluginError, UsageError
from metricforge.recipes.components import make_protocol
from metricforge.recipes.dataset_spec import dataset_spec, located, open_dataset
from metricforge.recipes.defaults import completed
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.spec import Spec


def check_names(suite: Suite, data_root: str | None = None) -> None:
    """UsageError for an unknown component or option, DataError for a further test without images.

    Each run checks itself that its components fit, that plugins work and that its images exist. A
    further test would fail only after all training.
    """
    registry = Registry.installed()
    for approach in suite.approaches:
        with suppress(PluginError), _with_context(suite, approach.name):
            recipe = Recipe.from_values({**suite.base, **approach.options}, suite.name)
            completed(located(recipe, registry), registry)
    for other in suite.elsewhere:
        with _with_context(suite, other.name):
            registry.complete("dataset", dataset_spec(other.dataset, registry))
            for protocol in other.protocols:
                make_protocol(registry, Spec.parse(protocol))
    # After all names, since opening may download.
    for other in suite.elsewhere:
        with _with_context(suite, other.name):
            open_dataset(other.dataset, registry, data_root or suite.base.get("data_root"))


@contextmanager
def _with_context(suite: Suite, name: str) -> Iterator[None]:
    """While entered, errors of the user name the suite and the approach."""
    try:
        yield
    except (UsageError, DataError) as error:
        raise type(error)(f"suite '{suite.name}', {name}: {error}") from error
