"""Cross-batch memory (Wang 2020): a batch is compared with the embeddings of past batches too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Build, InnerSpec, Miner, Sampler
from metricforge.errors import UsageError

METRICFORGE_API = 1


class XBM:
    """Another sampler's batches, compared with a memory of past embeddings too (Wang 2020).

    The memory has the newest embedding of each of the last `size` images. The embedding that an
    image of the batch left in it is never compared with that image.

    Args:
        labels: int64 [N], the class of each image of the train set.
        sampler: Spec of the sampler that makes the batches; its miner must choose among all images
            that it is shown, as those of P x K samplers do.
        size: Images in the memory, 1 or more.
        warmup: Steps in which the memory is only filled, while the network still drifts fast; none:
            until every image was seen once.

    Reference: Wang et al., Cross-Batch Memory for Embedding Learning, 2020.
    """

    def __init__(
        self,
        labels: Tensor,
        build: Build[Sampler],
        *,
        sampler: InnerSpec = "metricforge:hard-triplet",
        size: int = 1024,
        warmup: int | None = None,
    ) -> None:
        if size < 1 or (warmup is not None and warmup < 0):
            raise UsageError("xbm needs size >= 1 and warmup >= 0, or none.")
        self._inner = build(sampler)
        if hasattr(self._inner, "remember"):
            raise UsageError(f"xbm can't wrap '{sampler}', which has a memory of its own.")
        self.miner: Miner = self._inner.miner
        if self.miner.kind is None:
            raise UsageError(
                f"xbm can't wrap '{sampler}': its loss sees whole batches, and would take what is "
                "remembered for anchors; take one that has a miner, e.g. hard-triplet."
            )
        self._spec, self._fit = sampler, list[Miner]()
        self._fitting(self.miner)
        self.default_loss = getattr(self._inner, "default_loss", None)
        self.notes = getattr(self._inner, "notes", ())
        if hasattr(self._inner, "refresh"):
            self.refresh = self._inner.refresh
        if hasattr(self._inner, "miner_at"):
            self.miner_at = self._miner_at
        self.size, self.warmup, self._steps = size, warmup, 0
        self._seen = torch.zeros(len(labels), dtype=torch.bool)
        self._embeddings: Tensor | None = None
        self._labels = self._images = torch.zeros(0, dtype=torch.int64)

    def epoch(self, rng: np.random.Generator, number: int) -> Iterator[Tensor]:
        """The wrapped sampler's batches of epoch `number`, from 0: int64 indices [B]."""
        inner: Any = self._inner
        asks = "number" in signature(inner.epoch).parameters
        batches: Iterator[Tensor] = inner.epoch(rng, number) if asks else inner.epoch(rng)
        return batches

    @property
    def warm(self) -> bool:
        """Whether the warm-up is over."""
        return bool(self._seen.all()) if self.warmup is None else self._steps >= self.warmup

    def remember(self, embeddings: Tensor, labels: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """The memory to compare the batch [B, D] with, [M, D] and [M]; M is 0 while warming up.

        The batch is then put into the memory, and replaces what it holds of the same images.
        """
        device = embeddings.device
        images = images.to(device)
        before = embeddings[:0] if self._embeddings is None else self._embeddings.to(embeddings)
        before_labels, before_images = self._labels.to(device), self._images.to(device)
        retained = ~torch.isin(before_images, images)
        memory = before[retained], before_labels[retained]
        shown = memory if self.warm else (embeddings[:0], labels[:0])
        # Of a batch that shows an image twice, as of older embeddings, the memory keeps one.
        first = _first_positions(images)
        self._embeddings = torch.cat([memory[0], embeddings[first]])[-self.size :]
        self._labels = torch.cat([memory[1], labels[first]])[-self.size :]
        self._images = torch.cat([before_images[retained], images[first]])[-self.size :]
        self._steps += 1
        self._seen[images.cpu()] = True
        return shown

    def _miner_at(self, epoch: int, step: int) -> Miner:
        """The wrapped sampler's miner of a step, both from 0; UsageError if it can't be used."""
        # A schedule's later miners are only known when their epochs begin.
        inner: Any = self._inner
        return self._fitting(inner.miner_at(epoch, step))

    def _fitting(self, miner: Miner) -> Miner:
        """The same miner, if it chooses among all the images that it is shown."""
        if not any(miner is fit for fit in self._fit):
            if not _chooses(miner):
                raise UsageError(
                    f"xbm can't wrap '{self._spec}': its miner names places in the batch and "
                    "would pass the memory over; take one that chooses among all images, e.g. "
                    "hard-triplet."
                )
            self._fit.append(miner)
        return miner

    def state_dict(self) -> dict[str, Tensor]:
        """The memory, the progress of the warm-up, and the state of the wrapped sampler."""
        state = {"steps": torch.tensor(self._steps), "seen": self._seen}
        if self._embeddings is not None:
            state["embeddings"] = self._embeddings
            state |= {"labels": self._labels, "images": self._images}
        if hasattr(self._inner, "state_dict"):
            state |= {f"sampler.{name}": v for name, v in self._inner.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._steps, self._seen = int(state["steps"]), state["seen"]
        self._embeddings = state.get("embeddings")
        if self._embeddings is not None:
            self._labels, self._images = state["labels"], state["images"]
        if hasattr(self._inner, "load_state_dict"):
            prefix = "sampler."
            inner = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
            self._inner.load_state_dict(inner)


def _chooses(miner: Miner) -> bool:
    """Whether a miner takes any number of images: one that pairs indices does not."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    embeddings = torch.nn.functional.one_hot(torch.arange(len(labels))).float()
    # A copy, so that this batch does not change the miner's state.
    miner = deepcopy(miner)
    call = getattr(miner, "forward", miner)
    drawn: dict[str, Any] = (
        {"rng": np.random.default_rng(0)} if "rng" in signature(call).parameters else {}
    )
    try:
        tuples = miner(embeddings, labels, **drawn)
    except (RuntimeError, ValueError, IndexError):
        return False
    return not isinstance(tuples, tuple) or len({len(part) for part in tuples}) == 1


def _first_positions(images: Tensor) -> Tensor:
    """The first index of each image [B] in its batch, in order."""
    _, first = np.unique(images.cpu().numpy(), return_index=True)
    return torch.from_numpy(np.sort(first)).to(images.device)
