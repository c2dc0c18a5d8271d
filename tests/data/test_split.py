from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metricforge.contracts import TEST, TRAIN, VALIDATION, Dataset
from metricforge.data.split import Split, split_dataset
from metricforge.errors import DataError, PluginError, UsageError
from metricforge.spec import Spec

PARTS = ("train", "validation", "test")
TEN = tuple("0123456789")


def dataset(
    labels: Sequence[int],
    classes: Sequence[str] | None = None,
    official: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
) -> Dataset:
    names = classes or [str(index) for index in range(max(labels) + 1)]
    return Dataset(
        name="toy",
        images=torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8),
        labels=torch.tensor(labels),
        classes=tuple(names),
        shape=(1, 2, 2),
        official=None if official is None else torch.tensor(official),
        groups=None if groups is None else torch.tensor(groups),
    )


def split(data: Dataset, spec: str | Spec) -> Split:
    return split_dataset(data, Spec.parse(spec) if isinstance(spec, str) else spec)


def sets(result: Split, data: Dataset) -> list[set[str]]:
    return [set(result.classes(part, data)) for part in PARTS]


datasets = st.integers(5, 40).flatmap(
    lambda count: st.lists(st.integers(0, count - 1), max_size=80).map(
        lambda more: dataset([*range(count), *more])
    )
)
shares = st.floats(0.01, 0.49)


@given(datasets, shares, shares, st.integers(0, 2**63))
def test_random_parts_hold_every_image_once_and_share_no_class(
    data: Dataset, validation: float, test: float, seed: int
) -> None:
    spec = f"random:validation={validation},test={test},seed={seed}"
    result = split(data, spec)
    images = torch.cat([result.part(part) for part in PARTS])
    assert sorted(images.tolist()) == list(range(len(data)))
    for first, second in combinations(sets(result, data), 2):
        assert not first & second
    train, validating, testing = map(len, sets(result, data))
    assert train >= 2
    assert validating >= 1
    assert testing >= 2
    assert not result.closed_set
    for part in PARTS:
        assert result.part(part).dtype == torch.int64
        assert result.part(part).tolist() == sorted(result.part(part).tolist())
    assert split(data, result.rule).hash == result.hash


def test_random_keeps_the_shares_of_ten_classes() -> None:
    data = dataset([*range(10)] * 3)
    result = split_dataset(data)
    assert [len(names) for names in sets(result, data)] == [5, 2, 3]
    assert str(result.rule) == "random:validation=0.2,test=0.3,seed=0"
    drawn = {split(data, f"random:seed={seed}").classes("test", data) for seed in range(20)}
    assert len(drawn) > 10


@pytest.mark.parametrize(
    ("count", "spec", "sizes"),
    [
        (5, "random", [2, 1, 2]),
        (100, "random", [50, 20, 30]),
        (10, "random:validation=0.49,test=0.5", [2, 4, 4]),
        (100, "random:validation=0.001,test=0.001", [97, 1, 2]),
    ],
)
def test_random_leaves_each_part_enough(count: int, spec: str, sizes: list[int]) -> None:
    data = dataset(range(count))
    assert [len(names) for names in sets(split(data, spec), data)] == sizes


def test_random_counts_classes_that_have_images_only() -> None:
    data = dataset([0, 2, 4, 6, 8], TEN)
    assert set.union(*sets(split(data, "random"), data)) == {"0", "2", "4", "6", "8"}
    with pytest.raises(DataError, match="has 3 classes"):
        split(dataset([0, 2, 4], TEN), "random")


