"""What a suite names, looked up before hours of training and not after them."""

from __future__ import annotations

from collections.abc import Sequence

from metricforge.bench.suite import Approach, Elsewhere, Suite
from metricforge.errors import MetricForgeError, UsageError
from metricforge.registry import Registry
from metricforge.runs.components import make_protocol
from metricforge.runs.defaults import pinned, written_out
from metricforge.runs.recipe import Recipe
from metricforge.runs.sources import located, named
from metricforge.spec import Spec, bind


def check_names(suite: Suite, approaches: Sequence[Approach]) -> None:
    """UsageError for what names no component, or gives one an option that it does not have.

    Whether components fit one another is for each run to find out, and so is a plugin that fails.
    """
    registry = Registry.installed()
    for approach in approaches:
        recipe = Recipe.from_values({**suite.base, **approach.options}, suite.name)
        try:
            written_out(pinned(located(recipe, registry), registry), registry)
        except UsageError as error:
            raise UsageError(f"suite '{suite.name}', {approach.name}: {error}") from error
        except MetricForgeError:
            continue
    _check_elsewhere(suite.elsewhere, registry)


def _check_elsewhere(elsewhere: Sequence[Elsewhere], registry: Registry) -> None:
    for other in elsewhere:
        spec = Spec.parse(named(other.dataset, registry))
        bind(registry.factory("dataset", spec), spec, f"dataset '{spec.name}'")
        for protocol in other.protocols:
            make_protocol(registry, protocol)
