"""Write metricforge/recipes/keywords.py, the options of `metricforge.train` for editors.

    python tests/keywords.py

A type checker completes keyword arguments from a TypedDict that it reads (PEP 692), so that the
options of the recipe can't be handed over at runtime alone.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

from metricforge.recipes.option import Option
from metricforge.recipes.recipe import options
from metricforge.spec import Spec

FILE = Path(__file__).parents[1] / "metricforge" / "recipes" / "keywords.py"

HEAD = '''"""The options of `metricforge.train`, for editors and type checkers.

Written by tests/keywords.py from the fields of `metricforge.Recipe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict


class TrainOptions(TypedDict, total=False):
    """Keyword arguments; a component is a spec, or a Python object."""
'''


def kind_of(each: Option) -> str:
    """The type of what a program gives: a component may be any object."""
    one = each.type.__name__ if each.type is not Spec else "Any" if each.takes_objects else "str"
    whole = f"Sequence[{one}] | {one}" if each.several and one != "Any" else one
    optional = each.default is None and whole != "Any"
    return f"{whole} | None" if optional else whole


def content() -> str:
    """The whole module."""
    fields = []
    for each in options().values():
        usual = each.about.usual
        said = f"{each.about.help} Default: {usual}." if usual else each.about.help
        lines = wrap(f'"""{said}"""', 96)
        if len(lines) > 1:
            first, *others = wrap(said, 93)
            lines = [f'"""{first}', *others, '"""']
        fields.append(
            "\n".join([f"    {each.name}: {kind_of(each)}", *(f"    {x}" for x in lines)])
        )
    return HEAD + "\n" + "\n\n".join(fields) + "\n"


if __name__ == "__main__":
    FILE.write_text(content())
