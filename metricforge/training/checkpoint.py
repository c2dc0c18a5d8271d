"""Checkpoints: safetensors, JSON and a manifest in a folder that is whole or absent."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.optim import Optimizer

from metricforge.atomic_files import read_folder, settle, write_folder
from metricforge.contracts import Stateful
from metricforge.decoding import Versioned, parsed, refuse_unknown, typed
from metricforge.enforcement import check_state
from metricforge.errors import ArtefactError
from metricforge.plugin_errors import blaming, broken, name_of
from metricforge.training.records import EpochSums
from metricforge.training.setup import TrainingSetup, TrainState
from metricforge.weights.matching import load_exactly

FORMAT = 2

OF_A_GROUP = ("params", "name", "lr", "initial_lr")
"""The keys that a training itself sets in a group of parameters."""


@dataclass(frozen=True)
class _State:
    """The content of state.json."""

    position: TrainState
    optimizer: dict[str, int | float | bool | None]
    scaler: dict[str, int | float]
    tally: EpochSums = field(default_factory=EpochSums)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run, in its folder `checkpoints/`, named by their step."""

    folder: Path

    def save(self, setup: TrainingSetup, state: TrainState, keep: int = 2) -> Path:
        """Write a checkpoint; all but the newest `keep` and the best one are removed."""
        optimizer, scalars = flattened(setup.optimizer)
        fields = {
            "format": FORMAT,
            "position": _numbers(state, "batches", "tally"),
            "seed": setup.seed,
            "optimizer": scalars,
            "scaler": setup.scaler.state_dict(),
        }
        files = {
            "model.safetensors": save_tensors(_contiguous(setup.model)),
            "optimizer.safetensors": save_tensors(optimizer),
        }
        if setup.average is not None:
            files["average.safetensors"] = save_tensors(_contiguous(setup.average))
        if state.step:
            fields["tally"] = _numbers(state.tally, "sample")
            files["epoch.safetensors"] = save_tensors(_of_epoch(state))
        files["state.json"] = json.dumps(fields, indent=1).encode()
        for name, component in _stateful(setup):
            files[f"{name}.safetensors"] = _state_of(component)
        folder = self.at(state.total_steps)
        # The best weights first: a checkpoint must never name a best epoch that does not exist.
        if state.step == 0 and state.best_epoch == state.epoch:
            judged = save_tensors(_contiguous(setup.judged))
            write_folder(self.best, {"model.safetensors": judged})
        write_folder(folder, files)
        for old in self.all()[:-keep]:
            shutil.rmtree(old)
        return folder

    def all(self) -> list[Path]:
        """The folders of all checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if re.fullmatch(r"step-\d+", p.name))

    @property
    def best(self) -> Path:
        """The folder with the weights of the best epoch on validation classes."""
        return self.folder / "best"

    def at(self, step: int) -> Path:
        """The folder of the checkpoint after so many steps."""
        return self.folder / f"step-{step:08d}"

    def settle(self) -> None:
        """Finish the writes of a killed process, before checkpoints are listed or restored."""
        settle(self.folder)

    def restore_newest(self, setup: TrainingSetup) -> tuple[TrainState, list[str]]:
        """Load the newest intact checkpoint into `setup`: its state, and why others were skipped.

        Skipped checkpoints are renamed to `step-N.damaged`. Raises ArtefactError if no checkpoint
        is intact.
        """
        damaged: dict[Path, str] = {}
        for folder in reversed(self.all()):
            try:
                state = restore(folder, setup)
            except ArtefactError as error:
                damaged[folder] = str(error)
                continue
            for skipped in damaged:
                aside = skipped.with_name(f"{skipped.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                skipped.rename(aside)
            return state, list(damaged.values())
        reasons = " ".join(damaged.values()) or "there is none."
        raise ArtefactError(f"no intact checkpoint in {self.folder}: {reasons}")

    def restore_best(self, setup: TrainingSetup) -> None:
        """Load the best epoch's weights into the model of `setup`, the averaged ones if any."""
        content = read_folder(self.best)
        load_exactly(setup.model, content.get("model.safetensors", b""), self.best)


def restore(folder: Path, setup: TrainingSetup) -> TrainState:
    """Load one checkpoint into model, loss and optimiser.

    After an ArtefactError they may be partly restored; another checkpoint must then be loaded.
    """
    files = read_folder(folder)
    try:
        saved = _parsed(folder, files)
        tensors = load_tensors(files["optimizer.safetensors"])
        unflatten(setup.optimizer, tensors, saved.optimizer)
        if setup.scaler.is_enabled():
            scaler = {key: saved.scaler[key] for key in setup.scaler.state_dict()}
            setup.scaler.load_state_dict(scaler)
    except (KeyError, IndexError, ValueError, SafetensorError) as error:
        raise ArtefactError(f"{folder} is not a whole checkpoint ({error}).") from error
    load_exactly(setup.model, files.get("model.safetensors", b""), folder)
    if setup.average is not None:
        load_exactly(setup.average, files.get("average.safetensors", b""), folder)
    for name, component in _stateful(setup):
        _load_state(component, files.get(f"{name}.safetensors", b""), folder)
    return saved.position


