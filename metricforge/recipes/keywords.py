"""The options of `metricforge.train`, for editors and type checkers.

Written by tests/keywords.py from the fields of `metricforge.Recipe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict


class TrainOptions(TypedDict, total=False):
    """Keyword arguments; a component is a spec, or a Python object."""

    dataset: Any
    """Dataset, or the path of a folder, archive, CSV or npz file."""

    split: str | None
    """random, groups, folds:k=4,fold=0, classes:train=0-4,..., images, official or saved:path=FILE.
    Default: official, else random.
    """

    sampler: Any
    """Which images meet in a batch."""

    miner: Any
    """Which tuples of the batch are compared. Default: the sampler's."""

    loss: Any
    """How the tuples are scored. Default: the sampler's."""

    backbone: Any
    """The network, image to features."""

    head: Any
    """Features to embedding; of a pretrained backbone it begins at the principal components of the
    features.
    """

    adapters: Any
    """Which weights of the backbone learn, e.g. last-blocks:n=2 or lora:rank=8. Repeatable."""

    dim: int | None
    """Dimensions of the embedding. Default: 64, or 512 of a pretrained backbone."""

    orientations: int | None
    """1, 4 or 8: each class turned, and mirrored, counts as further classes. Default: 8 for few
    classes of drawings, else 1.
    """

    augment: Any
    """Random changes of the training images, in order. Repeatable; none for none. Default: crop and
    flip for photographs.
    """

    views: int | None
    """Augmented views of each image that a frozen backbone, or its frozen lower part, embeds, once
    each; the epochs take them in turn. Default: the images as they are.
    """

    train_scale: float | None
    """Size of the network's input in training, as a fraction of that in evaluation, e.g. 0.875:
    random crops enlarge what they show, which a smaller input makes up for; it is also faster.
    Of images, and a backbone that learns. Default: 1.
    """

    hooks: Any
    """Hook to run during training, e.g. tensorboard. Repeatable."""

    epochs: int | None
    """Passes over the train set. Default: by its size."""

    images: int | None
    """Train until the network has seen this many images."""

    seconds: float | None
    """Train for this long, counting steps alone: validation and a sampler's refresh come on top.
    The result then depends on the machine.
    """

    optimizer: Any
    """How a gradient becomes a step, e.g. adamw:lr=1e-3,weight_decay=1e-4; of a pretrained backbone
    lr is 1e-4 by default.
    """

    schedule: Any
    """The learning rate over the training, e.g. cosine:warmup=0.05,end=0.1: rise over a twentieth,
    fall to a tenth.
    """

    rates: str | None
    """Factors on the learning rate of backbone, head and loss, e.g. backbone=0.1,loss=100; 0
    freezes. Default: 1, or backbone=0.3 of a pretrained one.
    """

    freeze: int
    """Epochs at the start in which the backbone is not trained."""

    batch_norm: str | None
    """batch, or frozen: by its running statistics. Default: batch, or frozen of a pretrained
    backbone.
    """

    clip: float | None
    """Scale longer gradients to this length."""

    ema: float | None
    """Evaluate and save an exponential moving average of the weights with this decay, e.g. 0.999;
    it is lower in the first steps.
    """

    patience: int | None
    """Stop after this many epochs without a better score."""

    chunk: int | None
    """Images that the network embeds at a time; the loss still compares the whole batch."""

    accumulate: int
    """Batches of a step, each compared by itself."""

    protocols: Sequence[str] | str
    """How to test, e.g. oneshot:way=20,shot=1. Repeatable."""

    validation: str
    """Protocol on validation classes after each epoch."""

    select: str
    """Its metric that chooses the best epoch."""

    seed: int
    """Seed of the weights and the batches."""

    device: str
    """auto, cpu, cuda or mps."""

    precision: str
    """fp32, bf16 or fp16."""

    channels_last: bool
    """Memory layout of images."""

    compile: bool
    """Compile the network: slow to start, then faster."""

    save_steps: int | None
    """Also save a checkpoint every N steps."""

    save_minutes: float
    """Also save a checkpoint every N minutes."""

    keep: int
    """Number of newest checkpoints to keep."""

    workers: int | None
    """Threads that decode image files. Default: one per core."""

    data_root: str
    """Where datasets lie or are downloaded to."""

    feature_cache: str | None
    """Folder that keeps the features of frozen backbones for later runs, or none. Default:
    ~/.cache/metricforge.
    """

    test: bool
    """Evaluate the test classes at the end, or leave them closed."""
