"""docs/definitions.md and its hand-worked cases: what we compute is what the page says.

The tests named in the page's table of disagreements hold what it says of other libraries.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from metricforge_standard.protocols.clustering import Clustering
from metricforge_standard.protocols.identification import Identification
from metricforge_standard.protocols.knn import KNN
from metricforge_standard.protocols.oneshot import OneShot
from metricforge_standard.protocols.retrieval import Retrieval
from metricforge_standard.protocols.verification import Verification
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    fowlkes_mallows_score,
    ndcg_score,
    normalized_mutual_info_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.metrics.cluster import pair_confusion_matrix
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from metricforge.contracts import Labelled, Trials, Validation
from metricforge.errors import DataError, DivergedError
from metricforge.evaluation import (
    Confidence,
    Episodes,
    OpenSet,
    Ranked,
    agreement,
    clusters_of,
    distances_of,
    draw_pairs,
    label_some,
    nearest_label,
    over_classes,
    probe,
    score_episodes,
    score_retrieval,
)
from metricforge.evaluation.identification import Trial

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "definitions.md").read_text(encoding="utf-8")
CASES = {
    case["name"]: case for case in json.loads((DOCS / "definitions.json").read_text())["cases"]
}

# Twelve digits after the point are off by up to half of the last.
EXACT = 1e-12


def points_of(case):
    return np.array(case["embeddings"], dtype=np.float64)


def labels_of(case):
    return np.array(case["labels"], dtype=np.int64)


def rows_of(case, name):
    return np.array(case[name]) if name in case else None


def labelled(labels, **more):
    labels = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
    return Labelled(labels, tuple(map(str, range(int(labels.max()) + 1))), **more)


def small(values):
    """Labels as indices of classes, as a dataset has them."""
    return np.unique(values, return_inverse=True)[1]


def flags(rows, count):
    return None if rows is None else torch.isin(torch.arange(count), torch.from_numpy(rows))


# What the product gives for a case, by kind: all keys that `expected` may have.


def retrieval(case):
    points, labels, ks = points_of(case), labels_of(case), case["options"]["k"]
    given = {name: rows_of(case, name) for name in ("queries", "gallery")}
    scores = score_retrieval(points.astype(np.float32), labels, ks, **given)
    columns = {f"recall@{k}": scores.recall[k] for k in ks} | {
        "r_precision": scores.r_precision,
        "map@r": scores.map_at_r,
        "ndcg@r": scores.ndcg_at_r,
        "mrr": scores.reciprocal_rank,
    }
    means = {name: values.mean() for name, values in columns.items()}
    asked = labels[scores.queries]
    means["precision@1"] = scores.recall[1].mean()
    means["recall@1-macro"] = over_classes(scores.recall[1], asked).value
    means["map@r-macro"] = over_classes(scores.map_at_r, asked).value
    found = {
        "scored_rows": scores.queries,
        "alone": scores.alone,
        "per_query": columns,
        "mean": means,
    }
    told = Retrieval(k=tuple(ks)).evaluate(
        torch.from_numpy(points).float(),
        labelled(small(labels), **{k: flags(rows, len(labels)) for k, rows in given.items()}),
    )
    assert means == pytest.approx({name: told.estimates[name].value for name in means})
    return found


def verification(case):
    points, labels, rates = points_of(case), labels_of(case), case["options"]["far"]
    pairs = draw_pairs(labels)
    roc = Ranked(distances_of(points, pairs), pairs).roc()
    found = {"auc": roc.area, "eer": roc.equal_error[0]}
    found |= {f"tar@far={rate}": roc.accepted_at(float(rate)) for rate in rates}
    told = Verification(far=tuple(map(float, rates))).evaluate(
        torch.from_numpy(points).float(), labelled(labels)
    )
    assert found == pytest.approx({name: told.estimates[name].value for name in found})
    return found | {"threshold": roc.equal_error[1]}


def identification(case):
    labels = labels_of(case)
    enrolled, probes = (rows_of(case, name) for name in ("enrolled", "probes"))
    trial = Trial(np.unique(labels[enrolled]), enrolled, probes[:, None])
    options = case["options"]
    rates = OpenSet(probe(points_of(case), labels, [trial], options["by"]))
    found = {f"cmc@{k}": rates.cmc(k) for k in options["k"]} | {"oscr": rates.area}
    for fpir in options["fpir"]:
        found[f"dir@fpir={fpir}"] = rates.dir(rates.threshold(float(fpir)))
    if known := case.get("confidence"):
        confidence = Confidence(tuple(known["distances"]), tuple(known["values"]))
        found["ece"] = confidence.error(rates.probes)
    return found


def calibration(case):
    given = case["validation"]
    pairs = draw_pairs(labels_of(given))
    threshold = Ranked(distances_of(points_of(given), pairs), pairs).roc().equal_error[1]
    pairs = draw_pairs(labels_of(case))
    accepted, false = Ranked(distances_of(points_of(case), pairs), pairs).roc().within(threshold)
    found = {
        "far@calibrated": false,
        "frr@calibrated": 1 - accepted,
        "error@calibrated": (false + 1 - accepted) / 2,
    }
    chosen_on = Validation(torch.from_numpy(points_of(given)), labelled(labels_of(given)))
    told = Verification().evaluate(
        torch.from_numpy(points_of(case)), labelled(labels_of(case)), chosen_on
    )
    assert found == pytest.approx({name: told.estimates[name].value for name in found})
    return found | {"threshold": threshold}


def episodes(case):
    drawn = Episodes(rows_of(case, "support"), rows_of(case, "queries"))
    found = {}
    for classifier in ("prototype", "nearest"):
        accuracy = score_episodes(points_of(case), drawn, classifier)
        trials = Trials(
            torch.from_numpy(drawn.support), torch.from_numpy(drawn.queries), measure="error"
        )
        told = OneShot(official="given", classifier=classifier).evaluate(
            torch.from_numpy(points_of(case)),
            labelled(labels_of(case), trials={"given": trials}),
        )
        found[classifier] = {
            "accuracy": accuracy,
            "mean": accuracy.mean(),
            "error": told.estimates["error@given"].value,
        }
    return found


def clustering(case):
    return agreement(labels_of(case), rows_of(case, "clusters"))


def knn(case):
    labels, asked = labels_of(case), rows_of(case, "asked")
    answers = nearest_label(points_of(case), labels, rows_of(case, "labelled"), asked)
    right = (answers == labels[asked]).astype(np.float64)
    return {
        "answers": answers,
        "accuracy@1-labelled": over_classes(right, labels[asked]).value,
    }


CHECKS = {
    f.__name__: f
    for f in (retrieval, verification, identification, calibration, episodes, clustering, knn)
}

# Cases that the product does not pass yet, and why.


def flat(value, under=()):
    """A tree of expected or found values as {path: number}."""
    if isinstance(value, dict):
        return {k: v for key, below in value.items() for k, v in flat(below, (*under, key)).items()}
    if isinstance(value, (list, np.ndarray)):
        return flat(dict(enumerate(value)), under)
    return {under: float(Fraction(value)) if isinstance(value, str) else float(value)}


@pytest.mark.parametrize("name", CASES)
def test_a_case_worked_by_hand(name):
    case = CASES[name]
    expected, found = flat(case["expected"]), flat(CHECKS[case["kind"]](case))
    assert expected.keys() <= found.keys(), "an expected value that nothing checks"
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=EXACT, rel=0)


def test_each_case_is_explained_and_each_kind_has_one():
    assert len(CASES) == len(json.loads((DOCS / "definitions.json").read_text())["cases"])
    assert {case["kind"] for case in CASES.values()} == CHECKS.keys()
    assert all(case["worked"] and case["expected"] for case in CASES.values())


def test_scores_are_exact_strings_and_all_of_a_retrieval_case_is_expected():
    for case in CASES.values():
        for path, value in leaves(case["expected"]):
            exact = {"scored_rows", "alone", "answers"} & set(path)
            assert isinstance(value, int if exact else str), (case["name"], path)
            assert exact or re.fullmatch(r"-?\d+(/[1-9]\d*)?|0\.\d{12}", value)
        if case["kind"] == "retrieval":
            assert flat(case["expected"]).keys() == flat(retrieval(case)).keys()


def leaves(value, under=()):
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in pairs:
            yield from leaves(below, (*under, key))
    else:
        yield under, value


def test_no_order_is_open_in_a_retrieval_case():
    for case in CASES.values():
        if case["kind"] != "retrieval":
            continue
        rows = [[Fraction(str(x)) for x in row] for row in case["embeddings"]]
        every = range(len(rows))
        for query in case.get("queries", every):
            others = [other for other in case.get("gallery", every) if other != query]
            squared = [
                sum((a - b) ** 2 for a, b in zip(rows[query], rows[o], strict=True)) for o in others
            ]
            assert len(set(squared)) == len(squared), (case["name"], query)


# The page.


def named_on_the_page():
    """The names that the headings of the page define, each as a pattern of what is reported."""
    headings = re.findall(r"^### (.+)$", PAGE, flags=re.MULTILINE)
    names = [name for heading in headings for name in re.findall(r"`([^`]+)`", heading)]
    assert len(names) == len(set(names))
    holes = {
        r"@k$": r"@\d+",
        r"NwayKshot": r"\d+way\d+shot",
        r"@n-": r"@\d+-",
        r"far=x": r"far=0\.\d+|tar@far=[1-9.]+e-\d+",
        r"(?<=fpir|ised)=x": r"=0\.\d+",
    }
    patterns = {}
    for name in names:
        pattern = re.escape(name).replace(r"\-", "-").replace(r"\=", "=")
        for hole, filled in holes.items():
            pattern = re.sub(hole, lambda _, filled=filled: filled, pattern)
        patterns[name] = pattern
    return patterns


def given_by_the_protocols():
    """The names of all estimates that the standard protocols give, with every option of names."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 7)
    points = torch.from_numpy(rng.standard_normal((12, 4))[labels] + rng.standard_normal((84, 4)))
    places = torch.arange(84).reshape(12, 7)
    official = {
        "omniglot": Trials(places[None, :, :1], places[None, :, 1:3].flatten(1), "runs", "error")
    }
    images = labelled(labels, groups=torch.from_numpy(labels // 6), trials=official)
    other = Validation(points[:42], labelled(labels[:42]))
    results = [
        Retrieval().evaluate(points.float(), images),
        OneShot(episodes=5).evaluate(points, images),
        OneShot(way=5, shot=2, within="group", episodes=5).evaluate(points, images),
        OneShot(official="omniglot").evaluate(points, images),
        Verification(far=(0.1, 0.01, 0.00001)).evaluate(points, images, other),
        Identification(fpir=(0.3, 0.01)).evaluate(points, images, other),
        Clustering(seeds=2).evaluate(points, images),
        KNN(repeats=2).evaluate(points, images),
    ]
    return [name for result in results for name in result.estimates]


def test_every_number_that_the_protocols_give_has_an_entry_and_no_entry_is_of_none():
    patterns, given = named_on_the_page(), given_by_the_protocols()
    for name in given:
        assert any(re.fullmatch(pattern, name) for pattern in patterns.values()), name
    for entry, pattern in patterns.items():
        assert any(re.fullmatch(pattern, name) for name in given), entry


def test_every_disagreement_on_the_page_has_its_test():
    rows = re.findall(r"^\| *\d+ \|.*\| `(test_\w+)` \|$", PAGE, flags=re.MULTILINE)
    here = {name for name in globals() if name.startswith("test_differs_")}
    assert len(rows) == len(re.findall(r"^\| *\d+ \|", PAGE, flags=re.MULTILINE)) > 0
    assert set(rows) == here
    below = PAGE[PAGE.index("## Where other libraries differ") :]
    notes = re.findall(r"^(\d+)\. ", below, flags=re.MULTILINE)
    assert notes == [str(n + 1) for n in range(len(rows))]


def test_the_page_has_short_lines():
    long = [n for n, line in enumerate(PAGE.splitlines(), 1) if len(line) > 100]
    assert long == []


# Peers, where they agree.


def clustered(seed, classes=12, each=9, dim=6, noise=0.8):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    points = rng.standard_normal((classes, dim))[labels]
    points = points + noise * rng.standard_normal((len(labels), dim))
    shuffled = rng.permutation(len(labels))
    return points[shuffled].astype(np.float32), labels[shuffled]


RANKING = (
    "precision_at_1",
    "r_precision",
    "mean_average_precision_at_r",
    "mean_average_precision",
    "mean_reciprocal_rank",
)


def pml(points, labels, gallery=(), *, include=RANKING, flag=False, **options):
    """What pytorch-metric-learning's calculator says; `gallery` is points and labels."""
    calculator = AccuracyCalculator(include=include, device=torch.device("cpu"), **options)
    of = [torch.as_tensor(np.asarray(part)) for part in (points, labels, *gallery)]
    return calculator.get_accuracy(
        *(part.float() if n % 2 == 0 else part for n, part in enumerate(of)),
        ref_includes_query=flag,
    )


def ours(points, labels, **options):
    """Our means by the names of PML's."""
    scores = score_retrieval(np.asarray(points, dtype=np.float32), labels, [1], **options)
    return {
        "precision_at_1": scores.recall[1].mean(),
        "r_precision": scores.r_precision.mean(),
        "mean_average_precision_at_r": scores.map_at_r.mean(),
        "mean_reciprocal_rank": scores.reciprocal_rank.mean(),
    }


def assert_agree(theirs, mine, but=()):
    kept = [name for name in mine if name not in but]
    # Their reciprocal rank is float32.
    assert {k: theirs[k] for k in kept} == pytest.approx({k: mine[k] for k in kept}, abs=1e-6)
    assert all(0.05 < mine[k] < 0.999 for k in kept)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_pml_leave_one_out(seed):
    points, labels = clustered(seed)
    labels[:2] = [100, 101]  # alone
    assert_agree(pml(points, labels), ours(points, labels))
    assert_agree(
        pml(points, labels, k="max_bin_count"), ours(points, labels), ["mean_reciprocal_rank"]
    )


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_pml_with_a_gallery_apart(seed):
    points, labels = clustered(seed, classes=10)
    queries, gallery = np.arange(30), np.arange(30, len(labels))
    theirs = pml(points[queries], labels[queries], (points[gallery], labels[gallery]))
    assert_agree(theirs, ours(points, labels, queries=queries, gallery=gallery))


def test_agrees_with_pml_in_the_mean_over_classes():
    points, labels = clustered(4, noise=1.2)
    labels[:20] = 0  # of other sizes
    scores = score_retrieval(points, labels, [1])
    theirs = pml(points, labels, avg_of_avgs=True)
    asked = labels[scores.queries]
    for name, values in {
        "precision_at_1": scores.recall[1],
        "mean_average_precision_at_r": scores.map_at_r,
    }.items():
        mean = over_classes(values, asked).value
        assert theirs[name] == pytest.approx(mean)
        assert abs(mean - values.mean()) > 0.002


def test_agrees_with_pml_on_given_clusters():
    points, labels = clustered(5)
    clusters = clusters_of(points, 12)
    theirs = pml(
        points,
        labels,
        include=("NMI", "AMI"),
        kmeans_func=lambda x, count: torch.from_numpy(clusters),
    )
    mine = agreement(labels, clusters)
    assert (theirs["NMI"], theirs["AMI"]) == pytest.approx((mine["nmi"], mine["ami"]))


def test_agrees_with_sklearn():
    points, labels = clustered(6, noise=1.5)
    pairs = draw_pairs(labels)
    distances = distances_of(points, pairs).round(1)  # with ties
    roc = Ranked(distances, pairs).roc()
    assert roc.area == pytest.approx(roc_auc_score(pairs.same, -distances))
    clusters = clusters_of(points, 12)
    (_, split), (joined, both) = pair_confusion_matrix(labels, clusters)
    assert agreement(labels, clusters)["f1"] == pytest.approx(
        2 * both / (2 * both + split + joined)
    )
    known, asked = label_some(labels, 3, np.random.default_rng(0))
    answers = nearest_label(points, labels, known, asked)
    right = (answers == labels[asked]).astype(float)
    assert over_classes(right, labels[asked]).value == pytest.approx(
        balanced_accuracy_score(labels[asked], answers)
    )
    means = NearestCentroid().fit(points[known], labels[known]).score(points[asked], labels[asked])
    by_class = [known[labels[known] == c] for c in range(12)]
    questions = [asked[labels[asked] == c] for c in range(12)]
    drawn = Episodes(np.stack(by_class)[None], np.concatenate(questions)[None])
    assert score_episodes(points, drawn, "prototype")[0] == pytest.approx(means)


# Peers, where they differ: each of these is a row of the page's table.

LINE = CASES["leave-one-out-differing-r"]
LINE_POINTS, LINE_LABELS = points_of(LINE), labels_of(LINE)


def hits_of(points, labels):
    """For each image whether the others are of its class, and their distances."""
    for row in range(len(points)):
        others = np.delete(np.arange(len(points)), row)
        distances = np.linalg.norm(points[others] - points[row], axis=1)
        yield labels[others] == labels[row], distances


def test_differs_average_precision():
    theirs = pml(LINE_POINTS, LINE_LABELS)
    assert theirs["mean_average_precision"] == pytest.approx(559 / 1080)
    assert ours(LINE_POINTS, LINE_LABELS)["mean_average_precision_at_r"] == pytest.approx(25 / 108)


def test_differs_average_precision_cut():
    theirs = pml(LINE_POINTS, LINE_LABELS, k="max_bin_count")
    assert theirs["mean_average_precision"] == pytest.approx(31 / 108)
    # The cut is one for all: at the R of the largest class.
    ranked = [hits[np.argsort(distances)] for hits, distances in hits_of(LINE_POINTS, LINE_LABELS)]
    cut = [sum(row[: i + 1].mean() * row[i] for i in range(3)) / row.sum() for row in ranked]
    assert np.mean(cut) == pytest.approx(31 / 108)


def test_differs_k_below_r():
    theirs = pml(LINE_POINTS, LINE_LABELS, k=2)
    assert theirs["mean_average_precision_at_r"] == pytest.approx(5 / 36)
    assert theirs["r_precision"] == pytest.approx(1 / 4)
    mine = ours(LINE_POINTS, LINE_LABELS)
    assert mine["mean_average_precision_at_r"] == pytest.approx(25 / 108)
    assert mine["r_precision"] == pytest.approx(1 / 3)


def test_differs_reciprocal_rank_cut():
    mine = ours(LINE_POINTS, LINE_LABELS)["mean_reciprocal_rank"]
    assert mine == pytest.approx(41 / 72)
    name = "mean_reciprocal_rank"
    assert pml(LINE_POINTS, LINE_LABELS)[name] == pytest.approx(41 / 72)
    assert pml(LINE_POINTS, LINE_LABELS, k="max_bin_count")[name] == pytest.approx(19 / 36)
    with pytest.raises(TypeError, match="knn_labels"):
        pml(LINE_POINTS, LINE_LABELS, include=(name,))


def test_differs_lone_queries():
    case = CASES["lone-query"]
    points, labels = points_of(case), labels_of(case)
    theirs = pml(points, labels)
    assert_agree(theirs, ours(points, labels))
    assert theirs.keys() == set(RANKING)  # and no count
    notes = Retrieval(k=(1,)).evaluate(torch.from_numpy(points).float(), labelled(labels)).notes
    assert "1 of 5 images are the only one of their class" in notes[0]
    assert all(np.isnan(value) for value in pml(points, np.arange(5)).values())
    with pytest.raises(DataError):
        Retrieval().evaluate(torch.from_numpy(points).float(), labelled(np.arange(5)))


def test_differs_large_labels():
    case = CASES["labels-that-float32-can-not-tell-apart"]
    points, labels = points_of(case), labels_of(case)
    assert pml(points, labels)["precision_at_1"] == 1
    assert ours(points, labels)["precision_at_1"] == 0


def test_differs_overlapping_gallery():
    case = CASES["query-and-gallery-overlapping"]
    points, labels = points_of(case), labels_of(case)
    queries, gallery = rows_of(case, "queries"), rows_of(case, "gallery")
    parts = points[queries], labels[queries], (points[gallery], labels[gallery])
    assert pml(*parts)["precision_at_1"] == pytest.approx(2 / 3)
    mine = ours(points, labels, queries=queries, gallery=gallery)
    assert mine["precision_at_1"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="must be equal to query"):
        pml(*parts, flag=True)


def test_differs_not_a_number():
    points, labels = np.array([[0.0], [np.nan], [5.0], [6.0]]), np.array([0, 0, 0, 1])
    # The query at NaN finds nothing, and is scored as if it had found the last of the gallery.
    for gallery, expected in (([2, 3], 1 / 2), ([3, 2], 1)):
        theirs = pml(points[:2], labels[:2], (points[gallery], labels[gallery]))
        assert theirs["precision_at_1"] == expected
    with pytest.raises(DivergedError, match="rows 1") as refused:
        score_retrieval(
            points.astype(np.float32), labels, [1], queries=np.arange(2), gallery=np.arange(2, 4)
        )
    assert refused.value.exit_code == 7


def test_differs_exact_ties():
    labels = np.repeat(np.arange(40), 10)
    points = np.full((400, 8), 0.3, dtype=np.float32)
    theirs = pml(points, labels, k="max_bin_count")
    assert theirs["mean_average_precision_at_r"] == pytest.approx(0.025)
    runs = [score_retrieval(points, labels, [1], seed=seed).map_at_r.mean() for seed in range(20)]
    # Of a random order: the i-th is a hit with 9/399, and then each before it with 8/398.
    chance = sum(9 / 399 * (1 + (i - 1) * 8 / 398) / i for i in range(1, 10)) / 9
    assert chance == pytest.approx(0.0074, abs=0.00005)
    assert np.mean(runs) == pytest.approx(chance, abs=0.001)


def test_differs_kmeans():
    points, labels = clustered(0, classes=20, each=50, dim=8, noise=1.0)
    first, again = (pml(points, labels, include=("NMI", "AMI")) for _ in range(2))
    assert first == again  # one start
    each = [agreement(labels, clusters_of(points, 20, seed=seed))["nmi"] for seed in range(5)]
    told = Clustering().evaluate(torch.from_numpy(points), labelled(labels)).estimates["nmi"]
    assert told.value == pytest.approx(np.mean(each))
    assert np.std(each) > 0.001
    assert abs(first["NMI"] - told.value) > 0.001
    # A sample of so many a cluster is all that their k-means sees.
    assert faiss.Kmeans(2, 3, niter=20).cp.max_points_per_centroid == 256


def test_differs_mean_of_entropies():
    case = CASES["a-class-cut-in-two"]
    labels, clusters = labels_of(case), rows_of(case, "clusters")
    found = {
        mean: normalized_mutual_info_score(labels, clusters, average_method=mean)
        for mean in ("arithmetic", "geometric", "min", "max")
    }
    assert found == pytest.approx(
        {"arithmetic": 4 / 5, "geometric": np.sqrt(2 / 3), "min": 1, "max": 2 / 3}
    )
    assert normalized_mutual_info_score(labels, clusters) == found["arithmetic"]
    assert agreement(labels, clusters)["nmi"] == pytest.approx(4 / 5)


def test_differs_fowlkes_mallows():
    case = CASES["a-class-cut-in-two"]
    labels, clusters = labels_of(case), rows_of(case, "clusters")
    assert fowlkes_mallows_score(labels, clusters) == pytest.approx(np.sqrt(1 / 2))
    assert agreement(labels, clusters)["f1"] == pytest.approx(2 / 3)


def test_differs_sklearn_average_precision():
    each = [average_precision_score(hits, -d) for hits, d in hits_of(LINE_POINTS, LINE_LABELS)]
    assert np.mean(each) == pytest.approx(559 / 1080)


def test_differs_sklearn_ndcg():
    whole, cut = [], []
    for hits, distances in hits_of(LINE_POINTS, LINE_LABELS):
        whole.append(ndcg_score([hits], [-distances]))
        cut.append(ndcg_score([hits], [-distances], k=int(hits.sum())))
    mine = score_retrieval(LINE_POINTS.astype(np.float32), LINE_LABELS, [1]).ndcg_at_r
    assert cut == pytest.approx(mine)
    assert (np.mean(whole).round(4), mine.mean().round(4)) == (0.6666, 0.3231)


def test_differs_first_discount():
    # Hits 010 of R = 3, as row 5 of the line has them.
    earlier = 1 / (1 + 1 + 1 / np.log2(3))
    mine = score_retrieval(LINE_POINTS.astype(np.float32), LINE_LABELS, [1]).ndcg_at_r[5]
    assert (earlier.round(4), mine.round(4)) == (0.3801, 0.2961)


def test_differs_nearest_operating_point():
    case = CASES["a-tie-and-an-eer-between-two-distances"]
    pairs = draw_pairs(labels_of(case))
    distances = distances_of(points_of(case), pairs)
    far, tar, _ = roc_curve(pairs.same, -distances, drop_intermediate=False)
    at = np.argmin(np.abs(1 - tar - far))
    assert far[at] == pytest.approx(1 / 4)
    assert (far[at] + 1 - tar[at]) / 2 == pytest.approx(3 / 8)
    assert Ranked(distances, pairs).roc().equal_error[0] == pytest.approx(1 / 3)


def test_differs_mean_over_images():
    case = CASES["nearest-labelled-image"]
    points, labels = points_of(case), labels_of(case)
    known, asked = rows_of(case, "labelled"), rows_of(case, "asked")
    theirs = KNeighborsClassifier(n_neighbors=1).fit(points[known], labels[known])
    assert theirs.predict(points[asked]).tolist() == case["expected"]["answers"]
    assert theirs.score(points[asked], labels[asked]) == pytest.approx(1 / 2)
    assert knn(case)["accuracy@1-labelled"] == pytest.approx(2 / 3)


def hits_within_r(case):
    """Of each query, as the case is worked, whether each of its R nearest is of its class."""
    points, labels = points_of(case), labels_of(case)
    found = []
    for query, label in enumerate(labels):
        others = np.delete(np.arange(len(labels)), query)
        nearest = others[np.linalg.norm(points[others] - points[query], axis=1).argsort()]
        hits = labels[nearest] == label
        found.append(hits[: hits.sum()])
    return found


def by_hits_found(hits):
    """OML 4.0.0, calc_map, and torchmetrics 1.9.0, retrieval_average_precision, of the k first."""
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return (precision * hits).sum() / max(hits.sum(), 1)


@pytest.mark.fault(86)
def test_differs_divisor_by_hits():
    hits = hits_within_r(LINE)
    expected = [5 / 6, 5 / 6, 0, 1 / 3, 0, 1 / 2]
    assert [by_hits_found(each) for each in hits] == pytest.approx(expected)
    assert np.mean(expected) == pytest.approx(5 / 12)
    assert retrieval(LINE)["mean"]["map@r"] == pytest.approx(25 / 108)
    # Eleven of a class, nearest first: R = 10, and k = 1.
    points, labels = np.cumsum(np.arange(1.0, 13.0))[:, None], np.repeat([0, 1], [11, 1])
    theirs = pml(points[:1], labels[:1], (points[1:], labels[1:]), k=1)
    assert theirs["mean_average_precision"] == pytest.approx(1 / 10)
    assert by_hits_found(np.array([True])) == 1


@pytest.mark.fault(86)
def test_differs_precision_top_k():
    # The mean, over the hits among the k first, of how many of the ranks down to it are hits.
    for hits in hits_within_r(LINE):
        ranks = np.flatnonzero(hits) + 1
        found = (np.arange(1, len(ranks) + 1) / ranks).mean() if len(ranks) else 0.0
        assert found == pytest.approx(by_hits_found(hits))
    assert retrieval(LINE)["mean"]["map@r"] == pytest.approx(25 / 108)


@pytest.mark.fault(86)
def test_differs_threshold_by_quantile():
    case = CASES["a-tie-and-an-eer-between-two-distances"]
    pairs = draw_pairs(labels_of(case))
    distances = distances_of(points_of(case), pairs)
    same, other = distances[pairs.same], distances[~pairs.same]
    threshold = np.quantile(other, 0.2)  # OML 4.0.0, calc_fnmr_at_fmr
    assert threshold == pytest.approx(2.2)
    assert (same >= threshold).mean() == 1 / 2
    assert (other <= threshold).mean() == 1 / 4
    assert verification(case)["tar@far=0.2"] == 0


@pytest.mark.fault(93)
def test_the_order_of_the_queries_of_an_episode_is_that_of_the_page() -> None:
    """Query i belongs to class i // Q, whatever its label says elsewhere."""
    assert "query i of an episode\nbelongs to class i // Q of its N classes" in PAGE
    rows = torch.tensor([[0.0], [10.0], [0.1], [0.2], [10.1], [10.2]])
    labels = Labelled(torch.tensor([0, 1, 0, 0, 1, 1]), ("a", "b"))
    support, queries = torch.tensor([[[0], [1]]]), torch.tensor([[2, 3, 4, 5]])
    for order, accuracy in (([0, 1, 2, 3], 1.0), ([2, 3, 0, 1], 0.0)):
        asked = replace(labels, trials={"file": Trials(support, queries[:, order])})
        result = OneShot(official="file").evaluate(rows, asked)
        assert result.estimates["accuracy@file"].value == accuracy
