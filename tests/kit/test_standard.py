"""Every component that ships with MetricForge, held to the kit that plugin writers run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metricforge.contracts import KINDS
from metricforge.evaluation import statistics
from metricforge.registry import Registry
from metricforge.spec import Spec, options_of
from metricforge.testing import CHECKS, check, check_dataset, conformance
from metricforge.testing.network import backbone_checks

REGISTRY = Registry.installed()
OURS = [e for e in REGISTRY.entries() if e.distribution == "metricforge" and e.kind in KINDS]
# Of the two ResNets one will do: the larger takes twenty seconds.
LEFT_OUT = (
    "resnet50",
    *("schedule", "sum"),  # which need others to be made of
    *(
        "onnx",
        "timm",
        "efficientnet-lite0",
        "efficientnet-lite1",
        "efficientnet-lite2",
    ),  # in their own tests
)
PLAIN = [e for e in OURS if not e.family and e.kind != "dataset" and e.name not in LEFT_OUT]

# What the library itself does with newer numpy and torch is not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence for multi:UserWarning"),
]

HALF = ("takes-every-precision", "the library's cdist has no bfloat16 on the CPU")
EMPTY = ("takes-tiny-batches", "the library reduces over the batch, which must not be empty")
DROPS = ("not-a-number-shows", "the library averages what is above zero, which NaN is not")
EXCUSED = {
    "miner pml.BatchEasyHardMiner": [EMPTY, HALF],
    "miner pml.BatchHardMiner": [EMPTY, HALF],
    "miner pml.DistanceWeightedMiner": [
        EMPTY,
        HALF,
        ("takes-not-a-number", "the library looks for the largest of no weights"),
    ],
    "miner pml.HDCMiner": [HALF],
    "miner pml.PairMarginMiner": [HALF],
    "miner pml.TripletMarginMiner": [HALF],
    "miner pml.UniformHistogramMiner": [
        HALF,
        ("takes-not-a-number", "the library joins the tuples of no bin"),
    ],
    "loss pml.CircleLoss": [
        ("gradient-is-the-derivative", "its weights are detached, as the paper has it"),
    ],
    "loss pml.ContrastiveLoss": [DROPS, HALF],
    "loss pml.FastAPLoss": [HALF],
    "loss pml.GeneralizedLiftedStructureLoss": [HALF],
    "loss pml.HistogramLoss": [
        ("unusual-batches-stay-finite", "a cosine above one falls behind the last bin: a defect"),
        ("not-a-number-shows", "NaN has no bin"),
    ],
    "loss pml.LiftedStructureLoss": [HALF],
    "loss pml.MarginLoss": [HALF],
    "loss pml.NCALoss": [
        ("unusual-batches-stay-finite", "the mean over no positives: a defect"),
        HALF,
    ],
    "loss pml.P2SGradLoss": [
        ("gradient-is-the-derivative", "its gradient is chosen, and its value only stands for it"),
        ("unusual-batches-stay-finite", "it divides by the length of an embedding"),
    ],
    "loss pml.ProxyNCALoss": [HALF],
    "loss pml.RankedListLoss": [DROPS, HALF],
    "loss pml.SignalToNoiseRatioContrastiveLoss": [DROPS],
    "loss pml.TripletMarginLoss": [DROPS, HALF],
    "loss pml.TupletMarginLoss": [
        ("unusual-batches-stay-finite", "arccos has no slope at one: a defect"),
    ],
}


# Of each way to be excused one.
MEMBERS = (
    "pml.BatchHardMiner", "pml.PairMarginMiner", "pml.CircleLoss", "pml.ContrastiveLoss",
    "pml.NCALoss",
)  # fmt: skip


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit without what takes most of its time: notes on growth, resamples, larger images."""
    for kind, checks in CHECKS.items():
        kept = tuple(check for check in checks if check.name != "growth")
        monkeypatch.setitem(conformance.CHECKS, kind, kept)
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    monkeypatch.setattr(backbone_checks, "SHAPES", ((1, 28, 28), (3, 32, 32)))


def members() -> list[tuple[str, str]]:
    """Every member of the families of losses and miners, with 1 for what it requires."""
    found = []
    for entry in OURS:
        if entry.family and entry.kind in ("loss", "miner"):
            for name, factory in entry.point.load().items():
                needed = {
                    key: "1" for key, option in options_of(factory).items() if option.required
                }
                found.append((entry.kind, str(Spec(entry.name + name, needed))))
    return found


