"""What `metricforge train` does, in sixty lines: sample, embed, mine, score, step, test.

    python examples/minimal_loop.py

Everything that decides what the loss compares is a plugin, built by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge import Registry, Spec
from metricforge.data import split_dataset
from metricforge.evaluation import score_retrieval

EPOCHS, DIM, SEED = 1, 64, 0


def main() -> None:
    registry = Registry.installed()

    def build(kind: str, spec: str, **offers: Any) -> Any:
        return registry.build(kind, Spec.parse(spec), offers)

    torch.manual_seed(SEED)
    dataset = build("dataset", "glyphs", root=Path("data"))
    split = split_dataset(dataset)  # whole scripts are held out
    labels = dataset.labels[split.train].unique(return_inverse=True)[1]
    images = dataset.images.float() / 255

    channels, *size = dataset.shape
    backbone = build("backbone", "conv4", in_channels=channels, image_size=tuple(size))
    head = build("head", "linear", in_features=backbone.out_features, dim=DIM)
    sampler = build("sampler", "hard-triplet", labels=labels, groups=None)
    loss = build("loss", sampler.default_loss, dim=DIM, num_classes=int(labels.max()) + 1)
    model = torch.nn.Sequential(backbone, head)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def embed(rows: Tensor) -> Tensor:
        return F.normalize(model(images[rows]))

    def recall_at_1() -> float:
        model.eval()
        with torch.inference_mode():
            test = torch.cat([embed(rows) for rows in split.test.split(512)])
        model.train()
        found = score_retrieval(test.numpy(), dataset.labels[split.test].numpy(), [1])
        return float(found.recall[1].mean())

    classes = len(split.classes("test", dataset))
    print(f"untrained: recall@1 {recall_at_1():.3f} on {classes} classes never trained on")
    for epoch in range(EPOCHS):
        for batch in sampler.epoch(np.random.default_rng((SEED, epoch))):
            embeddings = embed(split.train[batch])
            with torch.no_grad():
                tuples = sampler.miner(embeddings, labels[batch])
            optimizer.zero_grad()
            loss(embeddings, labels[batch], tuples).backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: recall@1 {recall_at_1():.3f}")


if __name__ == "__main__":
    main()
