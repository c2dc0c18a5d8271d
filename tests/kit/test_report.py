"""What a plugin writer reads: the message of a failure, the report of a success."""

from __future__ import annotations

import random
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from metricforge.contracts import KINDS
from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.testing import CHECKS, ContractBroken, check, check_miner, check_sampler
from metricforge.testing.growth import LiveTensors, growth_note, measured
from tests.kit.test_samplers import DropsTheLast, Sorts, Sound


class Careless(DropsTheLast, Sorts):
    """Two faults at once."""


class Sized(Sound):
    def __init__(self, labels, *, size: int):
        super().__init__(labels)
        self.size = size

    def epoch(self, rng):
        yield from torch.from_numpy(rng.permutation(len(self.labels))).split(self.size)


def test_the_message_lists_each_failed_check_with_what_was_given_and_what_to_do():
    with pytest.raises(ContractBroken) as caught:
        check_sampler(Careless)
    head, *lines = str(caught.value).splitlines()
    assert head == f"sampler Careless breaks 2 of {len(CHECKS['sampler'])} checks:"
    assert lines[0].startswith(
        "  every-image-is-shown: given 40 classes of 8 images, it left out 16 of 320 images in an "
        "epoch (the first: "
    )
    assert lines[0].endswith("show every image, those of small classes and of a last short batch, "
                             "too.")  # fmt: skip
    assert lines[1:] == [
        "  labels-stay: given 40 classes of 8 images, it changed the labels or groups in "
        "place; work on a copy."
    ]
    assert isinstance(caught.value, AssertionError)
    assert [f.check for f in caught.value.report.failures] == [
        "every-image-is-shown",
        "labels-stay",
    ]


def test_options_reach_the_component():
    assert check_sampler(Sized, size=4).passed
    with pytest.raises(ContractBroken, match=r"builds: given .* raised TypeError: .*'size'"):
        check_sampler(Sized)
    with pytest.raises(ContractBroken, match=r"builds: .*unexpected keyword argument 'length'"):
        check_sampler(Sound, length=3)


def test_a_spec_is_found_and_options_beside_it_stand_above_its_own():
    assert check("head", "mlp:hidden=3", hidden=5, normalize=None).passed
    (finding,) = check("head", "mpl").findings
    assert (finding.check, finding.outcome) == ("builds", "failed")
    assert "did you mean 'mlp'" in finding.says
    (finding,) = check("head", "mlp:hiden=3").findings
    assert "did you mean 'hidden'" in finding.says


def test_a_registry_of_ones_own_is_asked():
    point = EntryPoint("mine", f"{Sound.__module__}:Sound", KINDS["sampler"].group)
    assert check("sampler", "mine", registry=Registry([point])).passed


def test_an_ordinary_input_that_is_refused_is_a_failure_with_its_text():
    report = check("sampler", "hard-triplet:classes=41")
    assert "train set has 40" in report.failures[0].says
    assert report.failures[0].says.startswith("given 40 classes of 8 images, it refused with Data")
    assert all(f.outcome == "skipped" for f in report.findings[1:])


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(UsageError, match="did you mean 'sampler'"):
        check("samplr", Sound)


def test_the_kit_leaves_the_global_generators_as_they_were():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    check("miner", "pml.DistanceWeightedMiner")
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.get_rng_state().equal(before[2])


def test_a_report_reads_as_a_line_and_its_notes():
    head, note = str(check_miner("batch-hard")).splitlines()
    assert head == f"miner batch-hard passes {len(CHECKS['miner'])} checks:"
    assert note.startswith("  growth: memory grows as B^1.")


def test_every_kind_has_its_checks():
    assert set(CHECKS) == set(KINDS)
    assert all(checks[0].name == "builds" for checks in CHECKS.values())


def test_memory_is_that_of_the_tensors_alive_at_once():
    with LiveTensors() as watched:
        for _ in range(3):
            kept = torch.zeros(1000)
        kept = kept.view(10, 100) + 1
    assert watched.peak == 8000
    assert len(kept) == 10


def test_growth_is_told_with_its_exponent():
    usages = [measured(n, lambda n=n: torch.zeros(n, n, dtype=torch.uint8)) for n in (512, 1024)]
    assert [usage.bytes // 2**18 for usage in usages] == [1, 4]
    assert growth_note(usages, "B").startswith(
        "memory grows as B^2.0: 0.3 MB at 512, 1.0 MB at 1,024; "
    )
