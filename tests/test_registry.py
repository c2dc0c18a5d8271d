"""The registry, made from entry points that point at modules written for the test."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, EntryPoint
from itertools import count
from textwrap import dedent

import pytest

from metricforge.contracts import KINDS
from metricforge.errors import DataError, PluginError, UnfitError, UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec

NUMBER = count()


class Installed(Distribution):
    """A distribution that has a name and a version and nothing else."""

    def __init__(self, name):
        self._name = name

    def read_text(self, filename):
        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: {self._name}\nVersion: 1.2\n"
        return None

    def locate_file(self, path):
        raise NotImplementedError


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Writes a module and gives the entry points that name its attributes."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(source, dist="plug", kind="sampler", **names):
        module = f"plugin_of_a_test_{next(NUMBER)}"
        written.append(module)
        (tmp_path / f"{module}.py").write_text(dedent(source))
        return [
            EntryPoint(shown.replace("_", "-"), f"{module}:{attribute}", KINDS[kind].group)._for(
                Installed(dist)
            )
            for shown, attribute in names.items()
        ]

    yield write
    for module in written:
        sys.modules.pop(module, None)


GOOD = '''
class Good:
    """Does what it should.

    More of it.
    """
    def __init__(self, labels, *, size: int = 3) -> None:
        self.labels, self.size = labels, size
'''


def named(points, name):
    """The same entry point under another name, which may hold a dot."""
    (point,) = points
    return [EntryPoint(name, point.value, point.group)._for(point.dist)]


def build(points, text, kind="sampler", **offers):
    return Registry(points).build(kind, Spec.parse(text), offers)


def test_a_component_is_built_from_offers_and_options(plugin):
    made = build(plugin(GOOD, good="Good"), "good:size=7", labels="the labels", groups=None)
    assert (made.labels, made.size) == ("the labels", 7)
    assert build(plugin(GOOD, good="Good"), "good", labels=1).size == 3


def test_only_the_chosen_one_is_imported(plugin):
    points = plugin(GOOD, good="Good") + plugin("raise ValueError('never')", other="Other")
    build(points, "good", labels=1)
    assert points[0].module in sys.modules
    assert points[1].module not in sys.modules


def test_an_unknown_name_gives_the_nearest_and_the_choices(plugin):
    points = plugin(GOOD, good="Good", hard_triplet="Good")
    with pytest.raises(UsageError) as caught:
        build(points, "hard-triplett", labels=1)
    assert "unknown sampler 'hard-triplett'; did you mean 'hard-triplet'?" in str(caught.value)
    assert "Choices: good, hard-triplet." in str(caught.value)


def test_a_name_of_another_kind_is_unknown(plugin):
    with pytest.raises(UsageError, match="unknown loss 'good'"):
        build(plugin(GOOD, good="Good"), "good", kind="loss")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import a_module_that_nobody_has", "it imports 'a_module_that_nobody_has', which is not"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("", "its module does not define 'Bad'"),
    ],
)
def test_a_plugin_that_can_not_be_imported_is_named_and_the_others_load(plugin, source, reason):
    points = plugin(source, dist="bad-plugin", bad="Bad") + plugin(GOOD, good="Good")
    registry = Registry(points)
    with pytest.raises(PluginError, match=reason) as caught:
        registry.build("sampler", Spec("bad"), {"labels": 1})
    assert f"sampler 'bad' of bad-plugin 1.2 ({points[0].value})" in str(caught.value)
    assert registry.build("sampler", Spec("good"), {"labels": 1}).size == 3
    assert [entry.name for entry in registry.entries()] == ["bad", "good"]


def test_ctrl_c_while_importing_is_no_fault_of_the_plugin(plugin):
    with pytest.raises(KeyboardInterrupt):
        build(plugin("raise KeyboardInterrupt", slow="Slow"), "slow", labels=1)


def test_two_distributions_with_one_name_must_be_told_apart(plugin):
    points = plugin(GOOD, dist="one", good="Good")
    points += plugin(GOOD.replace("= 3", "= 4"), dist="two", good="Good")
    with pytest.raises(PluginError, match="more than one distribution; write one:good or two:good"):
        build(points, "good", labels=1)
    assert build(points, "one:good", labels=1).size == 3
    assert build(points, "two:good:size=9", labels=1).size == 9
    assert build(points, "two:good", labels=1).size == 4
    with pytest.raises(UsageError, match=r"unknown sampler 'too:good'; did you mean 'two:good'\?"):
        build(points, "too:good", labels=1)


def test_what_the_core_does_not_offer_is_refused_with_what_it_does(plugin):
    source = "def odd(labels, weather):\n    '''Asks too much.'''"
    with pytest.raises(PluginError) as caught:
        build(plugin(source, odd="odd"), "odd", labels=1, groups=1)
    assert "requires 'weather'" in str(caught.value)
    assert "it offers labels, groups, build." in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_offers_what_the_contract_says(plugin, kind):
    offers = KINDS[kind].offers
    source = f"def every({', '.join(offers)}):\n    return ({' '.join(f'{o},' for o in offers)})"
    given = {name: f"the {name}" for name in offers}
    made = build(plugin(source, kind=kind, every="every"), "every", kind=kind, **given)
    *others, builder = made
    assert others == [value for name, value in given.items() if name != "build"]
    assert callable(builder)


def test_a_component_may_build_another_of_its_kind(plugin):
    source = (
        GOOD
        + """
