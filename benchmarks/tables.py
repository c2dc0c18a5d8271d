"""Carries out suites of benchmarks/suites and writes their tables into RESULTS.md.

    python -m benchmarks.tables NAME ... --data-root DIR [--jobs N]
    python -m benchmarks.tables NAME ... --write-only

Records lie in benchmarks/results/NAME, where what has been carried out stays: the same command
goes on. Figures that others have published stand beside ours, with their source, from
published.toml.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.published import by_others, means, short
from benchmarks.records import BENCHMARKS, SUITES, records_of, results_of, suite_file
from benchmarks.sections import ROOT, table, write_section
from metricforge.bench import Record, Suite, Table, grids, read_suite, tabulate
from metricforge.bench.formats import markdown
from metricforge.bench.runner import RECORDS
from metricforge.contracts import Estimate
from metricforge.errors import MetricForgeError
from metricforge.report.tiles import font
from metricforge.tuning.trials import DONE

PICTURED = ("mnist-approaches", "fashion-mnist-approaches")
"""Suites in two dimensions, whose runs are shown side by side."""

GRIDS = ("omniglot-oneshot", "omniglot-minimal-samplers")
"""Suites with too many rows to be read: their first two numbers are shown by axes."""
GRID_NUMBERS = 2

ACROSS = 4
SIDE = (450, 352)


def main() -> None:
    """Carry out what is asked for and not there yet, then write the section of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=SUITES, metavar="NAME", help=", ".join(SUITES))
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--seeds")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--write-only", action="store_true")
    options = parser.parse_args()
    code = 0
    for name in options.names:
        if not options.write_only:
            code = carry_out(name, options) or code
        if not (results_of(name) / RECORDS).exists():
            sys.exit(f"nothing of {name} has been carried out: leave --write-only away.")
        write_section(name, section(name))
    write_section("benchmarks", short(), ROOT / "README.md")
    sys.exit(code)


def carry_out(name: str, options: argparse.Namespace) -> int:
    """The command that a user would give; its exit code, where all but some runs went well."""
    words = [sys.executable, "-m", "metricforge", "bench", "run", str(suite_file(name))]
    words += ["--out", str(results_of(name)), "--resume", "--jobs", options.jobs]
    words += ["--data-root", options.data_root]
    words += ["--seeds", options.seeds] if options.seeds else []
    words += [word for only in options.only for word in ("--only", only)]
    code = subprocess.run(words, check=False, stdout=subprocess.DEVNULL).returncode
    if code not in (0, MetricForgeError.exit_code):
        sys.exit(code)
    return code


def section(name: str) -> list[str]:
    """The section of RESULTS.md: what was compared, by which command, the tables."""
    suite, records = read_suite(suite_file(name)), records_of(name)
    runs = [record for record in records if record.trial is None]
    trained = sum(record.outcome == DONE for record in runs)
    hours = sum(record.wall_seconds for record in records) / 3600
    return [
        f"## {suite.title}",
        "",
        suite.about,
        "",
        f"`python -m benchmarks.tables {name} --data-root DIR` carries out "
        f"[`suites/{name}.toml`](suites/{name}.toml); {trained} trainings are there, "
        f"{hours:.1f} hours of a process in all.",
        "",
        *measured(name, suite, tabulate(suite, records)),
        *means(name, runs),
        *views(name),
        *by_others(name),
        *pictures(name, suite, records),
    ]


def measured(name: str, suite: Suite, tables: Sequence[Table]) -> list[str]:
    """The tables; where they are long, two numbers of them by axes and the whole folded away."""
    whole = [markdown(tables).rstrip(), ""]
    if name not in GRIDS:
        return whole
    numbers = suite.numbers[:GRID_NUMBERS]
    by_axes = [one for number in numbers for one in grids(suite, tables, number)]
    brief = [replace(one, notes=one.notes[:2]) for one in by_axes]
    head = "Every number, differences to the baseline, and what does not fit"
    return [
        markdown(brief).rstrip(),
        "",
        f"<details><summary>{head}</summary>",
        "",
        *whole,
        "</details>",
        "",
    ]


def views(name: str) -> list[str]:
    """What several views of an image and several networks together find, where it was measured.

    Of all runs in views.json, or of those of an approach in views-APPROACH.json.
    """
    paths = sorted(results_of(name).glob("views*.json"))
    if not paths:
        return []
    rows, counts = [], set()
    for path in paths:
        approach = path.stem.removeprefix("views").removeprefix("-")
        for row, values in json.loads(path.read_text()).items():
            one = Estimate(**values)
            counts |= {one.n} if one.over == "seeds" else set()
            span = f" [{one.low:.4f}, {one.high:.4f}]" if one.n > 1 else ""
            rows.append((f"{approach}: {row}" if approach else row, f"{one.value:.4f}{span}"))
    runs, out = ("*", "views") if paths[0].stem == "views" else ("APPROACH-*", "views-APPROACH")
    place = f"benchmarks/results/{name}"
    return [
        f"{max(counts, default=1)} of these networks by several views of each image, averaged, or "
        "in eight orientations laid end to end, and together, at so many times the cost, by "
        "whoever has the runs "
        f"(`python -m benchmarks.omniglot_views {place}/runs/{runs} --data-root DIR --out "
        f"{place}/{out}.json`); intervals over seeds, or over the official runs where networks are "
        "together:",
        "",
        *table(("", "error@omniglot"), rows),
        "",
    ]


def pictures(name: str, suite: Suite, records: Sequence[Record]) -> list[str]:
    """The test images of the first seed's runs in two dimensions, for each split one picture."""
    if name not in PICTURED:
        return []
    splits: dict[str, list[Record]] = {}
    order = list(dict.fromkeys(asked.approach for asked in suite.plan()))
    for record in sorted(records, key=lambda record: order.index(record.approach)):
        if record.seed == 0 and record.outcome == "done":
            splits.setdefault(record.approach.rpartition(" · ")[2], []).append(record)
    lines = []
    for split, of_split in splits.items():
        path = BENCHMARKS / "pictures" / f"{name}-{split.replace(' ', '-')}.png"
        if all(_plot(name, record).is_file() for record in of_split):
            _side_by_side([(r.approach, _plot(name, r)) for r in of_split], path)
        if path.is_file():
            lines += [f"![{split}, in two dimensions]({path.relative_to(BENCHMARKS)})", ""]
    return lines


def _side_by_side(named: Sequence[tuple[str, Path]], path: Path) -> None:
    width, height = SIDE
    rows = -(-len(named) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * width, rows * (height + 24)), "white")
    draw, written = ImageDraw.Draw(sheet), font()
    for place, (name, plot) in enumerate(named):
        left, top = place % ACROSS * width, place // ACROSS * (height + 24)
        draw.text((left + 12, top + 12), name.rpartition(" · ")[0], "black", written, anchor="lm")
        with Image.open(plot) as image:
            sheet.paste(
                image.convert("RGB").resize(SIDE, Image.Resampling.LANCZOS), (left, top + 24)
            )
    path.parent.mkdir(exist_ok=True)
    sheet.quantize(128).save(path, "PNG", optimize=True)


def _plot(name: str, record: Record) -> Path:
    found = list((results_of(name) / "runs").glob(f"*-{record.id[:8]}"))
    return (found[0] if found else results_of(name)) / "plots" / "test.png"


if __name__ == "__main__":
    main()
