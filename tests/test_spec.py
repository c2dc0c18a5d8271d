"""Specs: how they are read and written, and how a signature becomes typed options."""

from __future__ import annotations

import inspect
import math
import string
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.contracts import InnerSpec
from metricforge.errors import PluginError, UsageError
from metricforge.spec import Option, Spec, asks_of, bind, complete, further_of, options_of

NAME_START = string.ascii_letters + string.digits + "_"
names = st.builds(
    str.__add__, st.sampled_from(NAME_START), st.text(alphabet=NAME_START + ".-", max_size=12)
)
keys = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
values = st.text(max_size=12) | st.text(alphabet='a,"\\ =:\n', max_size=12)
specs = st.builds(Spec, names, st.dictionaries(keys, values, max_size=4), st.none() | names)


def component(
    labels: Any,
    *,
    count: int = 4,
    rate: float = 0.5,
    deep: bool = False,
    name: str = "x",
    mode: Literal["mean", "sum"] = "mean",
    power: Literal[1, 2] = 2,
    width: int | None = None,
    either: int | float = 1,
    path: Path = Path("data"),
    old: Optional[bool] = None,  # noqa: UP045 - plugins may write it so
) -> None:
    """A component with an option of every type."""


def needs(labels: Any, *, size: int) -> None:
    """A component with a required option."""


def bound(text: str) -> dict[str, Any]:
    return bind(component, Spec.parse(text), "sampler 'component'")


@settings(deadline=None, max_examples=400)
@given(specs)
def test_a_written_spec_reads_back_the_same(spec):
    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("name", Spec("name")),
        ("  name  ", Spec("name")),
        ("hard-triplet:classes=16,per_class=4",
         Spec("hard-triplet", {"classes": "16", "per_class": "4"})),
        ("dist:name", Spec("name", {}, "dist")),
        ("dist:name:a=1", Spec("name", {"a": "1"}, "dist")),
        ("pml.TripletMarginLoss:margin=0.1", Spec("pml.TripletMarginLoss", {"margin": "0.1"})),
        ("a: x = 1 , y = 2 ", Spec("a", {"x": "1", "y": "2"})),
        ("a:x=", Spec("a", {"x": ""})),
        ("a:x=b=c", Spec("a", {"x": "b=c"})),
        ("folder:path=C:/images:2", Spec("folder", {"path": "C:/images:2"})),
        ('folder:path="one, two"', Spec("folder", {"path": "one, two"})),
        (r'folder:path="a \"b\" \\ c",size=3', Spec("folder", {"path": r'a "b" \ c', "size": "3"})),
        (r"folder:path=C:\images", Spec("folder", {"path": r"C:\images"})),
        ("classes:train=0-4,test=7+8", Spec("classes", {"train": "0-4", "test": "7+8"})),
    ],
)  # fmt: skip
def test_a_spec_is_read(text, spec):
    assert Spec.parse(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":",
        ":a=1",
        "a=1",
        "-a",
        "a b",
        "a/b",
        "a:b:c",
        "a:b:c:x=1",
        "a::x=1",
        "a:x=1,x=2",
        "a:x=1,y",
        "a:x=1,,y=2",
        "a:x=1;y=2,z",
        'a:x="open',
        'a:x="b"c',
        'a:x=b"c"',
        "a:=1",
        "a:x y=1",
        "über:x=1",
    ],
)
def test_a_malformed_spec_is_refused_with_its_text_and_the_form(text):
    with pytest.raises(UsageError) as caught:
        Spec.parse(text)
    assert f"'{text}'" in str(caught.value)
    assert "write name:key=value,key=value" in str(caught.value)


def test_options_are_read_as_their_types():
    assert bound("c") == {
        "count": 4, "rate": 0.5, "deep": False, "name": "x", "mode": "mean", "power": 2,
        "width": None, "either": 1, "path": Path("data"), "old": None,
    }  # fmt: skip
    found = bound(
        "c:count=-7,rate=1e-3,deep=true,name=none,mode=sum,power=1,width=3,either=2.5,path=a/b,"
        "old=false"
    )
    assert found == {
        "count": -7, "rate": 1e-3, "deep": True, "name": "none", "mode": "sum", "power": 1,
        "width": 3, "either": 2.5, "path": Path("a/b"), "old": False,
    }  # fmt: skip
    assert type(found["power"]) is int
    assert type(bound("c:rate=2")["rate"]) is float


