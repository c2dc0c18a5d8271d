"""The page: everything escaped, nothing loaded, nothing run."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from metricforge.contracts import Estimate
from metricforge.report.page import Facts, Part, flattened, printable, write_page

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags and attributes as a browser would see them, and whether the tags match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def plot(tmp_path):
    path = tmp_path / "plot.png"
    Image.new("RGB", (4, 3), "red").save(path)
    return path


@pytest.fixture
def facts(plot):
    results = {
        "trained": {
            "map@r": Estimate(0.7512, 0.7, 0.8, 42, "classes"),
            "accuracy@5way1shot": Estimate(0.9, 0.89, 0.91, 1000, "episodes"),
        },
        "pixels": {"map@r": Estimate(0.25, 0.2, 0.3, 42, "classes")},
    }
    return Facts(
        title="hard-triplet on digits",
        results=results,
        parts=[Part("train", 1200, ["0", "1"]), Part("test", 300, ["8", "9"])],
        split_hash="abc123",
        closed_set=False,
        command="metricforge train --config 'a b.toml'",
        notes=["Episodes are 5-way."],
        plots={"Test embeddings": plot},
        confused=[("8", "9", 30, 120)],
        config={"seed": 0, "model": {"dim": 64, "head": "linear"}},
        environment={"torch": "2.10"},
    )


@pytest.fixture
def render(tmp_path):
    def write(facts):
        write_page(tmp_path / "report.html", facts)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


def test_the_page_tells_all_facts(render, facts):
    page = Page(render(facts))
    assert page.open == []
    for words in (
        "hard-triplet on digits",
        "held-out classes",
        "metric trained pixels",
        "map@r 0.751 0.700 to 0.800 over 42 classes 0.250 0.200 to 0.300 over 42 classes",
        "accuracy@5way1shot 0.900 0.890 to 0.910 over 1,000 episodes not measured",
        "Episodes are 5-way.",
        "train 2 classes, 1,200 images 0, 1",
        "test 2 classes, 300 images 8, 9",
        "Split abc123 ; when this was written its test part had been opened once.",
        "metricforge train --config 'a b.toml'",
        "8 9 25 % 30 of 120 queries",
        "seed 0 model.dim 64 model.head linear",
        "Environment torch 2.10",
    ):
        assert words in page.words


def test_a_closed_set_and_more_than_one_look_are_said(render, facts):
    words = Page(render(replace(facts, closed_set=True, times_tested=3))).words
    assert "closed set The test classes were also trained on" in words
    assert "held-out" not in words
    assert "opened 3 times" in words


@pytest.mark.fault(51)
def test_what_users_wrote_is_escaped_everywhere(render, facts, plot):
    evil = Facts(
        title=EVIL,
        results={EVIL: {EVIL: Estimate(0.5, 0.4, 0.6, 9, EVIL)}},
        parts=[Part(EVIL, 1, [EVIL])],
        split_hash=EVIL,
        closed_set=False,
        command=EVIL,
        notes=[EVIL],
        plots={f'"{EVIL}': plot},
        confused=[(EVIL, EVIL, 1, 2)],
        config={EVIL: EVIL},
        environment={EVIL: [EVIL]},
    )
    text = render(evil)
    page = Page(text)
    assert "script" not in page.tags
    assert EVIL not in text
    assert page.words.count(EVIL) >= 12
    assert page.open == []
    plain = Page(render(facts))
    assert {name for name, _ in page.attributes} == {name for name, _ in plain.attributes}


def test_nothing_is_loaded_and_nothing_runs(render, facts):
    text = render(facts)
    page = Page(text)
    assert not re.search(r"https?://|//[a-z]|@import|url\(|javascript:", text, re.IGNORECASE)
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert [source[:22] for source in sources] == ["data:image/png;base64,"]
    assert any("default-src 'none'" in (value or "") for _, value in page.attributes)


def test_plots_are_inside_byte_for_byte(render, facts, plot):
    encoded = re.search(r'src="data:image/png;base64,([^"]+)"', render(facts))
    assert base64.b64decode(encoded[1]) == plot.read_bytes()


def test_light_dark_and_narrow_screens_are_provided_for(render, facts):
    text = render(facts)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "max-width: 40rem" in text


def test_bare_facts_make_a_page(render):
    bare = Facts("t", {}, [], "h", closed_set=False, command="c")
    page = Page(render(bare))
    assert "Nothing was measured." in page.words
    assert not {"Notes", "Plots", "Configuration"} & set(page.text)
    assert page.open == []


def test_the_same_facts_give_the_same_bytes(render, facts):
    assert render(facts) == render(facts)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain 漢字 é", "plain 漢字 é"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        ("\udc80", "\\udc80"),
        ("a\nb", "a\\nb"),
        (0.5, "0.5"),
    ],
)
def test_characters_that_mislead_are_spelled_out(render, facts, name, shown):
    assert printable(name) == shown
    assert shown in Page(render(replace(facts, parts=[Part("test", 1, [name])]))).words


def test_nested_tables_get_dotted_names():
    nested = {"a": 1, "b": {"c": [2], "d": {"e": None}}}
    assert dict(flattened(nested)) == {"a": 1, "b.c": [2], "b.d.e": None}