def _parsed(folder: Path, files: dict[str, bytes]) -> _State:
    """The content of state.json, with the batches and embeddings of the open epoch."""
    written = parsed(files["state.json"])
    check_format(folder, typed(written, Versioned).format)
    saved = typed(written, _State)
    refuse_unknown(written["position"], saved.position, "$.position")
    if saved.position.step:
        refuse_unknown(written["tally"], saved.tally, "$.tally")
        _resume_epoch(saved, load_tensors(files["epoch.safetensors"]))
    return saved


def check_format(folder: Path, written: int) -> None:
    """Reject a checkpoint of a later or an earlier metricforge, which has other content."""
    if written > FORMAT:
        raise ArtefactError(
            f"{folder} has checkpoint format {written} and this metricforge reads up "
            f"to {FORMAT}: upgrade metricforge."
        )
    if written < FORMAT:
        raise ArtefactError(
            f"{folder} has checkpoint format {written}, of an earlier metricforge, and this one "
            f"reads {FORMAT}: finish the run with the version in its env.json, or begin anew."
        )


def _numbers(record: TrainState | EpochSums, *without: str) -> dict[str, Any]:
    # Not its __dict__, from which msgspec omits defaults.
    names = (each.name for each in fields(record) if each.name not in without)
    return {name: getattr(record, name) for name in names}


def _of_epoch(state: TrainState) -> dict[str, Tensor]:
    """The batches of the open epoch, and its newest embeddings."""
    batches, parts = state.batches, state.tally.sample.parts()
    return {
        "indices": torch.cat(batches),
        "sizes": torch.tensor([len(batch) for batch in batches]),
        "sample": torch.cat(parts).contiguous(),
        "sample_sizes": torch.tensor([len(part) for part in parts]),
    }


def _resume_epoch(saved: _State, tensors: dict[str, Tensor]) -> None:
    state = saved.position
    state.tally = saved.tally
    state.batches = list(tensors["indices"].split(tensors["sizes"].tolist()))
    for part in tensors["sample"].split(tensors["sample_sizes"].tolist()):
        state.tally.sample.add(part)


def _stateful(setup: TrainingSetup) -> Iterator[tuple[str, Any]]:
    """The components that have state from step to step, by name."""
    parts = {"loss": setup.loss, "sampler": setup.sampler, "miner": setup.miner}
    return ((name, part) for name, part in parts.items() if isinstance(part, Stateful))


def _state_of(component: Any) -> bytes:
    """The saved state of a component; PluginError if it is not named tensors."""
    with blaming(component):
        state = component.state_dict()
        check_state(component, state)
        # Copies: safetensors refuses two names for one memory.
        return save_tensors({name: v.detach().clone().contiguous() for name, v in state.items()})


def _load_state(component: Any, content: bytes, folder: Path) -> None:
    if isinstance(component, nn.Module):
        load_exactly(component, content, folder)
        return
    try:
        state = load_tensors(content)
    except SafetensorError as error:
        raise ArtefactError(f"{folder} has no state for {name_of(component)}: {error}.") from error
    with blaming(component):
        component.load_state_dict(state)


def _contiguous(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in module.state_dict().items()}


def flattened(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state: its tensors and its plain numbers, by name.

    "3.exp_avg" is of the fourth parameter, "group0.step" a counter of the first group. Raises
    PluginError for anything that is neither a tensor nor a number.
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    with blaming(optimizer):
        saved = optimizer.state_dict()
    memories: set[int] = set()
    for name, values in _parts_of_state(optimizer, saved):
        for key, value in values.items():
            if isinstance(value, Tensor):
                memory = value.untyped_storage().data_ptr()
                # safetensors refuses two tensors of one memory.
                tensor = value.detach().clone() if memory in memories else value.detach()
                tensors[f"{name}.{key}"] = tensor.contiguous()
                memories.add(memory)
            elif isinstance(value, int | float | None):
                scalars[f"{name}.{key}"] = value
            else:
                actual = f"{type(value).__name__} '{key}'"
                raise broken(optimizer, "must keep tensors and numbers in its state", actual)
    return tensors, scalars


def _parts_of_state(
    optimizer: Optimizer, saved: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The state of each parameter, and the changed entries of each group, by name."""
    for index, values in saved["state"].items():
        if not isinstance(index, int):
            contract = "must keep its state by parameter, as in self.state[parameter]"
            raise broken(optimizer, contract, f"the key {index!r}")
        yield str(index), values
    for index, group in enumerate(saved["param_groups"]):
        changed = {
            key: value
            for key, value in group.items()
            if key not in OF_A_GROUP and _has_changed(key, value, optimizer.defaults)
        }
        yield f"group{index}", changed


def _has_changed(key: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    """Whether a value of a group differs from the option of a new optimizer."""
    if not isinstance(value, Tensor | int | float | None):
        return False  # e.g. betas: an option, which a new optimizer gets again
    if isinstance(value, Tensor) or isinstance(defaults.get(key), Tensor):
        return value is not defaults.get(key)
    return key not in defaults or bool(value != defaults[key])


def unflatten(optimizer: Optimizer, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    """Give an optimizer the state that :func:`flattened` returned."""
    state: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    for name, value in {**scalars, **tensors}.items():
        part, _, key = name.partition(".")
        if part.startswith("group"):
            groups[int(part.removeprefix("group"))][key] = value
        else:
            state.setdefault(int(part), {})[key] = value
    with blaming(optimizer):
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    _keep_layout(optimizer)


def _keep_layout(optimizer: Optimizer) -> None:
    # Moments in another memory layout than their weights are summed in another order: the
    # resumed run would differ in its last bits, and run slower.
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter).copy_(value)
