"""`metricforge index`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from metricforge.cli.dataset_images import DATASET, PART, embed_named
from metricforge.cli.image_files import (
    BROKEN,
    QUIET,
    embed_files,
    files_of,
    refuse_among_any,
    report_skipped,
)
from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, by_first_rank, debug, print_json


@click.command("index")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True,
              help="The folder to write, a new one or an index to replace.")  # fmt: skip
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
    """
    from metricforge.atomic_files import check_writable
    from metricforge.errors import ArtefactError, UsageError
    from metricforge.image_index import ImageIndex
    from metricforge.loading import load
    from metricforge.model_card import model_folder
    from metricforge.runs.lock import changing

    if add and remove:
        raise UsageError("give --add or --remove, and not both.")
    if remove and (dataset or part or not images):
        raise UsageError("--remove takes the names of IMAGES, as the index has them.")
    if (add or remove) and not out.is_dir():
        raise ArtefactError(f"there is no index at {out} to change: leave --add and --remove out.")
    refuse_among_any(out, images)
    ImageIndex.refuse_used(out)
    check_writable(out.resolve().with_name(f"{out.resolve().name}.partial"))
    skipped: dict[str, str] | None = {} if broken == "skip" else None
    with changing(out) if add or remove else nullcontext():
        held = ImageIndex.open(out) if add or remove else None
        folder = model_folder(run)  # once: it may lie on a hub
        model = load(folder, device=device)
        if held is not None:
            held.refuse_other_model(folder, model.card)
        if held is not None and remove:
            index, embedded = held.without([str(image) for image in images]), None
        else:
            embedded = embed_named(run, model, images, dataset, part, data_root, broken, quiet)
            if embedded is None:
                files = files_of(images, model, skipped, once=True)
                embedded = embed_files(model, files, skipped, quiet)
            new = (embedded.names, embedded.rows, embedded.labels)
            index = held.with_images(*new) if held else ImageIndex.of(folder, model, *new)
        index.save(out)
    left_out = embedded.skipped if embedded else {}
    held_now = len(index.contents.names)
    if as_json:
        told = {"out": str(out), "images": held_now, "dim": index.contents.dim}
        print_json({**told, "skipped": left_out})
        return
    report_skipped(left_out)
    count = f", {len(left_out):,} skipped" if left_out else ""
    click.echo(f"{out}: {held_now} images{count}; next: metricforge search {run} {out} IMAGE")
