"""What evaluation must survive, each through the real command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import metricforge as mf
from metricforge.data.embedding_files import read_embeddings, read_labels
from metricforge.errors import MetricForgeError
from tests.cli.forked import ranked
from tests.cli.process import metricforge

CLASSES, EACH = 12, 8


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """x.npy and y.npy of twelve clusters, eight rows each."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    rows = rng.standard_normal((CLASSES, 6))[labels] + 0.3 * rng.standard_normal((len(labels), 6))
    np.save(tmp_path / "x.npy", rows.astype(np.float32))
    np.save(tmp_path / "y.npy", labels)
    return tmp_path


def judge(folder: Path, *words: object, labels: str = "y.npy") -> dict:
    """The JSON of `metricforge evaluate` on the arrays in a folder."""
    files = ("--embeddings", folder / "x.npy", "--labels", folder / labels)
    done = metricforge("evaluate", *files, *words, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def judged(folder: Path, labels: str = "y.npy", **options: object) -> mf.Evaluation:
    """The same from Python, as the command reads its files: a process for each takes seconds."""
    return mf.evaluate(read_embeddings(folder / "x.npy"), read_labels(folder / labels), **options)  # type: ignore[arg-type]


def values(record: dict) -> dict[str, float]:
    return {name: estimate["value"] for name, estimate in record["results"]["trained"].items()}


def change(folder: Path, rows: slice | int, to: object) -> None:
    embeddings = np.load(folder / "x.npy")
    embeddings[rows] = to
    np.save(folder / "x.npy", embeddings)


@pytest.mark.fault(59)
def test_the_same_evaluation_twice_gives_the_same_bytes(arrays: Path) -> None:
    specs = ("retrieval", "oneshot:way=6", "verification:pairs=900", "clustering", "knn:shots=1+2")
    words = [word for spec in specs for word in ("--protocol", spec)]
    files = ("--embeddings", arrays / "x.npy", "--labels", arrays / "y.npy")
    first, again = (metricforge("evaluate", *files, *words, "--json") for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout


@pytest.mark.fault(52)
def test_a_depth_beyond_the_gallery_is_clamped_and_said(arrays: Path) -> None:
    record = judge(arrays, "--protocol", "retrieval:k=1+500")
    assert values(record)["recall@500"] == 1.0
    assert "recall@500 looks at all 95 other images, as there are no more." in record["notes"]


@pytest.mark.fault(53)
def test_identical_embeddings_score_chance_with_a_warning(arrays: Path) -> None:
    change(arrays, slice(None), 0.25)
    # Five ways, for one draw of 96 images is a small sample of what chance gives.
    specs = ("retrieval", "oneshot:way=5,episodes=400", "verification", "knn:repeats=30")
    record = judge(arrays, *(word for spec in specs for word in ("--protocol", spec)))
    found = values(record)
    chance = (EACH - 1) / (CLASSES * EACH - 1)
    assert found["precision@1"] == pytest.approx(chance, abs=0.09)
    assert found["r_precision"] == pytest.approx(chance, abs=0.04)
    assert found["accuracy@5way1shot"] == pytest.approx(1 / 5)
    assert found["auc"] == 0.5
    assert found["eer"] == 0.5
    assert found["accuracy@1-labelled"] == pytest.approx(1 / CLASSES, abs=0.03)
    assert any("have collapsed" in note for note in record["notes"])


@pytest.mark.fault(54)
def test_embeddings_of_no_length_are_counted(arrays: Path) -> None:
    change(arrays, slice(3, 6), 0)
    record = judge(arrays)
    assert "3 of 96 embeddings are all zeros." in record["notes"]
    assert all(np.isfinite(value) for value in values(record).values())


@pytest.mark.fault(55)
def test_a_row_that_is_no_number_is_named(arrays: Path) -> None:
    change(arrays, 17, np.nan)
    done = metricforge("evaluate", "--embeddings", arrays / "x.npy", "--labels", arrays / "y.npy")
    assert done.returncode == 7
    assert "1 of 96 embeddings (trained) are NaN or infinite, rows '17'" in done.stderr


@pytest.mark.fault(55)
def test_an_image_that_gives_no_number_is_named_by_its_file(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            level = 250 if (name, i) == ("b", 4) else 20 * i
            Image.new("L", (8, 8), level).save(tmp_path / "photos" / name / f"{i}.png")
    run = mf.train(
        dataset="digits", epochs=1, orientations=1, test=False, out=tmp_path / "r", progress=False
    )
    # One that fails for bright images alone.
    model = run.model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3e15)
    model.save(tmp_path / "diverged")
    done = metricforge("evaluate", tmp_path / "diverged", "--dataset",
                       f"folder:path={tmp_path / 'photos'},color=false,size=16",
                       "--protocol", "retrieval")  # fmt: skip
    assert done.returncode == 7, done.stdout
    assert str(tmp_path / "photos") in done.stderr


@pytest.mark.fault(56)
def test_queries_that_have_nothing_to_find_are_counted_and_shown(arrays: Path) -> None:
    labels = np.load(arrays / "y.npy")
    labels[[0, 20]] = [100, 101]
    np.save(arrays / "y.npy", labels)
    record = judge(arrays, "--protocol", "retrieval")
    assert any(note.startswith("2 of 96 images are the only one") for note in record["notes"])
    done = metricforge("evaluate", "--embeddings", arrays / "x.npy", "--labels", arrays / "y.npy",
                       "--protocol", "retrieval")  # fmt: skip
    assert "note: 2 of 96 images are the only one of their class" in done.stdout


@pytest.mark.fault(57)
@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ("oneshot:way=13", "12 of these 12 classes have that many"),
        ("oneshot:way=5,shot=5,queries=5", "0 of these 12 classes have that many"),
        ("knn:shots=8", "needs a class of 9"),
    ],
)
def test_too_few_classes_or_images_are_refused(arrays: Path, protocol: str, told: str) -> None:
    done = metricforge("evaluate", "--embeddings", arrays / "x.npy", "--labels", arrays / "y.npy",
                       "--protocol", protocol)  # fmt: skip
    assert done.returncode == 3
    assert told in done.stderr


