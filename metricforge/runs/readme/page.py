"""The README of a run's model, and the folder that it is written into."""

from __future__ import annotations

from collections.abc import Iterator

from metricforge.atomic_files import write_folder
from metricforge.hub.contents import CURVE, README
from metricforge.markdown import block, text
from metricforge.model import EmbeddingModel
from metricforge.model_card import PLACE, network_lines, pair_lines
from metricforge.runs.folder import RunFolder
from metricforge.runs.readme import limits, results, training
from metricforge.runs.readme.facts import Facts


def save_model(model: EmbeddingModel, folder: RunFolder) -> None:
    """Write the model of a finished run with the README that tells of the run.

    The folder is replaced as a whole: its manifest has the hash of each file.
    """
    plot = folder.plots / "loss.png"
    curve = {CURVE: plot.read_bytes()} if plot.is_file() else {}
    text = page(Facts.of(folder, model.card, curve=bool(curve)))
    write_folder(folder.model, {**model.files(), README: text.encode(), **curve})


def page(facts: Facts) -> str:
    """The whole text, Markdown with a head of YAML."""
    sections = (
        results.head(facts),
        _beginning(facts),
        _use(facts),
        results.section(facts),
        training.section(facts),
        training.data_section(facts),
        training.machine_section(facts),
        limits.section(facts),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _beginning(facts: Facts) -> Iterator[str]:
    known = len(facts.split.parts.train.classes)
    yield f"# An embedding of {facts.inputs}, trained on {text(facts.summary.dataset)}"
    yield ""
    one = facts.inputs.removesuffix("s")
    yield (
        f"This MetricForge model maps {'an' if one == 'image' else 'a'} {one} to "
        f"{facts.card.dim:,} numbers, its embedding. It was trained on {known:,} classes, so that "
        f"{facts.inputs} of one class lie close together."
    )
    if facts.summary.results:
        yield f"It was tested on {results.what_was_tested(facts)}."


def _use(facts: Facts) -> Iterator[str]:
    vectors = facts.card.of_vectors
    files = '["a.png", "b.png"]' if not vectors else "vectors"
    folder, query = ("photos", "query.png") if not vectors else ("vectors.npy", "query.npy")
    yield "## Use"
    yield ""
    yield from block("\n".join(_install(facts)))
    yield ""
    yield from block(
        f'import metricforge\n\nmodel = metricforge.load("{PLACE}"{_own_modules(facts)})\n'
        f"embeddings = model.encode({files})  # float32 [N, {facts.card.dim}]",
        "python",
    )
    if not _own_modules(facts):
        yield ""
        yield from block(
            f"metricforge index {PLACE} {folder} --out index\n"
            f"metricforge search {PLACE} index {query}"
        )
    yield ""
    yield from (f"- {line}" for line in network_lines(facts.card))
    yield from pair_lines(facts.card)


def _install(facts: Facts) -> Iterator[str]:
    """pip's line, and one for each plugin that the network requires."""
    yield "pip install metricforge"
    of_network = ("backbone", "head", "adapter")
    owners = facts.environment.get("components", {}).items()
    plugins = {owner for role, owner in owners if role.startswith(of_network)}
    for owner in sorted(plugins):
        name, _, version = owner.rpartition(" ")
        if name != "metricforge":
            yield f"pip install {name}=={version}"


def _own_modules(facts: Facts) -> str:
    """The arguments of `load` for a network that is no installed component."""
    own = [n for n in ("backbone", "head") if getattr(facts.card, n).startswith("object ")]
    return "".join(f", {name}=your_{name}" for name in own)
