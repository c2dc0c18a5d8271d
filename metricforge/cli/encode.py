"""`metricforge encode`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from metricforge.cli.options import JSON, debug, print_json
from metricforge.errors import DataError, ResourceError


@click.command("encode")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="The .npy file to write, float32 [N, D].")  # fmt: skip
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or mps.")
@JSON
@debug
def command(run: Path, images: tuple[Path, ...], out: Path, device: str, as_json: bool) -> None:
    """Embed IMAGES with the model of RUN, a row for each in the order given."""
    import numpy as np

    from metricforge.model import load

    embeddings = load(run, device=device).encode(existing(images))
    try:
        with out.open("wb") as file:
            np.save(file, embeddings, allow_pickle=False)
    except OSError as error:
        raise ResourceError(f"can't write {out}: {error.strerror}.") from error
    if as_json:
        print_json({"out": str(out), "shape": list(embeddings.shape)})
    else:
        click.echo(f"{out}: {len(embeddings)} embeddings of {embeddings.shape[1]} dimensions")


def existing(images: Sequence[Path]) -> Sequence[Path]:
    """The images; DataError for one that is no file."""
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise DataError(f"{missing[0]} is not a file.")
    return images