def test_a_table_of_labels_tells_queries_from_the_gallery(arrays: Path) -> None:
    labels = np.load(arrays / "y.npy")
    lines = ["label,group,is_query,is_gallery"]
    lines += [
        f"class {y},group {y % 2},{i % EACH == 0},{i % EACH > 0}" for i, y in enumerate(labels)
    ]
    (arrays / "y.csv").write_text("\n".join(lines))
    record = judge(arrays, "--protocol", "retrieval", labels="y.csv")
    assert record["results"]["trained"]["map@r"]["n"] == CLASSES
    assert "12 queries look for 84 images of the gallery." in record["notes"]
    within = judge(arrays, "--protocol", "oneshot:way=6,within=group", labels="y.csv")
    assert list(values(within)) == ["accuracy@6way1shot-within-group"]


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("name\na\n", 3, "has no column 'label'; it has 'name'"),
        ('label\na\n""\n', 3, "y.csv:3 has no label"),
        ('label\na\n""\nb\n', 3, "y.csv:3 has no label"),
        ("label\na\n \nb\n", 3, "y.csv:3 has no label"),
        ("label,is_query\na,1\n", 3, "'is_query' alone"),
        ("label,is_query,is_gallery\na,maybe,1\n", 3, "y.csv:2 has 'maybe' for is_query"),
        ("label,group\na,x\nb\n", 3, "y.csv:3 has 1 cells, but the header 2"),
        ("label,group\na,x\ncat, big,y\n", 3, "y.csv:3 has 3 cells"),
        ("label,label\na,b\n", 3, "has the column 'label' twice"),
        ("label,is_query,is_gallery\n" + "a,0,1\nb,1,0\n" * 48, 3, "none of 48 queries"),
    ],
)
def test_a_table_that_can_not_be_used_is_refused(
    arrays: Path, text: str, code: int, told: str
) -> None:
    (arrays / "y.csv").write_text(text)
    with pytest.raises(MetricForgeError) as refused:
        judged(arrays, "y.csv", protocols=["retrieval"])
    assert refused.value.exit_code == code
    assert told in str(refused.value)


