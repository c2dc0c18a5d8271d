"""What a command embeds: the images of a dataset, or of a part of it, in place of named files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.image_files import Embedded, embed_files, files_of
from metricforge.errors import UsageError

if TYPE_CHECKING:
    from metricforge.model import EmbeddingModel

DATASET = click.option(
    "--dataset", metavar="NAME",
    help="Embed a dataset in place of IMAGES: a spec, a folder, a .csv or an archive. Their labels "
    "are written, too.",
)  # fmt: skip
PART = click.option(
    "--part", metavar="NAME",
    help="train, validation, test or all of the dataset; without --dataset of the one that RUN was "
    "trained on.  [default: all]",
)  # fmt: skip


def embed_named(
    run: Path,
    model: EmbeddingModel,
    images: tuple[Path, ...],
    dataset: str | None,
    part: str | None,
    data_root: str | None,
    broken: str,
    quiet: bool,
    once: bool = False,
) -> Embedded:
    """The embeddings of IMAGES, files or folders, or of a dataset, with labels.

    One archive or CSV alone is a dataset, too. With `once` a file that is named twice counts once.
    UsageError for both, or neither.
    """
    from metricforge.data.archive import is_archive

    if not images and not dataset and not part:
        raise UsageError("name the images: files, folders, an archive, a .csv, or --dataset NAME.")
    if images and (dataset or part) and not (dataset is None and len(images) == 1):
        raise UsageError("name IMAGES, or a dataset, and not both.")
    if images:
        (first, *_) = images
        one_dataset = len(images) == 1 and (is_archive(first) or first.suffix.lower() == ".csv")
        if not one_dataset and part is None:
            skipped: dict[str, str] | None = {} if broken == "skip" else None
            return embed_files(model, files_of(images, model, skipped, once), skipped, quiet)
        # As a path, whose name may look like a spec.
        dataset = str(first.resolve())
    if broken == "skip":
        raise UsageError("a dataset skips images by its spec, as in folder:path=DIR,broken=skip.")
    return _embedded(run, model, dataset, part, data_root, quiet)


def _embedded(
    run: Path,
    model: EmbeddingModel,
    dataset: str | None,
    part: str | None,
    data_root: str | None,
    quiet: bool,
) -> Embedded:
    from metricforge.galleries.embedded import embed_dataset
    from metricforge.judging.part_choice import tested_part
    from metricforge.judging.subject import run_of
    from metricforge.registry import Registry
    from metricforge.report.progress import count_line

    chosen = tested_part(
        model, run_of(run), dataset, part or "all", True, data_root, Registry.installed()
    )
    for note in (*chosen.notes, *chosen.dataset.notes):
        click.echo(f"note: {note}", err=True)
    with count_line("images", len(chosen.indices), not quiet) as done:
        embedded = embed_dataset(model, chosen.decoded, chosen.indices, done)
    return Embedded(embedded.names, embedded.rows, {}, embedded.classes)
