"""`metricforge data split`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from metricforge.cli.completion import ComponentSpec
from metricforge.cli.options import DATA_ROOT, JSON, SPLITS, debug, print_json


@click.command("split")
@click.argument("what", type=ComponentSpec("dataset"))
@click.option("--split", "rule", metavar="SPEC", help=SPLITS)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path),
              help="Record the split in FILE, as a run does in its split.json.")  # fmt: skip
@DATA_ROOT
@JSON
@debug
def command(
    what: str, rule: str | None, out: Path | None, data_root: str | None, as_json: bool
) -> None:
    """Show which images of WHAT train, which choose the model and which test it.

    WHAT is a dataset's spec, a folder, a .csv, an .npz or an archive.
    """
    from metricforge.atomic_files import check_replaced, check_writable, write_file
    from metricforge.cli.data.report import print_line, print_lines, print_split
    from metricforge.data.images import fingerprint
    from metricforge.data.split import left_out, split_dataset
    from metricforge.recipes.dataset_spec import dataset_spec, open_dataset, refuse_inside
    from metricforge.registry import Registry
    from metricforge.report.page import printable
    from metricforge.spec import Spec

    if out is not None:
        refuse_inside(out, dataset_spec(what, Registry.installed()))
        check_writable(out)
        check_replaced(out, b'{\n "rule"')
    dataset = open_dataset(what, Registry.installed(), data_root)
    split = split_dataset(dataset, Spec.parse(rule) if rule else None)
    record = split.to_json(dataset) | {"dataset_fingerprint": fingerprint(dataset)}
    if out is not None:
        write_file(out, json.dumps(record, indent=1) + "\n")
    if as_json:
        print_json(record)
        for warning in dataset.warnings:
            click.echo(f"warning: {printable(warning)}", err=True)
        return
    print_split(split, dataset)
    print_lines("", left_out(split, dataset))
    print_lines("notes", dataset.notes)
    print_lines("warnings", dataset.warnings)
    if out is not None:
        print_line("written", str(out))