def test_another_model_answers_the_same_episodes(arrays: Path) -> None:
    spec = ("--protocol", "oneshot:way=6,episodes=70,seed=3")
    drawn = judge(arrays, *spec, "--episodes-out", arrays / "e.json")
    given = judge(arrays, "--episodes", arrays / "e.json")
    assert values(given) == values(drawn)
    estimate = given["results"]["trained"]["accuracy@6way1shot"]
    assert estimate == drawn["results"]["trained"]["accuracy@6way1shot"]
    kept = (arrays / "e.json").read_bytes()
    again = metricforge("evaluate", "--embeddings", arrays / "x.npy", "--labels",
                        arrays / "y.npy", *spec, "--episodes-out", arrays / "e.json")  # fmt: skip
    assert again.returncode == 2
    assert (arrays / "e.json").read_bytes() == kept
    nearest = judge(arrays, "--episodes", arrays / "e.json", "--protocol",
                    "oneshot:official=6way1shot,classifier=nearest")  # fmt: skip
    assert "classifier nearest" in nearest["definitions"]["accuracy@6way1shot"]
    # Another program reads them as plain JSON and answers alike.
    record = json.loads((arrays / "e.json").read_text())["episodes"]["6way1shot"]
    rows, right = np.load(arrays / "x.npy"), []
    for support, queries in zip(record["support"], record["queries"], strict=True):
        known = rows[np.array(support)].mean(axis=1)
        found = ((rows[np.array(queries)][:, None] - known) ** 2).sum(axis=2).argmin(axis=1)
        right.append((found == np.repeat(np.arange(6), 5)).mean())
    assert estimate["value"] == pytest.approx(np.mean(right))


def swapped_classes(text: str) -> str:
    record = json.loads(text)
    for episode in record["episodes"]["6way1shot"]["support"]:
        episode[0], episode[1] = episode[1], episode[0]
    return json.dumps(record)


def one_class_twice(text: str) -> str:
    record = json.loads(text)
    for part in ("support", "queries"):
        for episode in record["episodes"]["6way1shot"][part]:
            each = len(episode) // 6
            episode[each : 2 * each] = episode[:each]
    return json.dumps(record)


def asked_for_the_support(text: str) -> str:
    record = json.loads(text)
    given = record["episodes"]["6way1shot"]
    given["queries"][0][0] = given["support"][0][0][0]
    return json.dumps(record)


@pytest.mark.parametrize(
    ("change_to", "code", "told"),
    [
        (lambda text: text[:-40], 5, "is no episode file"),
        (lambda text: text.replace("episodes 1", "episodes 9"), 5, "of this version"),
        (lambda text: text.replace("[[[", "[[[9", 1), 5, "not there"),
        (lambda text: text.replace("6way1shot", "none"), 5, "name that is none"),
        (lambda text: text.replace("6way1shot", "x,classifier=nearest"), 5, "name that is none"),
        (lambda text: re.sub(r'"episodes": .*', '"episodes": {}}', text), 5, "holds no episodes"),
        (lambda text: text.replace("[[[", "[[[true, ", 1), 5, "is no episode file"),
        (swapped_classes, 5, "ask for other classes"),
        (one_class_twice, 5, "have a class twice"),
        (asked_for_the_support, 5, "ask for images of the support"),
        (lambda text: text.replace('fingerprint": "', 'fingerprint": "0'), 3, "other images"),
        (lambda text: "[]", 5, "is no episode file"),
    ],
)
def test_an_episode_file_that_does_not_fit_is_refused(arrays: Path, change_to, code, told) -> None:
    file = arrays / "e.json"
    judged(arrays, protocols=["oneshot:way=6,episodes=3"], episodes_out=file)
    judged(arrays, episodes=file)
    file.write_text(change_to(file.read_text()))
    with pytest.raises(MetricForgeError) as refused:
        judged(arrays, episodes=file)
    assert refused.value.exit_code == code
    assert told in str(refused.value)