def test_too_few_classes_are_counted_in_the_error() -> None:
    with pytest.raises(DataError, match=r"'toy' has one class; .* at least 5"):
        split_dataset(dataset([0, 0, 0]))
    with pytest.raises(DataError, match="'toy' has 3 classes"):
        split_dataset(dataset([0, 1, 2]))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("random:sede=1", "did you mean 'seed'"),
        ("randon", "did you mean 'random'"),
        ("mine:random", "unknown split 'mine:random'"),
        ("random:test=1.5", "'test' of split 'random' is a fraction between 0 and 1, not 1.5"),
        ("random:test=nan", "a fraction between 0 and 1, not nan"),
        ("random:validation=0", "a fraction between 0 and 1, not 0.0"),
        ("random:validation=0.5,test=0.5", "leaves nothing to train"),
        ("random:seed=-1", "'seed' of split 'random' is 0 or more, not -1"),
        ("random:seed=1.5", "takes int, not '1.5'"),
        ("classes:train=0-4,validation=5-6", "needs the option 'test'"),
    ],
)
def test_a_wrong_spec_is_a_usage_error(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(dataset(range(10)), spec)


def test_classes_takes_names_and_ranges() -> None:
    data = dataset([*range(10)] * 2)
    result = split(data, "classes:train=0-3+9,validation=4,test=6-7+5")
    assert sets(result, data) == [set("01239"), {"4"}, set("567")]
    assert result.train.tolist() == [0, 1, 2, 3, 9, 10, 11, 12, 13, 19]
    assert str(result.rule) == "classes:train=0-3+9,validation=4,test=6-7+5"


def test_a_class_name_wins_over_reading_it_as_a_range_or_a_sum() -> None:
    names = ["a", "a-c", "b", "b+c", "c", "d, e", "f"]
    data = dataset(range(7), names)
    result = split(data, 'classes:train=a-c+b+c,validation="d, e",test=f')
    assert sets(result, data) == [{"a-c", "b+c"}, {"d, e"}, {"f"}]
    assert split(data, result.rule).hash == result.hash
    ranged = split(data, "classes:train=a+a-c-b,validation=c,test=f")
    assert sets(ranged, data)[0] == {"a", "a-c", "b"}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("cat+hores", "unknown class 'hores'; did you mean 'horse'"),
        ("cat-hores", "unknown class 'cat-hores'"),
        ("cat+", "unknown class ''"),
        ("horse-cat", "runs backwards; write 'cat-horse'"),
    ],
)
def test_an_unknown_class_or_range_is_a_usage_error(train: str, message: str) -> None:
    data = dataset(range(4), ["cat", "dog", "horse", "pig"])
    with pytest.raises(UsageError, match=message):
        split(data, f"classes:train={train},validation=dog,test=pig")


def test_a_range_of_two_readings_is_refused() -> None:
    data = dataset(range(4), ["a", "a-b", "b-c", "c"])
    with pytest.raises(UsageError, match="'a' to 'b-c' or 'a-b' to 'c'"):
        split(data, "classes:train=a-b-c,validation=b-c,test=c")


def test_overlapping_classes_are_named() -> None:
    with pytest.raises(DataError, match=r"more than one part: 3, 6\.$"):
        split(dataset(range(10)), "classes:train=0-3,validation=3-6,test=6-9")


def test_a_part_without_images_and_a_single_train_class_are_refused() -> None:
    with pytest.raises(DataError, match="no image for test"):
        split(dataset([0, 1, 2], ["a", "b", "c", "d"]), "classes:train=a+b,validation=c,test=d")
    with pytest.raises(DataError, match="trains on one class"):
        split(dataset([0, 0, 1, 2]), "classes:train=0,validation=1,test=2")


