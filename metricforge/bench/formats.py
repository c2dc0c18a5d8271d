"""A table as text: Markdown, CSV, JSON, HTML, and for the terminal."""

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

from metricforge.bench.table import Row, Table, told
from metricforge.contracts import Estimate
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
    """GitHub's tables, each under its title, with notes."""
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
    """One page that needs nothing else."""
    page: str = _PAGE.render(tables=tables, heads=_heads, cells=_cells)
    return page + "\n"


def as_json(tables: Sequence[Table]) -> str:
    """Everything, for another program."""
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
                found = row.numbers.get(name)
                writer.writerow([
                    table.title, row.name, name, *_three(found),
                    row.n if found is None else found.n,
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
"""Characters that no table is wide."""

NAME = 24
"""Characters of a name that are left in a line before the rest of the table is made narrower."""


def on_terminal(tables: Sequence[Table], console: Console) -> None:
    """Print the tables in the width that there is; reasons and notes stand below.

    Where a row does not fit into a line, each cell is taken apart into several, and where these
    are too wide as well, each number has a line of its own.
    """
    for table in tables:
        console.print(escape(printable(table.title)), style="bold")
        drawn = _drawn(table, " "), _drawn(table, "\n")
        fitting = [one for one in drawn if _width(one, console) <= console.width]
        console.print(fitting[0] if fitting else _drawn_by_line(table))
        for row in table.rows:
            if row.reason:
                console.print(escape(printable(f"{row.name}: {row.reason}")))
        for note in table.notes:
            console.print(escape(printable(note)), style="dim")


def _width(drawn: Drawn, console: Console) -> int:
    """How wide a table is when names that are long go over several lines."""
    # Asked within the console's own width, the answer is never more than that.
    boundless = console.options.update(max_width=BOUNDLESS)
    longest = max((len(str(name)) for name in drawn.columns[0].cells), default=0)
    return Measurement.get(console, boundless, drawn).maximum - max(0, longest - NAME)


def _drawn(table: Table, between: str) -> Drawn:
    """A table for the terminal; `between` is put between the parts of its cells."""
    drawn = Drawn(box=None, padding=(0, 2, 0, 0))
    for place, head in enumerate(escape(printable(head)) for head in _heads(table)):
        drawn.add_column(
            head, justify="right" if place else "left", no_wrap=place > 0, overflow="fold"
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
    """A mean with its interval, where there is one, and the difference."""
    found, apart = row.numbers.get(column), row.differences.get(column)
    if found is None:
        return ""
    text, digits = shown(found, number), _digits(number)
    if apart is None:
        return text
    span = f" [{apart.low:+.{digits}f}, {apart.high:+.{digits}f}]" if apart.n > 1 else ""
    return f"{text} ({apart.value:+.{digits}f}{span})"


def shown(found: Estimate, number: str) -> str:
    """A mean over seeds, with its interval where there are several."""
    digits = _digits(number)
    span = f" [{found.low:.{digits}f}, {found.high:.{digits}f}]" if found.n > 1 else ""
    return f"{found.value:.{digits}f}{span}"


def _digits(number: str) -> int:
    """Errors are small: a thousandth is much of one."""
    return 4 if "error" in number else 3


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _three(estimate: Estimate | None) -> list[str]:
    found = {} if estimate is None else told(estimate)
    three = (found.get(key) for key in ("value", "low", "high"))
    return ["" if value is None else repr(value) for value in three]


def _text(number: float | None) -> str:
    return "" if number is None else str(number)
