"""What a suite names, looked up before hours of training and not after them."""

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
    """UsageError for what names no component, or gives one an option that it does not have.

    Whether components fit one another is for each run to find out, and so are a plugin that fails
    and images that are not there; but those of a further test would be told of after all training.
    """
    registry = Registry.installed()
    for approach in suite.approaches:
        with suppress(PluginError), _told_of(suite, approach.name):
            recipe = Recipe.from_values({**suite.base, **approach.options}, suite.name)
            completed(located(recipe, registry), registry)
    for other in suite.elsewhere:
        with _told_of(suite, other.name):
            registry.complete("dataset", dataset_spec(other.dataset, registry))
            for protocol in other.protocols:
                make_protocol(registry, Spec.parse(protocol))
    # After all names, since opening may download.
    for other in suite.elsewhere:
        with _told_of(suite, other.name):
            open_dataset(other.dataset, registry, data_root or suite.base.get("data_root"))


@contextmanager
def _told_of(suite: Suite, name: str) -> Iterator[None]:
    """While entered, what the user got wrong is told with its place."""
    try:
        yield
    except (UsageError, DataError) as error:
        raise type(error)(f"suite '{suite.name}', {name}: {error}") from error
