"""`metricforge encode`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.dataset_images import DATASET, PART, embed_named
from metricforge.cli.image_files import (
    BROKEN,
    QUIET,
    note_escaped,
    refuse_among_any,
    report_skipped,
    shown,
    table_of,
)
from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, by_first_rank, debug, print_json


@click.command("encode")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="The file to write: .npy, .npz, .parquet, or .tsv for TensorFlow's projector. "
              "An earlier one is replaced.")  # fmt: skip
@DATASET
@PART
@DATA_ROOT
@BROKEN
@DEVICE
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    images: tuple[Path, ...],
    out: Path,
    dataset: str | None,
    part: str | None,
    data_root: str | None,
    broken: str,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Embed IMAGES with the model of RUN, a row for each in the order given.

    A folder stands for all images at any depth below it, by folder and name. With --broken skip,
    skipped files have no row and no name. A model of vectors embeds the rows of .npy files,
    and a folder stands for those.

    A single archive or .csv is a dataset, whose labels are written, too.

    \b
    FILE       holds
    .npy       float32 [N, D]; beside it .json lists the names, and
               .labels.csv the labels, as evaluate --embeddings reads them
    .npz       the arrays features, names and labels
    .parquet   the columns id, path, label and vector
    .tsv       the vectors; beside it .metadata.tsv has path and label

    --dataset reads an .npz or .parquet file with labels.
    """
    from metricforge.loading import load
    from metricforge.model_card import model_folder
    from metricforge.stores.embedding_file import EmbeddingFile

    file = EmbeddingFile.of(out)
    refuse_among_any(file.path, images)
    folder = model_folder(run)  # once: it may lie on a hub
    model = load(folder, device=device)
    embedded = embed_named(run, model, images, dataset, part, data_root, broken, quiet)
    table = table_of(folder, model, embedded)
    beside = file.write(table)
    if not file.format.is_exact:
        note_escaped(table)
    shape = list(embedded.rows.shape)
    if as_json:
        files = {name: str(path) for name, path in beside.items()}
        print_json({"out": str(file.path), **files, "shape": shape, "skipped": embedded.skipped})
        return
    report_skipped(embedded.skipped)
    count = f", {len(embedded.skipped):,} skipped" if embedded.skipped else ""
    places = ", ".join(f"{name} in {shown(path)}" for name, path in beside.items())
    click.echo(
        f"{shown(file.path)}: {shape[0]} embeddings of {shape[1]} dimensions{count}"
        + (f"; {places}" if places else "")
    )
