"""`metricforge data show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.completion import ComponentSpec
from metricforge.cli.options import DATA_ROOT, JSON, SPLITS, debug, print_json

if TYPE_CHECKING:
    from torch import Tensor

    from metricforge.contracts import Dataset


@click.command("show")
@click.argument("what", type=ComponentSpec("dataset"))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path),
              default="mosaic.png", help="The PNG to write.  [default: mosaic.png]")  # fmt: skip
@click.option("--classes", type=click.IntRange(min=1), default=12, help="Rows.  [default: 12]")
@click.option("--per-class", type=click.IntRange(min=1), default=8,
              help="Images in a row.  [default: 8]")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0,
              help="Of which classes and images.  [default: 0]")  # fmt: skip
@click.option("--part", metavar="NAME", help="train, validation or test.  [default: all images]")
@click.option("--split", "rule", metavar="SPEC", help=f"What the part is of: {SPLITS}")
@DATA_ROOT
@JSON
@debug
def command(
    what: str,
    out: Path,
    classes: int,
    per_class: int,
    seed: int,
    part: str | None,
    rule: str | None,
    data_root: str | None,
    as_json: bool,
) -> None:
    """Draw images of WHAT, a row a class, converted and resized as the network sees them.

    WHAT is a dataset's spec, a folder, a .csv, an .npz or an archive.
    """
    import torch

    from metricforge.atomic_files import check_replaced, check_writable
    from metricforge.data.image_files import names_of
    from metricforge.errors import UsageError
    from metricforge.inspection.examples import draw_examples
    from metricforge.recipes.dataset_spec import dataset_spec, open_dataset, refuse_inside
    from metricforge.registry import Registry
    from metricforge.report.mosaic import mosaic
    from metricforge.report.page import printable

    registry = Registry.installed()
    refuse_inside(out, dataset_spec(what, registry))
    check_writable(out)
    check_replaced(out, b"\x89PNG")
    dataset = open_dataset(what, registry, data_root)
    files = () if isinstance(dataset.images, torch.Tensor) else names_of(dataset.images)
    if any(Path(name).absolute() == out.absolute() for name in files if name.endswith(out.name)):
        raise UsageError(f"{out} is one of the images; give another file.")
    examples = draw_examples(dataset, _among(dataset, part, rule), classes, per_class, seed)
    mosaic(examples.images, examples.classes, out)
    counts = [len(images) for images in examples.images]
    if as_json:
        print_json({"out": str(out), "classes": list(examples.classes), "images": counts})
    else:
        images = f"{sum(counts):,} images of {len(counts):,} classes"
        click.echo(f"{printable(out)}: {images}")


def _among(dataset: Dataset, part: str | None, rule: str | None) -> Tensor:
    import torch

    from metricforge.data.split import split_dataset
    from metricforge.errors import UsageError
    from metricforge.spec import Spec

    if part is not None:
        return split_dataset(dataset, Spec.parse(rule) if rule else None).part(part)
    if rule is not None:
        raise UsageError("--split says what a --part is of; name the part, too.")
    return torch.arange(len(dataset))
