"""Names that strangers chose stay text: in Markdown, by markdown-it, and in YAML, by PyYAML."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from metricforge.markdown import block, code, front_matter, table, text

READER = MarkdownIt("gfm-like", {"html": True, "linkify": False})

HOSTILE = (
    "](http://evil) [x", "<script>alert(1)</script>", "`", "``a", " `x` ", "a | b", "*a* __b__",
    "![x](y)", "~~a~~", "\\", "\\`", "&lt;b&gt;", "\n\n# heading", "\r\n---\r\n", "```\nx", "~~~",
    "a\x1b[31m", "\u202eabc", "\ud800", "$$x$$", "<http://evil>", "[^1]", "---", "a\u2028b",
)  # fmt: skip
NAMES = st.one_of(
    st.text(), st.sampled_from(HOSTILE), st.text("`*_[]<>&|#~$\\!() ab\n", max_size=20)
)


def hostile(test):
    for name in HOSTILE:
        test = example(name)(test)
    return settings(max_examples=200, deadline=None)(given(NAMES)(test))


def plain(name: str) -> str:
    """What a reader sees of a name: control characters are spelled."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def read(markdown: str) -> list[tuple[str, str]]:
    """Kind and content of each part of a line, without the paragraph around it."""
    tokens = READER.parse(markdown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    parts: list[tuple[str, str]] = []
    for child in tokens[1].children or []:
        if child.type == "text" and parts and parts[-1][0] == "text":
            parts[-1] = ("text", parts[-1][1] + child.content)
        elif child.content or child.type != "text":
            parts.append((child.type, child.content))
    return parts


@hostile
def test_a_name_is_text(name: str) -> None:
    assert read(f"x{text(name)}x") == [("text", f"x{plain(name)}x")]


@pytest.mark.parametrize("address", ["www.evil.com", "WWW.a.b", "https://evil.com", "ftp://a.b"])
def test_no_name_becomes_a_link(address: str) -> None:
    shown = text(address)
    assert "://" not in shown
    assert "www." not in shown.lower()
    assert read(f"x{shown}x") == [("text", f"x{address}x")]


@hostile
def test_a_name_is_code(name: str) -> None:
    if not plain(name).strip():
        return  # nothing, which has no code
    parts = read(f"x{code(name)}x")
    assert [kind for kind, _ in parts] == ["text", "code_inline", "text"]
    # A blank at either end is seen as well as none.
    assert parts[1][1].strip() == plain(name).strip()


@hostile
def test_a_name_ends_no_cell(name: str) -> None:
    lines = table(["", "trained"], [[text(name), "1"], ["b", "2"]])
    tokens = READER.parse("\n".join(lines))
    cells = [token.content for token in tokens if token.type == "inline"]
    # A cell too many would push the others, and a reader drops the last.
    assert len(cells) == 6
    assert cells[3:] == ["1", "b", "2"]
    assert sum(token.type == "tr_open" for token in tokens) == 3
    assert tokens[-1].type == "table_close"


@hostile
def test_a_name_ends_no_block(name: str) -> None:
    tokens = READER.parse("\n".join([*block(f"a\n{name}\nb", "toml"), "", "after"]))
    assert [token.type for token in tokens][:2] == ["fence", "paragraph_open"]
    assert tokens[0].content.endswith("\nb\n")


@hostile
def test_a_name_is_a_string_of_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    values = {
        "library_name": "metricforge",
        "model-index": [{"name": name, "results": [{"value": 0.5, "closed": False}, {"n": 3}]}],
        "tags": [name, "no", "1.0"],
    }
    lines = front_matter(values)
    assert (lines[0], lines[-1]) == ("---", "---")
    assert all(line.isprintable() for line in lines)
    whole = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in name)
    expected = values | {"tags": [whole, "no", "1.0"]}
    expected["model-index"] = [{**values["model-index"][0], "name": whole}]
    assert yaml.safe_load("\n".join(lines[1:-1])) == expected
