"""`metricforge data check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from metricforge.cli.completion import ComponentSpec
from metricforge.cli.options import DATA_ROOT, JSON, SPLITS, debug, print_json
from metricforge.errors import DataError, few

if TYPE_CHECKING:
    from metricforge.inspection.copies import Copies
    from metricforge.inspection.data_check import DataCheck
    from metricforge.inspection.sampler_check import Verdict

MOST_LINES = 5
MOST_NAMES = 5
MOST_COPIES = 4


@click.command("check")
@click.argument("what", type=ComponentSpec("dataset"))
@click.option("--split", metavar="SPEC", help=SPLITS)
@click.option("--sampler", "samplers", multiple=True, type=ComponentSpec("sampler"),
              metavar="SPEC", help="A sampler to train with; may be repeated.  "
              "[default: hard-triplet, and what the others would say]")  # fmt: skip
@DATA_ROOT
@JSON
@debug
def command(
    what: str, split: str | None, samplers: tuple[str, ...], data_root: str | None, as_json: bool
) -> None:
    """Look at every image of WHAT: a dataset's spec, a folder, a .csv, an .npz or an archive.

    \b
    metricforge data check photos
    metricforge data check omniglot --sampler episodic:way=20

    Counts, sizes, broken images, copies, leaks between the parts, and what each sampler says, or
    those that are named. Exit code 3 when a training would fail.
    """
    from metricforge.inspection.data_check import check_data

    check = check_data(what, split, samplers, data_root)
    if as_json:
        print_json(check.to_json())
    else:
        _print(check, list(_commands(check, split, samplers, data_root)))
    if check.failures:
        raise DataError(f"'{what}' is not fit to train on: {check.failures[0]}")


def _print(check: DataCheck, commands: list[str]) -> None:
    from metricforge.cli.data.report import print_line, print_lines, print_split
    from metricforge.data.split import left_out

    dataset = check.dataset
    groups = f", {len(dataset.group_names):,} groups" if dataset.group_names else ""
    print_line("dataset", check.spec)
    print_line("images", f"{len(dataset):,} of {len(dataset.classes):,} classes{groups}")
    print_lines("classes", _class_sizes(check))
    print_lines("files", _files(check))
    print_lines("broken", _some(list(check.broken.values())))
    for heading, sets in (
        ("identical", check.copies.identical),
        ("alike", check.copies.alike),
        ("leaks", check.copies.leaks),
        ("conflicts", check.copies.of_two_classes),
    ):
        if heading == "alike" and dataset.of_vectors:
            print_line(heading, "not sought among vectors")
            continue
        print_lines(heading, _some([_shown(copies) for copies in sets], _MEANING[heading]))
    if check.split is not None:
        print_split(check.split, dataset)
        print_lines("", left_out(check.split, dataset))
    if check.samplers:
        _print_samplers(check.samplers)
    print_lines("notes", dataset.notes)
    print_lines("warnings", check.warnings)
    for failure in check.failures:
        print_line("fails", failure, "red")
    if not check.failures:
        first, *alternatives = commands
        print_line("verdict", f"ok: {first}", "green")
        for alternative in alternatives:
            print_line("", f"    {alternative}", "green")


_MEANING = {
    "identical": "of the same bytes or pixels",
    "alike": "of one picture, resized or encoded otherwise",
    "leaks": "of copies in more than one part",
    "conflicts": "of copies with more than one label",
}


def _class_sizes(check: DataCheck) -> Iterator[str]:
    sizes = check.class_sizes
    yield (
        f"{sizes['smallest']:,} to {sizes['largest']:,} images each, {sizes['median']:g} at the "
        "median"
    )
    for key, what in (("of_one_image", "one image"), ("of_no_image", "no image")):
        if names := sizes[key]:
            yield f"{len(names):,} of {what}: {few(names, MOST_NAMES)}"


def _files(check: DataCheck) -> Iterator[str]:
    survey = check.survey
    if check.dataset.of_vectors:
        yield f"none: the dataset has vectors of {check.dataset.shape[0]} numbers"
        return
    yield _counts(survey.formats) or "none: the images are a tensor"
    yield f"modes: {_counts(survey.modes)}"
    if sizes := [f"{width} x {height}" for width, height in survey.sizes()]:
        smallest, middle, largest = sizes
        alike = f"all {smallest}"
        apart = f"{smallest} to {largest}, {middle} at the median"
        yield f"sizes: {alike if smallest == largest else apart}"
    channels, height, width = check.dataset.shape
    colour = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    yield f"the network sees: {width} x {height}, {colour}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _some(lines: list[str], what: str = "") -> Iterator[str]:
    """The number of findings, and the first few of them."""
    if not lines:
        yield "none"
        return
    yield f"{len(lines):,}" + (f" {'set' if len(lines) == 1 else 'sets'} {what}" if what else "")
    yield from (f"  {line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"  and {len(lines) - MOST_LINES:,} more, which --json lists"


def _shown(copies: Copies) -> str:
    each = zip(copies.images, copies.classes, copies.parts, strict=True)
    descriptions = [
        f"{f'image {image}' if isinstance(image, int) else image} ({', '.join(filter(None, tags))})"
        for image, *tags in each
    ]
    more = f" = {len(descriptions) - MOST_COPIES:,} more" if len(descriptions) > MOST_COPIES else ""
    return " = ".join(descriptions[:MOST_COPIES]) + more


def _print_samplers(verdicts: Sequence[Verdict]) -> None:
    """Print a line per sampler, and each note once below, with the samplers that share it."""
    from metricforge.cli.data.report import print_line

    width = max(len(verdict.spec) for verdict in verdicts) + 1
    heading = "samplers"
    for verdict in verdicts:
        mark = {"ok": "ok", "refused": "no", "incomplete": "-"}[verdict.outcome]
        print_line(
            heading, f"{verdict.spec:{width}}{mark:3} {verdict.why}".rstrip(), hang=width + 4
        )
        heading = ""
    specs_by_note: dict[str, list[str]] = {}
    for verdict in verdicts:
        for note in verdict.notes:
            specs_by_note.setdefault(note, []).append(verdict.spec)
    for note, specs in specs_by_note.items():
        shared = "all that are ok" if len(specs) == _fit(verdicts) > 1 else ", ".join(specs)
        print_line("", f"{note} ({shared})", hang=2)


def _fit(verdicts: Sequence[Verdict]) -> int:
    return sum(verdict.outcome == "ok" for verdict in verdicts)


def _commands(
    check: DataCheck, split: str | None, samplers: tuple[str, ...], data_root: str | None
) -> Iterator[str]:
    """The commands that train by each requested sampler."""
    import shlex

    typed = click.get_current_context().get_parameter_source("data_root")
    words = ["metricforge", "train", "--dataset", check.spec]
    words += ["--split", split] if split else []
    # A folder from the environment holds for the training, too.
    if data_root and typed is ParameterSource.COMMANDLINE:
        words += ["--data-root", data_root]
    for sampler in samplers or [None]:
        yield shlex.join([*words, *(["--sampler", sampler] if sampler else [])])
