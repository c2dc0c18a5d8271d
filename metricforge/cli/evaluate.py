"""`metricforge evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.image_files import QUIET
from metricforge.cli.options import (
    ALL_METRICS,
    DATA_ROOT,
    DEVICE,
    JSON,
    PROTOCOL,
    component,
    debug,
    print_json,
)
from metricforge.errors import UsageError


@click.command("evaluate")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--embeddings", metavar="FILE", type=click.Path(path_type=Path),
              help="Judge embeddings [N, D] of any other program, a .npy file, in the place of "
              "a run's.")  # fmt: skip
@click.option("--labels", metavar="FILE", type=click.Path(path_type=Path),
              help="Their labels: a .npy file, a text file with one a line, or a CSV with the "
              "column label, and if need be group, is_query and is_gallery.")  # fmt: skip
@component(
    "dataset",
    "What to test on: a spec, a folder, a .csv, an .npz or an archive.  [default: the run's own]",
)
@PROTOCOL
@click.option("--part", metavar="NAME", help="train, validation, test or all.  [default: test, or "
              "all where the dataset has no test part of its own]")  # fmt: skip
@click.option("--allow-seen", is_flag=True,
              help="Measure classes it was trained on by their names, too.")  # fmt: skip
@click.option("--baselines/--no-baselines", default=True, help="Raw pixels beside the model.")
@click.option(
    "--untrained", is_flag=True, help="The network that training began with beside the model."
)
@click.option("--cosine", is_flag=True,
              help="Scale --embeddings to unit length, if cosine compares them.")  # fmt: skip
@click.option("--episodes", metavar="FILE", type=click.Path(path_type=Path),
              help="Answer the few-shot episodes in FILE.")  # fmt: skip
@click.option("--episodes-out", metavar="FILE", type=click.Path(path_type=Path),
              help="Write the few-shot episodes that are drawn to FILE.")  # fmt: skip
@click.option("--pairs", metavar="FILE", type=click.Path(path_type=Path),
              help="Verify the pairs of images in FILE, a CSV with first and second.")  # fmt: skip
@click.option("--by-class", metavar="FILE", type=click.Path(path_type=Path),
              help="Write the numbers of each class to FILE, a CSV.")  # fmt: skip
@DEVICE
@DATA_ROOT
@ALL_METRICS
@QUIET
@JSON
@debug
def command(
    run: Path | None,
    embeddings: Path | None,
    labels: Path | None,
    dataset: str | None,
    protocols: tuple[str, ...],
    part: str | None,
    allow_seen: bool,
    baselines: bool,
    untrained: bool,
    cosine: bool,
    episodes: Path | None,
    episodes_out: Path | None,
    pairs: Path | None,
    by_class: Path | None,
    device: str,
    data_root: str | None,
    all_metrics: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Test the model of RUN on held-out classes, of its own dataset or another.

    Classes with a name that the model was trained or selected on are refused. With --embeddings
    and --labels there is no RUN, and that these classes are held out is for you to know.
    """
    from metricforge.atomic_files import check_replaced, check_writable, write_file
    from metricforge.cli.run_table import kind_of_classes, print_measured, shortened
    from metricforge.data.embedding_files import read_embeddings, read_labels
    from metricforge.judging.evaluate import evaluate
    from metricforge.runtime import Ranks

    _check(run, embeddings, labels, cosine, bool(dataset or part or allow_seen or untrained))
    if by_class is not None:
        check_replaced(by_class, b"class,queries")
    check_writable(*filter(None, (by_class, episodes_out)))
    with Ranks.joined() as ranks:
        evaluation = evaluate(
            run or read_embeddings(embeddings or Path()),
            dataset if labels is None else read_labels(labels),
            protocols=protocols,
            part=part,
            allow_seen=allow_seen,
            baselines=baselines,
            untrained=untrained,
            cosine=cosine,
            episodes=episodes,
            episodes_out=episodes_out,
            pairs=pairs,
            data_root=data_root,
            device=device,
            progress=not quiet,
        )
    if not ranks.first:
        return
    if by_class is not None and evaluation.by_class:
        write_file(by_class, evaluation.by_class)
    if as_json:
        print_json({"run": str(run or embeddings), **evaluation.to_json()})
    else:
        kind = "classes" if embeddings is not None else kind_of_classes(evaluation)
        where = f"{evaluation.dataset} ({evaluation.part}, {evaluation.images:,} images)"
        title = f"{where}: {kind} {shortened(evaluation.classes)}"
        print_measured(evaluation, title, all_metrics)
    if by_class is not None and not evaluation.by_class:
        raise UsageError(
            f"no protocol here has metrics by class, and {by_class} is not written; add --protocol "
            "retrieval."
        )


def _check(
    run: Path | None,
    embeddings: Path | None,
    labels: Path | None,
    cosine: bool,
    for_a_run: bool,
) -> None:
    """Options that don't go together."""
    if (run is None) == (embeddings is None) or (labels is None) != (embeddings is None):
        raise UsageError(
            "evaluate needs a RUN, or --embeddings FILE with --labels FILE, and not both."
        )
    if cosine and embeddings is None:
        raise UsageError("--cosine is for --embeddings: a model's are as its head gives them.")
    if embeddings is not None and for_a_run:
        raise UsageError(
            "--dataset, --part, --allow-seen and --untrained are for the model of a RUN."
        )