def test_numbers_by_class_are_written_as_a_table(arrays: Path) -> None:
    record = judge(arrays, "--protocol", "retrieval", "--by-class", arrays / "c.csv")
    lines = (arrays / "c.csv").read_text().splitlines()
    assert lines[0].startswith("class,queries,recall@1,")
    assert [line.split(",")[0] for line in lines[1:]] == [str(c) for c in range(CLASSES)]
    column = lines[0].split(",").index("map@r")
    means = [float(line.split(",")[column]) for line in lines[1:]]
    assert np.mean(means) == pytest.approx(values(record)["map@r-macro"], abs=1e-5)
    refused = metricforge("evaluate", "--embeddings", arrays / "x.npy", "--labels",
                          arrays / "y.npy", "--protocol", "clustering", "--by-class",
                          "c.csv")  # fmt: skip
    assert refused.returncode == 2


def test_what_goes_wrong_is_named(arrays: Path) -> None:
    labels = np.load(arrays / "y.npy")
    rows = np.load(arrays / "x.npy")
    change(arrays, 5, rows[labels == 3].mean(axis=0))
    failures = judge(arrays, "--protocol", "retrieval")["failures"]
    scores = [failure["score"] for failure in failures["worst"]]
    first = next(f for f in failures["worst"] if f["image"] == 5)
    assert first["score"] == min(scores) < 0.5
    assert (first["class"], first["nearest_class"]) == ("0", "3")
    assert labels[first["nearest"]] == 3
    pair = next(p for p in failures["confused"] if p["classes"] == ["0", "3"])
    assert pair["queries"] == 2 * EACH
    assert pair["mistakes"] >= 1