def test_a_union_reads_the_strictest_type_that_fits():
    assert type(bound("c:either=2")["either"]) is int
    assert type(bound("c:either=2.0")["either"]) is float
    assert bound("c:width=none")["width"] is None


@pytest.mark.parametrize("text", ["True", "1", "0", "yes", "no", "on", "FALSE", "", "none"])
def test_booleans_are_true_or_false_and_nothing_else(text):
    with pytest.raises(UsageError, match=f"option 'deep' .* takes bool, not '{text}'"):
        bound(f"c:deep={text}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c:count=4.0", "option 'count' of sampler 'component' takes int, not '4.0'"),
        ("c:count=", "takes int, not ''"),
        ("c:count=none", "takes int, not 'none'"),
        ("c:rate=fast", "takes float, not 'fast'"),
        ("c:mode=max", r"takes mean\|sum, not 'max'"),
        ("c:power=3", r"takes 1\|2, not '3'"),
        ("c:width=wide", "takes int or none, not 'wide'"),
        ("c:either=x", "takes int or float, not 'x'"),
        ("c:old=1", "takes bool or none, not '1'"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_type(text, message):
    with pytest.raises(UsageError, match=message):
        bound(text)


def test_an_unknown_option_gives_the_nearest_and_the_choices():
    with pytest.raises(UsageError) as caught:
        bound("c:cuont=3")
    assert "unknown option of sampler 'component': 'cuont'" in str(caught.value)
    assert "did you mean 'count'?" in str(caught.value)
    assert "either, mode, name" in str(caught.value)


def test_what_the_core_offers_is_no_option():
    with pytest.raises(UsageError, match="unknown option"):
        bound("c:labels=3")


def test_a_required_option_is_asked_for_with_its_type():
    with pytest.raises(UsageError, match=r"needs the option 'size' \(int\)"):
        bind(needs, Spec("needs"), "sampler 'needs'")
    assert bind(needs, Spec("needs", {"size": "3"}), "sampler 'needs'") == {"size": 3}


def one_of_or_none(*, mode: Literal["mean", "sum"] | None = None) -> None:
    """A component whose choice may be left open."""


def test_a_literal_or_none_takes_its_choices():
    (option,) = options_of(one_of_or_none).values()
    assert option.read("sum") == "sum"
    assert option.read("none") is None
    with pytest.raises(ValueError, match="max"):
        option.read("max")
    assert option.type_name == "mean|sum or none"


def further(labels: Any, *, blend: int = 0, **stages: InnerSpec) -> dict[str, str]:
    """A component whose further options have names of the user's choosing."""
    return stages


def test_a_typed_var_keyword_takes_options_of_any_further_name():
    spec = Spec.parse('f:0=one,x_2="two:a=1,b=2",blend=3')
    assert bind(further, spec, "f") == {"0": "one", "x_2": "two:a=1,b=2", "blend": 3}
    assert further(None, **bind(further, spec, "f")) == {"0": "one", "x_2": "two:a=1,b=2"}
    assert complete(further, Spec.parse("f:5=one"), "f") == Spec("f", {"blend": "0", "5": "one"})
    assert further_of(further) == Option("stages", InnerSpec, inspect.Parameter.empty)


def test_further_options_are_of_the_type_of_the_var_keyword():
    def numbers(labels: Any, **sizes: int) -> None: ...

    assert bind(numbers, Spec.parse("n:a=1,b=2"), "n") == {"a": 1, "b": 2}
    with pytest.raises(UsageError, match="option 'b' of n takes int, not 'x'"):
        bind(numbers, Spec.parse("n:a=1,b=x"), "n")


def test_what_the_core_offers_and_the_var_keyword_itself_are_no_further_options():
    for name in ("labels", "stages"):
        with pytest.raises(UsageError, match=f"unknown option of f: '{name}'"):
            bind(further, Spec("f", {name: "x"}), "f")


def test_a_var_keyword_without_a_type_that_a_spec_can_express_takes_nothing():
    def untyped(**options): ...
    def anything(**options: Any) -> None: ...

    for factory in (untyped, anything):
        assert further_of(factory) is None
        with pytest.raises(UsageError, match="unknown option of f: 'a'"):
            bind(factory, Spec("f", {"a": "1"}), "f")


def test_complete_writes_every_default_and_keeps_what_is_given():
    spec = complete(component, Spec.parse("dist:c:count=9"), "sampler 'c'")
    assert str(spec) == (
        "dist:c:count=9,rate=0.5,deep=false,name=x,mode=mean,power=2,width=none,either=1,"
        "path=data,old=none"
    )


@settings(deadline=None)
@given(
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(max_size=8),
    st.none() | st.integers(),
)
def test_a_completed_spec_binds_to_the_same_values(count, rate, deep, name, width):
    given = {
        "count": str(count), "rate": repr(rate), "deep": str(deep).lower(), "name": name,
        "width": "none" if width is None else str(width),
    }  # fmt: skip
    full = Spec.parse(str(complete(component, Spec("c", given), "sampler 'c'")))
    again = bind(component, full, "sampler 'c'")
    assert again == bind(component, Spec("c", given), "sampler 'c'")
    assert (again["count"], again["deep"], again["name"], again["width"]) == (
        count, deep, name, width,
    )  # fmt: skip
    assert math.isclose(again["rate"], rate) or again["rate"] == rate


def test_asks_are_the_ordinary_parameters_of_functions_classes_and_partials():
    class Component:
        def __init__(self, labels: Any, groups: Any, *, count: int = 2) -> None: ...

    assert asks_of(component) == ("labels",)
    assert asks_of(Component) == ("labels", "groups")
    assert list(options_of(Component)) == ["count"]
    filled = partial(Component, count=5)
    assert asks_of(filled) == ("labels", "groups")
    assert bind(filled, Spec("c"), "c") == {"count": 5}
    assert asks_of(lambda: None) == ()


DEFERRED = '''
from __future__ import annotations
from typing import TYPE_CHECKING, Literal
if TYPE_CHECKING:
    from torch import Tensor
    from nowhere import Nothing

def fine(labels: Tensor, groups: Nothing, *, mode: Literal["a", "b"] = "a", size: int | None = None
         ) -> None:
    """Names that only a type checker sees stand on ordinary parameters."""

def bad(labels: Tensor, *, like: Nothing = None):
    """Here one stands on an option."""
'''


@pytest.fixture
def deferred(monkeypatch):
    module = ModuleType("deferred_annotations")
    exec(DEFERRED, vars(module))
    monkeypatch.setitem(sys.modules, "deferred_annotations", module)
    return module


def test_deferred_annotations_are_resolved_for_options_only(deferred):
    assert asks_of(deferred.fine) == ("labels", "groups")
    assert bind(deferred.fine, Spec("f", {"mode": "b", "size": "3"}), "f") == {
        "mode": "b",
        "size": 3,
    }
    assert bind(partial(deferred.fine), Spec("f"), "f") == {"mode": "a", "size": None}


def test_an_option_whose_type_is_not_there_blames_the_component(deferred):
    with pytest.raises(PluginError, match=r"option 'like' of bad needs a type .*Nothing"):
        options_of(deferred.bad)


@pytest.mark.parametrize("kind", [list, dict[str, int], tuple[int, ...], int | list, Any, None])
def test_a_type_that_a_spec_can_not_express_is_refused(kind):
    def factory(*, odd=1):
        """Its option gets the type under test."""

    factory.__annotations__["odd"] = kind
    with pytest.raises(PluginError, match=r"option 'odd' of .*factory needs a type"):
        options_of(factory)


def test_an_option_without_a_type_is_refused():
    def factory(*, odd=1):
        """Nothing says what it is."""

    with pytest.raises(PluginError, match="option 'odd'"):
        options_of(factory)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (int, "int"),
        (int | None, "int or none"),
        (Literal["a", 2], "a|2"),
        (int | float, "int or float"),
        (Path, "Path"),
    ],
)
def test_a_type_is_named_for_people(kind, name):
    assert Option("x", kind, 1).type_name == name


def test_a_comma_that_is_not_quoted_is_told_how_to_be():
    with pytest.raises(UsageError, match=r'in double quotes, as \'folder:path="a, b"\''):
        Spec.parse("folder:path=photos, 1998")
