"""`metricforge index`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.dataset_images import DATASET, PART, embed_named
from metricforge.cli.image_files import (
    BROKEN,
    QUIET,
    Embedded,
    note_escaped,
    refuse_among_any,
    report_skipped,
    shown,
    table_of,
)
from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, by_first_rank, debug, print_json

if TYPE_CHECKING:
    from metricforge.model import EmbeddingModel


@click.command("index")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True,
              help="The folder to write, a new one or an index to replace.")  # fmt: skip
@click.option("--to", metavar="STORE", help="Write a store for another program: faiss, lancedb, "
              "parquet or qdrant; --out is new, or a store to replace.")  # fmt: skip
@click.option("--add", is_flag=True, help="Add IMAGES to the index at --out, in place of earlier "
              "embeddings of the same files.")  # fmt: skip
@click.option("--remove", is_flag=True, help="Remove IMAGES from the index at --out, by the names "
              "that it has for them.")  # fmt: skip
@DATASET
@PART
@DATA_ROOT
@DEVICE
@BROKEN
@QUIET
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    images: tuple[Path, ...],
    out: Path,
    to: str | None,
    add: bool,
    remove: bool,
    dataset: str | None,
    part: str | None,
    data_root: str | None,
    device: str,
    broken: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Embed IMAGES with the model of RUN, to be searched with `metricforge search`.

    A folder stands for all images at any depth below it. An image that is named twice is embedded
    once. A model of vectors embeds the rows of .npy files, and a folder stands for those. A single
    archive or .csv is a dataset, whose labels are found with its images.

    With --to a store is written in place of the index, and the Python that searches it is printed.
    """
    from metricforge.errors import UsageError

    if add and remove:
        raise UsageError("give --add or --remove, and not both.")
    if to is not None and (add or remove):
        raise UsageError("--add and --remove change an index: a store of --to is written anew.")
    if remove and (dataset or part or not images):
        raise UsageError("--remove takes the names of IMAGES, as the index has them.")
    refuse_among_any(out, images)

    def embed(model: EmbeddingModel) -> Embedded:
        return embed_named(run, model, images, dataset, part, data_root, broken, quiet, once=True)

    if to is not None:
        _write_store(run, out, to, device, embed, as_json)
        return
    names = [str(image) for image in images] if remove else None
    _write_index(run, out, device, embed, as_json, add, names)


def _write_index(
    run: Path,
    out: Path,
    device: str,
    embed: Callable[[EmbeddingModel], Embedded],
    as_json: bool,
    add: bool,
    removed: list[str] | None,
) -> None:
    """A new index, or that at `out` with further images, or without the `removed` ones."""
    from metricforge.errors import ArtefactError
    from metricforge.image_index import ImageIndex
    from metricforge.loading import load
    from metricforge.model_card import model_folder
    from metricforge.runs.lock import changing

    changes = add or removed is not None
    if changes and not out.is_dir():
        raise ArtefactError(f"there is no index at {out} to change: leave --add and --remove out.")
    ImageIndex.refuse_used(out)
    _check_writable(out)
    with changing(out) if changes else nullcontext():
        held, replaced = ImageIndex.open(out) if changes else None, 0
        folder = model_folder(run)  # once: it may lie on a hub
        model = load(folder, device=device)
        if held is not None:
            held.refuse_other_model(folder, model.card)
        if held is not None and removed is not None:
            index, embedded = held.without(removed), None
        else:
            embedded = embed(model)
            new = (embedded.names, embedded.rows, embedded.labels)
            index = held.with_images(*new) if held else ImageIndex.of(folder, model, *new)
            replaced = len({*embedded.names} & {*held.contents.names}) if held else 0
        index.save(out)
    skipped = embedded.skipped if embedded else {}
    held_now = len(index.contents.names)
    if as_json:
        print_json({"out": str(out), "images": held_now, "dim": index.contents.dim,
                    "replaced": replaced, "skipped": skipped})  # fmt: skip
        return
    if replaced:
        click.echo(f"note: {replaced:,} of these names were in the index already: what is embedded "
                   "now is in their place.", err=True)  # fmt: skip
    _report(f"{out}: {held_now} images", skipped, f"next: metricforge search {run} {out} IMAGE")


def _write_store(
    run: Path,
    out: Path,
    to: str,
    device: str,
    embed: Callable[[EmbeddingModel], Embedded],
    as_json: bool,
) -> None:
    """A store at `out`, and how to search it."""
    from metricforge.loading import load
    from metricforge.model_card import model_folder
    from metricforge.stores.store import refuse_used, store_of, write_store

    store = store_of(to)
    refuse_used(out)
    _check_writable(out)
    folder = model_folder(run)  # once: it may lie on a hub
    model = load(folder, device=device)
    embedded = embed(model)
    table = table_of(folder, model, embedded)
    write_store(store, out, table)
    note_escaped(table)
    query = store.query(out)
    if as_json:
        images, dim = embedded.rows.shape
        print_json({"out": str(out), "store": to, "images": images, "dim": dim,
                    "query": list(query), "skipped": embedded.skipped})  # fmt: skip
        return
    done = f"{shown(out)}: {len(embedded.names)} images in {to}"
    _report(done, embedded.skipped, "\n".join(("search it in Python:", *query)))


def _check_writable(out: Path) -> None:
    """ResourceError where the folder can't be written."""
    from metricforge.atomic_files import check_writable

    check_writable(out.resolve().with_name(f"{out.resolve().name}.partial"))


def _report(done: str, skipped: dict[str, str], further: str) -> None:
    report_skipped(skipped)
    count = f", {len(skipped):,} skipped" if skipped else ""
    click.echo(f"{done}{count}; {further}")