@pytest.mark.parametrize("index", ["ivf", pytest.param("hnsw", marks=pytest.mark.exhaustive)])
def test_an_approximate_index_says_what_it_costs(tmp_path: Path, index: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(20_000) % 2_000
    rows = rng.standard_normal((2_000, 12))[labels] + 0.5 * rng.standard_normal((20_000, 12))
    np.save(tmp_path / "x.npy", rows.astype(np.float32))
    np.save(tmp_path / "y.npy", labels)
    record = judge(tmp_path, "--protocol", f"retrieval:index={index}")
    note = next(note for note in record["notes"] if note.startswith(f"index={index} found"))
    assert 50 < float(note.split()[2].rstrip("%")) <= 100
    exact = judge(tmp_path, "--protocol", "retrieval")
    assert values(exact)["map@r"] - 0.3 < values(record)["map@r"] <= values(exact)["map@r"] + 1e-6


def test_a_device_that_is_not_there_is_refused_for_arrays_too(arrays: Path) -> None:
    done = metricforge("evaluate", "--embeddings", arrays / "x.npy", "--labels", arrays / "y.npy",
                       "--device", "tpu9")  # fmt: skip
    assert done.returncode == 2
    assert "tpu9" in done.stderr


def test_few_images_are_searched_exactly_whatever_the_index(arrays: Path) -> None:
    exact, record = (judge(arrays, "--protocol", p) for p in ("retrieval", "retrieval:index=ivf"))
    assert values(record) == values(exact)
    assert any("these are searched exactly" in note for note in record["notes"])


def test_embeddings_that_cosine_compares_are_scaled(arrays: Path) -> None:
    rows = np.load(arrays / "x.npy")
    expected = values(judge(arrays, "--protocol", "retrieval", "--cosine"))
    lengths = np.random.default_rng(1).uniform(0.1, 9, (len(rows), 1)).astype(np.float32)
    np.save(arrays / "x.npy", rows * lengths)
    assert values(judge(arrays, "--protocol", "retrieval", "--cosine")) == pytest.approx(expected)
    assert values(judge(arrays, "--protocol", "retrieval"))["map@r"] < expected["map@r"]


def test_the_network_before_training_is_that_of_the_run(tmp_path: Path) -> None:
    mf.train(dataset="digits", backbone="conv4:channels=8", epochs=1, orientations=1, seed=3,
             out=tmp_path / "r", progress=False)  # fmt: skip
    done = metricforge("evaluate", tmp_path / "r", "--untrained", "--json",
                       "--protocol", "retrieval", "--protocol", "verification")  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    untrained = record["results"]["untrained"]
    assert untrained["map@r"] == summary["results"]["untrained"]["map@r"]
    assert "error@calibrated" in untrained
    assert (tmp_path / "r" / "by_class.csv").read_text().startswith("class,queries,")
    page = (tmp_path / "r" / "report.html").read_text()
    assert ("Confused classes" in page) == bool(summary["failures"]["confused"])
    kept = [
        json.loads(line) for line in (tmp_path / "r" / "evaluations.jsonl").read_text().splitlines()
    ]
    assert kept[-1]["results"] == record["results"]["trained"]


@pytest.mark.fault(58)
def test_ranks_share_the_images_and_count_each_once(tmp_path: Path) -> None:
    """Two processes, and a test part that they can't divide."""
    mf.train(dataset="digits", backbone="conv4:channels=8", epochs=1, orientations=1,
             out=tmp_path / "r", progress=False)  # fmt: skip
    words = ("evaluate", tmp_path / "r", "--protocol", "retrieval", "--protocol", "verification")
    alone = metricforge(*words, "--json")
    together = ranked(2, (*words, "--json"), cwd=Path.cwd())
    assert together.returncode == 0, together.stderr
    records = [json.loads(done.stdout) for done in (alone, together)]
    assert records[0]["images"] % 2 == 1
    for found in records:
        assert found["results"].keys() == {"trained", "pixels"}
    for name, estimate in records[0]["results"]["trained"].items():
        assert records[1]["results"]["trained"][name] == pytest.approx(estimate, abs=1e-4)
    kept = (tmp_path / "r" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["by"] for line in kept] == ["train", "evaluate", "evaluate"]


@pytest.mark.fault(103)
@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels[:, None],  # as Keras has them
        lambda labels: labels.astype(np.float32),
        lambda labels: labels.astype(np.float64)[:, None],
    ],
    ids=["column", "whole floats", "both"],
)
def test_labels_of_another_layout_are_read(arrays: Path, change) -> None:
    expected = judged(arrays).to_json()
    np.save(arrays / "z.npy", change(np.load(arrays / "y.npy")))
    assert judged(arrays, "z.npy").to_json() == expected


@pytest.mark.fault(103)
@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -np.inf, 1e300])
def test_labels_that_are_no_whole_numbers_are_refused(arrays: Path, value: float) -> None:
    labels = np.load(arrays / "y.npy").astype(np.float64)
    labels[3] = value
    np.save(arrays / "z.npy", labels)
    with pytest.raises(MetricForgeError, match="labels are whole numbers or strings"):
        judged(arrays, "z.npy")


@pytest.mark.fault(103)
@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_label_in_an_array_is_refused_with_its_row(arrays: Path, empty: object) -> None:
    labels = np.load(arrays / "y.npy").astype("U" if isinstance(empty, str) else "S")
    labels[[5, 9]] = empty
    for shape in (labels, labels[:, None]):
        np.save(arrays / "z.npy", shape)
        with pytest.raises(MetricForgeError, match=r"z\.npy: row 5 has no label; give"):
            judged(arrays, "z.npy")
