"""Tables as Markdown, CSV, JSON, HTML, and for the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence

from jinja2 import Template
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as Drawn

from metricforge.bench.table import Row, Table, estimate_json
from metricforge.contracts import Estimate
from metricforge.report.csv_cells import inert
from metricforge.report.page import printable

_PAGE = Template(
    """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ tables[0].title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } caption { text-align: left; font-weight: 600 }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
.note { color: #666 }
</style>
{% for table in tables %}<table><caption>{{ table.title }}</caption>
<tr>{% for head in heads(table) %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in cells(row, table) %}<td>{{ cell }}</td>{% endfor %}
</tr>
{% endfor %}</table>
{% for note in table.notes %}<p class="note">{{ note }}</p>{% endfor %}{% endfor %}
</html>
""",
    autoescape=True,
)


def markdown(tables: Sequence[Table]) -> str:
    """Tables as GitHub shows them, each under its title, with notes."""
    parts = []
    for table in tables:
        heads = _heads(table)
        lines = [
            f"**{table.title}**\n",
            _line(heads),
            _line(["---", *(["---:"] * (len(heads) - 1))]),
            *(_line(_cells(row, table)) for row in table.rows),
        ]
        parts.append("\n".join(lines) + "\n\n" + "\n".join(table.notes))
    return "\n\n".join(parts) + "\n"


def html(tables: Sequence[Table]) -> str:
    """A self-contained page."""
    page: str = _PAGE.render(tables=tables, heads=_heads, cells=_cells)
    return page + "\n"


def as_json(tables: Sequence[Table]) -> str:
    """All tables, for another program."""
    return json.dumps([table.to_json() for table in tables], indent=1) + "\n"


def as_csv(tables: Sequence[Table]) -> str:
    """A line for each number of each approach."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["table", "approach", "number", "mean", "low", "high", "n", "difference",
         "difference_low", "difference_high", "seconds", "reason"]
    )  # fmt: skip
    for table in tables:
        for row in table.rows:
            for name in [name for name in table.numbers if name in row.numbers] or [""]:
                estimate = row.numbers.get(name)
                writer.writerow([
                    inert(table.title), inert(row.name), name, *_three(estimate),
                    row.n if estimate is None else estimate.n,
                    *_three(row.differences.get(name)), _text(row.seconds), row.reason,
                ])  # fmt: skip
    return file.getvalue()


FORMATS: Mapping[str, Callable[[Sequence[Table]], str]] = {
    "md": markdown,
    "csv": as_csv,
    "json": as_json,
    "html": html,
}


BOUNDLESS = 10_000
"""More characters than any table is wide."""

NAME = 24
"""The characters of a name that stay in one line before the table is made narrower."""


def on_terminal(tables: Sequence[Table], console: Console) -> None:
    """Print the tables in the console's width, with reasons and notes below.

    If a row does not fit into a line, each cell is split into several; if these are too wide as
    well, each number has a line of its own.
    """
    for table in tables:
        console.print(escape(printable(table.title)), style="bold")
        layouts = _drawn(table, " "), _drawn(table, "\n")
        fitting = [layout for layout in layouts if _width(layout, console) <= console.width]
        console.print(fitting[0] if fitting else _drawn_by_line(table))
        for row in table.rows:
            if row.reason:
                console.print(escape(printable(f"{row.name}: {row.reason}")))
        for note in table.notes:
            console.print(escape(printable(note)), style="dim")


def _width(drawn: Drawn, console: Console) -> int:
    """The width of a table if long names are wrapped."""
    # Within the console's own width the measurement would never exceed it.
    boundless = console.options.update(max_width=BOUNDLESS)
    longest = max((len(str(name)) for name in drawn.columns[0].cells), default=0)
    return Measurement.get(console, boundless, drawn).maximum - max(0, longest - NAME)


def _drawn(table: Table, between: str) -> Drawn:
    """A table for the terminal; `between` separates the parts of its cells."""
    drawn = Drawn(box=None, padding=(0, 2, 0, 0))
    for column, head in enumerate(escape(printable(head)) for head in _heads(table)):
        drawn.add_column(
            head, justify="right" if column else "left", no_wrap=column > 0, overflow="fold"
        )
    for row in table.rows:
        if not row.reason:
            name, *cells = (escape(printable(cell)) for cell in _cells(row, table))
            parted = (re.sub(r" (?=\\?[\[(])", between, cell) for cell in cells)
            drawn.add_row(name, *parted)
    return drawn


def _drawn_by_line(table: Table) -> Drawn:
    """A table for the terminal with a line for each number of each row."""
    drawn = Drawn(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in table.rows:
        if not row.reason:
            name, *cells = (escape(printable(cell)) for cell in _cells(row, table))
            heads = (escape(printable(head)) for head in _heads(table)[1:])
            drawn.add_row(f"[bold]{name}[/bold]", "")
            for head, cell in zip(heads, cells, strict=True):
                if cell:
                    drawn.add_row(f"  {head}", cell)
    return drawn


def _heads(table: Table) -> list[str]:
    return ["", *table.numbers, "n", *([] if table.number else ["seconds"])]


def _cells(row: Row, table: Table) -> list[str]:
    if row.reason:
        return [row.name, row.reason, *([""] * (len(_heads(table)) - 2))]
    seconds = "" if row.seconds is None else f"{row.seconds:,.0f}"
    return [
        row.name,
        *(_cell(row, name, table.number or name) for name in table.numbers),
        str(row.n),
        *([] if table.number else [seconds]),
    ]


def _cell(row: Row, column: str, number: str) -> str:
    """A mean, with its interval and difference if any."""
    estimate, difference = row.numbers.get(column), row.differences.get(column)
    if estimate is None:
        return ""
    text, digits = shown(estimate, number), _digits(number)
    if difference is None:
        return text
    span = (
        f" [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]"
        if difference.n > 1
        else ""
    )
    return f"{text} ({difference.value:+.{digits}f}{span})"


def shown(estimate: Estimate, number: str) -> str:
    """A mean over seeds, with its interval if there are several."""
    digits = _digits(number)
    span = f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]" if estimate.n > 1 else ""
    return f"{estimate.value:.{digits}f}{span}"


def _digits(number: str) -> int:
    """Decimals: more for errors, which are small."""
    return 4 if "error" in number else 3


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _three(estimate: Estimate | None) -> list[str]:
    fields = {} if estimate is None else estimate_json(estimate)
    three = (fields.get(key) for key in ("value", "low", "high"))
    return ["" if value is None else repr(value) for value in three]


def _text(number: float | None) -> str:
    return "" if number is None else str(number)
