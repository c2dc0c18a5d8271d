"""Train image embeddings, and measure them honestly on classes they have never seen.

>>> import metricforge
>>> run = metricforge.train(dataset="glyphs", sampler="hard-triplet")
>>> run.results["trained"]["map@r"]
>>> metricforge.load(run.path).encode(images)  # float32 [N, D]

Importing this package loads no torch; its names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metricforge.contracts import Dataset as Dataset
    from metricforge.contracts import Estimate as Estimate
    from metricforge.data.embedding_files import Labels as Labels
    from metricforge.errors import MetricForgeError as MetricForgeError
    from metricforge.exploring.explore import Explored as Explored
    from metricforge.exploring.explore import explore as explore
    from metricforge.exporting.export import Export as Export
    from metricforge.exporting.export import export as export
    from metricforge.galleries.enrol import enrol as enrol
    from metricforge.galleries.gallery import Gallery as Gallery
    from metricforge.hub.upload import Pushed as Pushed
    from metricforge.hub.upload import push as push
    from metricforge.image_index import ImageIndex as ImageIndex
    from metricforge.judging.baseline import Baseline as Baseline
    from metricforge.judging.baseline import baseline as baseline
    from metricforge.judging.compare import Comparison as Comparison
    from metricforge.judging.compare import compare as compare
    from metricforge.judging.evaluate import Evaluation as Evaluation
    from metricforge.judging.evaluate import evaluate as evaluate
    from metricforge.judging.verify import Verdict as Verdict
    from metricforge.judging.verify import verify as verify
    from metricforge.loading import load as load
    from metricforge.model import EmbeddingModel as EmbeddingModel
    from metricforge.recipes.recipe import Recipe as Recipe
    from metricforge.registry import Registry as Registry
    from metricforge.runs.run import Run as Run
    from metricforge.runs.train import train as train
    from metricforge.shrinking.form import EmbeddingForm as EmbeddingForm
    from metricforge.shrinking.shrink import Shrunken as Shrunken
    from metricforge.shrinking.shrink import shrink as shrink
    from metricforge.spec import Spec as Spec
    from metricforge.spec import options_of as options_of

__version__ = "0.1.0"

_HOMES = {
    "Baseline": "metricforge.judging.baseline",
    "Comparison": "metricforge.judging.compare",
    "Dataset": "metricforge.contracts",
    "EmbeddingForm": "metricforge.shrinking.form",
    "EmbeddingModel": "metricforge.model",
    "Estimate": "metricforge.contracts",
    "Evaluation": "metricforge.judging.evaluate",
    "Explored": "metricforge.exploring.explore",
    "Export": "metricforge.exporting.export",
    "Gallery": "metricforge.galleries.gallery",
    "ImageIndex": "metricforge.image_index",
    "Labels": "metricforge.data.embedding_files",
    "MetricForgeError": "metricforge.errors",
    "Pushed": "metricforge.hub.upload",
    "Recipe": "metricforge.recipes.recipe",
    "Registry": "metricforge.registry",
    "Run": "metricforge.runs.run",
    "Shrunken": "metricforge.shrinking.shrink",
    "Spec": "metricforge.spec",
    "Verdict": "metricforge.judging.verify",
    "baseline": "metricforge.judging.baseline",
    "compare": "metricforge.judging.compare",
    "enrol": "metricforge.galleries.enrol",
    "evaluate": "metricforge.judging.evaluate",
    "explore": "metricforge.exploring.explore",
    "export": "metricforge.exporting.export",
    "load": "metricforge.loading",
    "options_of": "metricforge.spec",
    "push": "metricforge.hub.upload",
    "shrink": "metricforge.shrinking.shrink",
    "train": "metricforge.runs.train",
    "verify": "metricforge.judging.verify",
}

__all__ = [
    "Baseline",
    "Comparison",
    "Dataset",
    "EmbeddingForm",
    "EmbeddingModel",
    "Estimate",
    "Evaluation",
    "Explored",
    "Export",
    "Gallery",
    "ImageIndex",
    "Labels",
    "MetricForgeError",
    "Pushed",
    "Recipe",
    "Registry",
    "Run",
    "Shrunken",
    "Spec",
    "Verdict",
    "__version__",
    "baseline",
    "compare",
    "enrol",
    "evaluate",
    "explore",
    "export",
    "load",
    "options_of",
    "push",
    "shrink",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'metricforge' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