def assert_fails_only(kind: str, spec: str, excused: set[str]) -> None:
    report = check(kind, spec)
    assert {finding.check for finding in report.failures} == excused, str(report)


every_component = pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            entry,
            id=f"{entry.kind}-{entry.name}",
            # torchvision's, of whose networks a smaller one is checked below.
            marks=pytest.mark.exhaustive if entry.name == "resnet18" else (),
        )
        for entry in PLAIN
    ],
)


@every_component
def test_a_component_passes(entry, short):
    assert_fails_only(entry.kind, entry.name, set())


@pytest.mark.exhaustive
@every_component
def test_a_component_passes_the_whole_kit(entry):
    assert_fails_only(entry.kind, entry.name, set())


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("sampler", "balanced:classes=4,per_class=3"),
        ("sampler", "hard-triplet:classes=20,per_class=6"),
        ("sampler", "episodic:way=6,shot=2,queries=2"),
        ("sampler", "global-hard:classes=6,per_class=3,hard=1,neighbours=3"),
        ("sampler", "grouped:classes=6,per_class=3"),
        ("sampler", "random-pairs:pairs=16,positive=1"),
        ("sampler", "schedule:0=random-triplets,1=global-hard,blend=2"),
        ("sampler", "random-triplets:triplets=5"),
        ("sampler", "all-pairs:balanced=true,classes=6"),
        ("miner", "all-pairs:balanced=true"),
        ("loss", "contrastive:reduction=sum"),
        ("loss", "triplet:margin=0,soft=0.1"),
        ("loss", "triplet:active_only=false"),
        ("loss", "softmax:scale=1,smoothing=0.1"),
        ("loss", "sum:a=supcon,b=pml.CosFaceLoss,weights=1+0.5"),
        ("loss", "nested:of=softmax,dims=1,weights=1+2,normalize=false"),
        ("head", "mlp:hidden=3,normalize=false"),
        ("head", 'shrunk:of="mlp:hidden=3",width=9,code=int8'),
        ("backbone", "conv4:channels=8"),
        ("backbone", "torchvision.shufflenet_v2_x0_5"),
        ("protocol", "oneshot:way=5,shot=5,classifier=nearest,episodes=50"),
        ("protocol", "retrieval:k=1+100"),
    ],
)
def test_a_component_with_options_passes(kind, spec, short):
    assert_fails_only(kind, spec, set())


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param(
            *member,
            marks=() if Spec.parse(member[1]).name in MEMBERS else pytest.mark.exhaustive,
        )
        for member in members()
    ],
)
def test_a_member_of_the_library_fails_only_what_is_known(kind, spec, short):
    name = f"{kind} {Spec.parse(spec).name}"
    assert_fails_only(kind, spec, {check for check, _ in EXCUSED.get(name, [])})


def test_only_what_exists_is_excused():
    assert set(EXCUSED) <= {f"{kind} {Spec.parse(spec).name}" for kind, spec in members()}


def test_digits_pass():
    assert_fails_only("dataset", "digits", set())


def test_mnist_passes(mnist_root):
    assert check_dataset("mnist", root=mnist_root).passed


def test_fashion_mnist_passes(data_root):
    if not (data_root / "FashionMNIST/raw/train-images-idx3-ubyte").is_file():
        pytest.skip("METRICFORGE_DATA has no FashionMNIST")
    assert check_dataset("fashion-mnist", root=data_root).passed


def test_omniglot_passes(omniglot_root):
    assert check_dataset("omniglot:background=small1", root=omniglot_root).passed


def test_a_folder_passes(tmp_path: Path):
    rng = np.random.default_rng(0)
    for group in ("birds", "cats"):
        for number in range(3):
            place = tmp_path / group / f"{group}{number}"
            place.mkdir(parents=True)
            for image in range(4):
                pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{image}.png")
    report = check_dataset("folder", path=tmp_path, size=16)
    assert report.passed
    assert check_dataset(f"folder:path={tmp_path},color=false").passed


def test_a_csv_passes(tmp_path: Path):
    rows = ["path,label,group,split"]
    for image in range(24):
        pixels = np.random.default_rng(image).integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{image}.png")
        rows.append(f"{image}.png,{image // 4},{image // 8},{'test' if image > 11 else 'train'}")
    (tmp_path / "photos.csv").write_text("\n".join(rows))
    assert check_dataset("csv", path=tmp_path / "photos.csv", size=16).passed