def test_official_draws_whole_groups_to_validate() -> None:
    labels = [*range(12)] * 2
    groups = [label // 2 for label in labels]
    data = dataset(
        labels, official=[TEST if label > 7 else TRAIN for label in labels], groups=groups
    )
    seen = set()
    for seed in range(8):
        result = split(data, f"official:validation=0.3,seed={seed}")
        held = result.classes("validation", data)
        assert held in {("0", "1"), ("2", "3"), ("4", "5"), ("6", "7")}
        assert result.classes("test", data) == ("8", "9", "10", "11")
        assert not result.closed_set
        assert sum(len(result.part(part)) for part in PARTS) == len(data)
        seen.add(held)
    assert len(seen) > 1
    assert str(split_dataset(data).rule) == "official:validation=0.1,seed=0"


@pytest.mark.parametrize("groups", [None, [0] * 24, [0] * 12 + [1] * 12])
def test_official_draws_classes_where_groups_do_not_hold_them_whole(
    groups: list[int] | None,
) -> None:
    labels = [*range(12)] * 2
    official = [TEST if label > 9 else TRAIN for label in labels]
    data = dataset(labels, official=official, groups=groups)
    result = split(data, "official:validation=0.2")
    assert [len(names) for names in sets(result, data)] == [8, 2, 2]
    assert not result.closed_set
    assert not sets(result, data)[0] & sets(result, data)[1]


def test_official_draws_images_of_each_class_of_a_closed_set() -> None:
    labels = [0] * 20 + [1] * 10 + [2] * 2 + [3] + [4] + [0, 1, 2, 3, 4]
    data = dataset(labels, official=[TRAIN] * 34 + [TEST] * 5)
    result = split(data, "official")
    assert result.closed_set
    assert data.labels[result.validation].bincount(minlength=5).tolist() == [2, 2, 1, 0, 0]
    assert data.labels[result.train].bincount().tolist() == [18, 8, 1, 1, 1]
    assert result.test.tolist() == [34, 35, 36, 37, 38]
    assert split(data, "official:seed=1").hash != result.hash
    # Nothing that it saw in training may be tested by default.
    assert str(split_dataset(data).rule) == "random:validation=0.2,test=0.3,seed=0"


def test_official_keeps_a_validation_part_of_the_dataset() -> None:
    data = dataset([0, 1, 2, 3], official=[TRAIN, TRAIN, VALIDATION, TEST])
    assert sets(split_dataset(data), data) == [{"0", "1"}, {"2"}, {"3"}]


def test_official_trains_on_all_where_nothing_shall_validate() -> None:
    data = dataset([0, 1, 2, 3], official=[TRAIN, TRAIN, TRAIN, TEST])
    result = split(data, "official:validation=0")
    assert [*sets(result, data)] == [{"0", "1", "2"}, set(), {"3"}]
    own = dataset([0, 1, 2, 3], official=[TRAIN, TRAIN, VALIDATION, TEST])
    assert [*sets(split(own, "official:validation=0"), own)] == [{"0", "1", "2"}, set(), {"3"}]
    with pytest.raises(UsageError, match="'validation' of split 'official' is a fraction"):
        split(data, "official:validation=-0.1")


MADE = {20: (0, 1), 21: (0, 9), 22: (5, 11), 23: (12, 13), 24: (18, 19)}


@pytest.mark.parametrize(
    "rule",
    [
        *(f"random:seed={seed}" for seed in range(4)),
        *(f"folds:k=4,fold={fold}" for fold in range(4)),
        "groups",
        "official",
        "official:validation=0",
        "classes:train=0-9,validation=10-14,test=15-19",
        "images",
    ],
)
def test_what_is_made_of_classes_trains_where_they_do_and_is_seen_by_no_rule(rule: str) -> None:
    """Half of a held-out character would teach what is to be unseen, and test what was taught."""
    labels, groups = [*range(20)] * 6, [label // 2 for label in range(20)] * 6
    official = [TEST if label > 14 else TRAIN for label in labels]
    names = tuple("abcdefghij")
    plain = replace(dataset(labels, official=official, groups=groups), group_names=names)
    # What is made comes first, in the midst and last.
    with_made = [20, *labels[:60], 21, 22, *labels[60:], 23, 24, 24]
    real = [place for place, label in enumerate(with_made) if label < 20]
    places = {place: number for number, place in enumerate(real)}
    data = replace(
        dataset(
            with_made,
            official=[official[places[p]] if p in places else TEST for p in range(len(with_made))],
            groups=[groups[places[p]] if p in places else 3 for p in range(len(with_made))],
        ),
        group_names=names,
        made_of=MADE,
    )
    result, expected = split(data, rule), split(plain, rule)
    for part in PARTS:
        kept = [places[place] for place in result.part(part).tolist() if place in places]
        assert kept == expected.part(part).tolist()
    assert result.closed_set == expected.closed_set
    trained = set(range(20)) - set(plain.labels[expected.validation].tolist())
    trained -= set(plain.labels[expected.test].tolist())
    allowed = {made for made, of in MADE.items() if trained.issuperset(of)}
    assert allowed or rule == "images" or "fold" in rule or "random" in rule
    assert set(data.labels[result.train].tolist()) & set(MADE) == allowed
    assert not set(data.labels[torch.cat([result.validation, result.test])].tolist()) & set(MADE)


@pytest.mark.parametrize(
    ("rule", "trained"),
    [
        ("classes:train=0-4,validation=5-6,test=7-9", {0, 1, 2, 3, 4, 10}),
        # Of a closed set each class is tested, and so nothing may be made of any.
        ("images", set(range(10))),
    ],
)
def test_a_recorded_split_has_its_made_classes_again(
    tmp_path: Path, rule: str, trained: set[int]
) -> None:
    data = replace(dataset([*reversed(range(12))] * 6), made_of={10: (0, 1), 11: (2, 8)})
    result = split(data, rule)
    assert set(data.labels[result.train].tolist()) == trained
    path = tmp_path / "split.json"
    path.write_text(json.dumps(result.to_json(data)))
    assert split(data, f"saved:path={path}").hash == result.hash


def test_official_wants_an_official_split() -> None:
    with pytest.raises(DataError, match="no official split; use the split 'random' or 'classes:"):
        split(dataset(range(10)), "official")
    with pytest.raises(DataError, match="no image for test"):
        split(dataset(range(10), official=[TRAIN] * 10), "official")
    with pytest.raises(PluginError, match="official part 7"):
        split(dataset([0, 1, 2], official=[TRAIN, 7, TEST]), "official")


def test_the_hash_is_of_the_parts_and_nothing_else() -> None:
    data = dataset([*range(10)] * 2)
    named = split(data, "classes:train=0-4,validation=5-6,test=7-9")
    assert split(data, "classes:train=4+3+0-2,validation=6+5,test=7+8+9").hash == named.hash
    moved = split(data, "classes:train=0-5,validation=6,test=7-9")
    swapped = split(data, "classes:train=0-4,validation=7-9,test=5-6")
    renamed = split(
        replace(data, classes=tuple("abcdefghij")), "classes:train=a-e,validation=f-g,test=h-j"
    )
    assert len({result.hash for result in (named, moved, swapped, renamed)}) == 4
    # Fixed, since runs made on different machines are compared by it.
    assert named.hash == "e5770f820c2013786bcef77174ee67776892fbade736b57a294617e8fedd5c08"


def test_the_record_of_a_split() -> None:
    data = dataset([0, 0, 1, 2, 3, 3])
    result = split(data, "classes:train=0-1,validation=2,test=3")
    record = json.loads(json.dumps(result.to_json(data)))
    assert record == {
        "rule": "classes:train=0-1,validation=2,test=3",
        "closed_set": False,
        "hash": result.hash,
        "parts": {
            "train": {"images": 3, "classes": ["0", "1"]},
            "validation": {"images": 1, "classes": ["2"]},
            "test": {"images": 2, "classes": ["3"]},
        },
    }
    with pytest.raises(UsageError, match="did you mean 'train'"):
        result.part("trian")


@pytest.mark.fault(104)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_with_few_classes_the_error_names_the_split_of_images(count: int) -> None:
    data = dataset([label for label in range(count) for _ in range(10)])
    with pytest.raises(DataError, match=r"--split images tests on other images of the same class"):
        split(data, "random")
    if count > 1:
        closed = split(data, "images")
        assert closed.closed_set
        assert sets(closed, data)[2] == set(data.classes)