def wrap(labels, build, *, around: str = "good:size=8"):
    return ("wrapped", build(around))
"""
    )
    points = plugin(source, wrap="wrap", good="Good")
    word, inner = build(points, "wrap", labels="the labels")
    assert (word, inner.size, inner.labels) == ("wrapped", 8, "the labels")
    twice = build(points, 'wrap:around="wrap:around=good"', labels=1)
    assert twice[1][1].size == 3
    with pytest.raises(UsageError, match="unknown sampler 'goood'; did you mean 'good'"):
        build(points, "wrap:around=goood", labels=1)


def test_what_this_run_does_not_have_is_a_data_error(plugin):
    points = plugin("def by_group(labels, groups): ...", grouped="by_group")
    with pytest.raises(UnfitError, match="sampler 'grouped' requires groups, which this run"):
        build(points, "grouped", labels=1, groups=None)


def test_zero_and_empty_offers_are_there(plugin):
    points = plugin("def take(margin):\n    return margin", kind="miner", take="take")
    assert build(points, "take", kind="miner", margin=0.0) == 0.0


def test_what_fails_while_it_is_built_is_named(plugin):
    points = plugin("def bad(labels):\n    return labels['x']", dist="culprit", bad="bad")
    with pytest.raises(PluginError, match=r"sampler 'bad' of culprit 1\.2 .* failed: TypeError"):
        build(points, "bad", labels=1)


def test_an_error_for_the_user_passes_through(plugin):
    source = """
    from metricforge.errors import DataError
    def picky(labels):
        raise DataError("too few.")
    """
    with pytest.raises(DataError, match=r"^too few\.$"):
        build(plugin(source, picky="picky"), "picky", labels=1)


@pytest.mark.parametrize("value", ["3", "'text'", "None", "{}"])
def test_what_is_no_factory_is_refused(plugin, value):
    with pytest.raises(PluginError, match="not a factory"):
        build(plugin(f"thing = {value}", thing="thing"), "thing", labels=1)


def test_a_factory_without_a_signature_is_refused(plugin):
    # A class of C code has none; asking for it must not end in a traceback.
    with pytest.raises(PluginError, match=r"sampler 'thing' of plug 1\.2"):
        build(plugin("thing = dict", thing="thing"), "thing", labels=1)


def test_an_option_without_a_type_blames_the_plugin(plugin):
    with pytest.raises(PluginError, match="option 'size' of loose needs a type"):
        build(plugin("def loose(labels, *, size=3): ...", loose="loose"), "loose", labels=1)


def test_an_unknown_option_gives_the_nearest(plugin):
    with pytest.raises(UsageError, match="did you mean 'size'"):
        build(plugin(GOOD, good="Good"), "good:sise=3", labels=1)


FAMILY = '''
def small(*, size: int = 1):
    return ("small", size)

def large(*, size: int = 2):
    return ("large", size)

MEMBERS = {"small": small, "large": large}
"""Members by name."""

MEMBER = small
'''


def test_a_family_gives_its_members_by_name(plugin):
    points = named(plugin(FAMILY, kind="loss", x="MEMBERS"), "fam.")
    assert build(points, "fam.large", kind="loss") == ("large", 2)
    assert build(points, "plug:fam.small:size=5", kind="loss") == ("small", 5)
    (entry,) = Registry(points).entries("loss")
    assert entry.family
    assert entry.shown == "fam.NAME"


def test_an_unknown_member_gives_the_nearest(plugin):
    points = named(plugin(FAMILY, kind="loss", x="MEMBERS"), "fam.")
    with pytest.raises(UsageError, match=r"unknown loss of fam.NAME: 'lrge'; did you mean 'large'"):
        build(points, "fam.lrge", kind="loss")
    for text in ("fam", "fam.", "family"):
        with pytest.raises(UsageError, match="unknown loss"):
            build(points, text, kind="loss")


def test_a_family_must_be_a_mapping(plugin):
    points = named(plugin(FAMILY, kind="loss", x="MEMBER"), "fam.")
    with pytest.raises(PluginError, match="is a family and must be a mapping"):
        build(points, "fam.small", kind="loss")


def test_a_name_of_its_own_goes_before_a_family(plugin):
    points = named(plugin(FAMILY, kind="loss", x="MEMBERS"), "fam.")
    points += named(plugin(FAMILY, kind="loss", x="small"), "fam.large")
    assert build(points, "fam.large", kind="loss") == ("small", 1)


def test_an_error_in_a_member_names_the_member(plugin):
    source = "def bad():\n    raise ValueError('x')\nMEMBERS = {'bad': bad}"
    points = named(plugin(source, kind="loss", x="MEMBERS"), "fam.")
    with pytest.raises(PluginError, match=r"loss 'fam\.bad' of plug 1\.2"):
        build(points, "fam.bad", kind="loss")


def test_summaries_are_read_without_importing(plugin):
    points = plugin("raise ValueError('never')\n" + GOOD, good="Good")
    points += named(plugin("raise ValueError('never')\n" + FAMILY, x="MEMBERS"), "fam.")
    points += plugin("def plain(labels): ...", plain="plain")
    points += plugin("def broken(:", broken="broken")
    points.append(EntryPoint("gone", "a_module_that_nobody_has.at.all:X", "metricforge.samplers"))
    found = {entry.shown: entry.summary() for entry in Registry(points).entries()}
    assert found == {
        "good": "Does what it should.",
        "fam.NAME": "Members by name.",
        "plain": "",
        "broken": "",
        "gone": "",
    }
    assert not {point.module for point in points} & set(sys.modules)


def test_a_summary_in_a_package_does_not_import_the_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "package_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise ValueError('never')")
    (package / "part.py").write_text(GOOD)
    point = EntryPoint("good", "package_of_a_test.part:Good", "metricforge.samplers")
    assert Registry([point]).entries()[0].summary() == "Does what it should."
    assert "package_of_a_test" not in sys.modules


def test_entries_are_sorted_by_kind_and_name_and_others_are_left_alone(plugin):
    points = plugin(GOOD, kind="loss", b="Good", a="Good") + plugin(GOOD, z="Good")
    points.append(EntryPoint("x", "y:z", "console_scripts"))
    registry = Registry(points)
    assert [(e.kind, e.name) for e in registry.entries()] == [
        ("sampler", "z"),
        ("loss", "a"),
        ("loss", "b"),
    ]
    assert [e.name for e in registry.entries("loss")] == ["a", "b"]
    assert registry.entries("head") == []


def test_an_entry_says_whose_it_is(plugin):
    (entry,) = Registry(plugin(GOOD, dist="Some-Plugin", good="Good")).entries()
    assert entry.origin == "Some-Plugin 1.2"
    loose = Registry([EntryPoint("x", "y:z", "metricforge.heads")]).entries()[0]
    assert loose.origin == "unknown ?"


def test_complete_writes_the_defaults(plugin):
    registry = Registry(plugin(GOOD, good="Good"))
    assert str(registry.complete("sampler", Spec.parse("good"))) == "good:size=3"


def test_complete_writes_the_defaults_of_what_is_wrapped(plugin):
    source = (
        GOOD
        + """
