"""The contract of heads and backbones: modules that train, are saved and run anywhere.

The file of each kind has its networks and inputs; these checks are common to both.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from metricforge.testing.checkpoints import put_state, state_of
from metricforge.testing.checks import Broken, raised
from metricforge.testing.growth import Usage, growth_note, measured
from metricforge.testing.network.fixture import ATOL, RTOL, Run, Trial, warmed
from metricforge.testing.network.gradient_checks import (
    gradient_is_the_derivative,
    gradients_are_finite,
    runs_in_bfloat16,
)
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject


def gives_one_row_an_input(subject: Subject, trial: Trial) -> None:
    """Its output is [B, width] and finite, for one input as for eight."""
    network = trial.made(subject).eval()
    for count in (8, 1):
        out = network(trial.inputs(count))
        expected = (count, trial.width(network))
        if not isinstance(out, Tensor) or tuple(out.shape) != expected:
            actual = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise Broken(f"gave {actual} for a batch of {count}; give one tensor {list(expected)}.")
        if not bool(out.isfinite().all()):
            raise Broken("gave values that are not finite for random input before any training.")


def rows_are_independent(subject: Subject, trial: Trial) -> None:
    """In evaluation each row depends on its own image alone: a batch gives what one by one does."""
    network = warmed(subject, trial)
    inputs = trial.inputs(8)
    together = network(inputs)
    alone = torch.cat([network(inputs[row : row + 1]) for row in range(len(inputs))])
    turned = network(inputs.flip(0)).flip(0)
    for other, how in ((alone, "one by one"), (turned, "in another order")):
        if not torch.allclose(together, other, rtol=RTOL, atol=ATOL):
            apart = float((together - other).detach().abs().max())
            raise Broken(
                f"gave other rows for the same inputs {how} (by up to {apart:.2g}); in eval() "
                "use no statistics of the batch."
            )


def evaluation_draws_nothing(subject: Subject, trial: Trial) -> None:
    """In evaluation it gives the same each time and leaves all global generators alone."""
    network = trial.made(subject).eval()
    inputs = trial.inputs(4)
    set_globals(1)
    with untouched("evaluation"):
        first = network(inputs)
    set_globals(2)
    if not first.equal(network(inputs)):
        raise Broken("gave another output for the same input in eval(); draw in training only.")


def input_stays(subject: Subject, trial: Trial) -> None:
    """It leaves its input as it is, in training and in evaluation."""
    network = trial.made(subject)
    for training in (True, False):
        inputs = trial.inputs(4)
        network.train(training)(inputs)
        if not inputs.equal(trial.inputs(4)):
            raise Broken("changed its input in place; begin with no in-place layer.")


def runs_on_any_device(subject: Subject, trial: Trial) -> str | None:
    """It runs where it is moved to: on the meta device, and on CUDA where there is one."""
    network = trial.made(subject).eval()
    expected = network(trial.inputs(4)).shape
    try:
        moved = copy.deepcopy(network).to("meta")
    except Exception as error:
        return f"it can't be moved to the meta device: {raised(error)}"
    candidates = [("meta", moved)]
    if torch.cuda.is_available():
        candidates.append(("cuda", network.to("cuda")))
    for device, candidate in candidates:
        try:
            out = candidate(trial.inputs(4).to(device))
        except Exception as error:
            raise Broken(
                f"{raised(error)} on the device {device}; make tensors with device=input.device, "
                "and keep constants in register_buffer."
            ) from error
        if out.shape != expected or out.device.type != device:
            raise Broken(
                f"gave {list(out.shape)} on {out.device}, not {list(expected)} on {device}."
            )
    return None


def weights_come_from_the_seed(subject: Subject, trial: Trial) -> str | None:
    """torch's seed decides the weights that it starts with; python's and numpy's don't matter."""
    first = trial.made(subject).state_dict()
    set_globals(5)
    torch.manual_seed(0)
    with untouched("building", torch_too=False):
        again = subject.build(**trial.offers).state_dict()
    if not all(first[name].equal(again[name]) for name in first):
        raise Broken("started with other weights from the same torch seed; draw with torch.")
    other = trial.made(subject, seed=1).state_dict()
    if first and all(first[name].equal(other[name]) for name in first):
        return "it starts with the same weights whatever the seed, as ready-trained ones do."
    return None if first else "it has no weights."


def saves_and_loads(subject: Subject, trial: Trial) -> None:
    """Built anew and given its state, it gives the same output; the state is named tensors."""
    network = warmed(subject, trial)
    fresh = trial.made(subject, seed=9)
    put_state(fresh, state_of(network))
    inputs = trial.inputs(4)
    if not torch.allclose(network(inputs), fresh.eval()(inputs), rtol=1e-6, atol=1e-7):
        raise Broken(
            "gave another output after loading its own state; keep all that it depends on as "
            "parameters and buffers."
        )


def growth(subject: Subject, trial: Trial) -> str:
    """How many weights it has, and the time and memory of an evaluation."""
    network = trial.made(subject).eval()
    weights = sum(weight.numel() for weight in network.parameters())
    usages: list[Usage] = []
    with torch.no_grad():
        for count in (4, 16):
            inputs = trial.inputs(count)
            usages.append(measured(count, lambda x=inputs: network(x)))  # type: ignore[misc]
    each = usages[-1].seconds / 16 * 1e6
    return f"{trial.name}: {weights:,} weights, {each:,.0f} us an input; {growth_note(usages, 'B')}"


SHARED: tuple[Run, ...] = (
    gives_one_row_an_input,
    rows_are_independent,
    evaluation_draws_nothing,
    input_stays,
    gradients_are_finite,
    gradient_is_the_derivative,
    runs_in_bfloat16,
    runs_on_any_device,
    weights_come_from_the_seed,
    saves_and_loads,
    growth,
)