from metricforge.contracts import InnerSpec
def wrap(labels, build, *, around: InnerSpec = "good"):
    return build(around)
"""
    )
    registry = Registry(plugin(source, wrap="wrap", good="Good"))
    full = registry.complete("sampler", Spec.parse("wrap"))
    assert full.options["around"] == "good:size=3"
    again = registry.complete("sampler", Spec.parse(str(full)))
    assert str(again) == str(full)
    nested = registry.complete("sampler", Spec.parse("wrap:around=wrap"))
    assert Spec.parse(nested.options["around"]).options["around"] == "good:size=3"
    assert registry.build("sampler", Spec.parse(str(nested)), {"labels": 1}).size == 3


def test_complete_writes_the_defaults_of_stages_that_a_user_named(plugin):
    source = (
        GOOD
        + """
from metricforge.contracts import InnerSpec
def stages(labels, build, *, blend: int = 0, **stages: InnerSpec):
    return {name: build(spec) for name, spec in stages.items()}
"""
    )
    registry = Registry(plugin(source, stages="stages", good="Good"))
    full = registry.complete("sampler", Spec.parse("stages:0=good,7=good:size=5"))
    assert str(full) == "stages:blend=0,0=good:size=3,7=good:size=5"
    built = registry.build("sampler", full, {"labels": 1})
    assert {name: made.size for name, made in built.items()} == {"0": 3, "7": 5}


def test_the_installed_registry_has_the_standard_components():
    names = {(e.kind, e.shown) for e in Registry.installed().entries()}
    assert {
        ("sampler", "hard-triplet"),
        ("miner", "batch-hard"),
        ("loss", "pml.NAME"),
        ("backbone", "conv4"),
        ("head", "linear"),
        ("dataset", "digits"),
        ("protocol", "retrieval"),
    } <= names


def test_a_name_in_anothers_family_is_a_clash_that_the_distribution_settles(plugin):
    points = named(plugin(FAMILY, kind="loss", x="MEMBERS"), "fam.")
    points += named(plugin(FAMILY, dist="other", kind="loss", x="small"), "fam.large")
    with pytest.raises(PluginError, match=r"write other:fam\.large or plug:fam\.large"):
        build(points, "fam.large", kind="loss")
    assert build(points, "plug:fam.large", kind="loss") == ("large", 2)
    assert build(points, "other:fam.large", kind="loss") == ("small", 1)
    assert build(points, "fam.small", kind="loss") == ("small", 1)


def test_of_two_families_of_a_distribution_the_nearer_is_meant(plugin):
    points = named(plugin(FAMILY, kind="loss", x="MEMBERS"), "fam.")
    points += named(
        plugin("def c():\n    return 'nearer'\nM = {'c': c}", kind="loss", x="M"), "fam.b."
    )
    assert build(points, "fam.b.c", kind="loss") == "nearer"


@pytest.mark.parametrize(
    "declared",
    ["METRICFORGE_API = '2'", "METRICFORGE_API, x = 2, 3", "if True:\n    METRICFORGE_API = 2"],
)
def test_another_api_version_is_refused_however_it_is_declared(plugin, declared):
    with pytest.raises(PluginError, match=r"made for plugin API '?2'?, and this metricforge has 1"):
        build(plugin(f"{declared}\n{GOOD}", good="Good"), "good", labels=1)


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "raise BaseException('odd')"])
def test_whatever_a_plugin_raises_at_import_is_its_own_fault(plugin, ending):
    with pytest.raises(PluginError, match="can't be imported"):
        build(plugin(ending, good="Good"), "good", labels=1)


def test_options_of_a_constructor_from_another_module_are_read(plugin):
    source = "from metricforge_standard.protocols.oneshot import OneShot\nclass Mine(OneShot): ..."
    points = plugin(source, kind="protocol", mine="Mine")
    assert build(points, "mine:classifier=nearest", kind="protocol").classifier == "nearest"


def test_the_name_of_a_member_is_right_in_what_is_wrapped_too(plugin):
    """Nobody would call the `refesh` of an inner sampler."""
    points = plugin(
        '''
        from metricforge.contracts import InnerSpec

        class Inner:
            """."""
            def epoch(self, labels, generator): ...
            def refesh(self): ...

        def outer(build, *, inner: InnerSpec):
            """."""
            build(inner)
            return lambda: None
        ''',
        inner="Inner", outer="outer",
    )  # fmt: skip
    registry = Registry(points)
    for spec in ("inner", "outer:inner=inner"):
        with pytest.raises(PluginError, match=r"sampler 'inner' of plug 1\.2 .* has `refesh`") as e:
            registry.build("sampler", Spec.parse(spec), {})
        assert "did you mean `refresh`?" in str(e.value)


def test_a_short_word_of_its_own_is_no_slip(plugin):
    """`wrap` is not `warp`."""
    points = plugin(
        '''
        class Own:
            """."""
            wrap = "reflect"
            def __call__(self, images, draws): ...
        ''',
        kind="augmentation", own="Own",
    )  # fmt: skip
    assert Registry(points).build("augmentation", Spec.parse("own"), {}).wrap == "reflect"
