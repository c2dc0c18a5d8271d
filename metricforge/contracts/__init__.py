"""What a plugin and the core promise each other; a component imports this and `errors`, no more.

Importing it loads no torch, so that listing plugins takes no time. Each kind has a module of its
own; all names are here as well.

Shapes: B images in a batch, N images in a dataset, F features, D embedding dimensions.
"""

from metricforge.contracts.adapter import Adapter, Merging, Rating
from metricforge.contracts.augmentation import (
    Augmentation,
    Draws,
    TakingVectors,
    TurningIntoClasses,
    Warping,
)
from metricforge.contracts.dataset import (
    AS_IT_LIES,
    TEST,
    TRAIN,
    VALIDATION,
    Dataset,
    EncodedImage,
    Reading,
    Trials,
)
from metricforge.contracts.hook import Hook, OnEnd, OnEpoch, OnStep
from metricforge.contracts.kinds import (
    API_VERSION,
    COMMANDS,
    KINDS,
    SEARCHES,
    Build,
    InnerSpec,
    Kind,
)
from metricforge.contracts.learning import Parameters, Reducing, Schedule
from metricforge.contracts.loss import (
    Accepting,
    Counted,
    Counting,
    Loss,
    Predicting,
    WithMargin,
)
from metricforge.contracts.miner import LeavingChoice, Miner
from metricforge.contracts.network import (
    Backbone,
    Head,
    Initializing,
    Preprocessed,
    Preprocessing,
    Pretrainable,
    Pretrained,
    Rebuildable,
    ScalingItself,
)
from metricforge.contracts.protocol import (
    Answers,
    Estimate,
    EvaluationProtocol,
    Labelled,
    Result,
    Scored,
    Validation,
)
from metricforge.contracts.sampler import (
    Noting,
    Refreshing,
    Remembering,
    Sampler,
    Scheduled,
    SuggestingLoss,
)
from metricforge.contracts.state import Stateful
from metricforge.contracts.tuples import AllPairs, AllTriplets, Pairs, Triplets, TupleKind, Tuples

__all__ = [
    "API_VERSION",
    "AS_IT_LIES",
    "COMMANDS",
    "KINDS",
    "SEARCHES",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Accepting",
    "Adapter",
    "AllPairs",
    "AllTriplets",
    "Answers",
    "Augmentation",
    "Backbone",
    "Build",
    "Counted",
    "Counting",
    "Dataset",
    "Draws",
    "EncodedImage",
    "Estimate",
    "EvaluationProtocol",
    "Head",
    "Hook",
    "Initializing",
    "InnerSpec",
    "Kind",
    "Labelled",
    "LeavingChoice",
    "Loss",
    "Merging",
    "Miner",
    "Noting",
    "OnEnd",
    "OnEpoch",
    "OnStep",
    "Pairs",
    "Parameters",
    "Predicting",
    "Preprocessed",
    "Preprocessing",
    "Pretrainable",
    "Pretrained",
    "Rating",
    "Reading",
    "Rebuildable",
    "Reducing",
    "Refreshing",
    "Remembering",
    "Result",
    "Sampler",
    "ScalingItself",
    "Schedule",
    "Scheduled",
    "Scored",
    "Stateful",
    "SuggestingLoss",
    "TakingVectors",
    "Trials",
    "Triplets",
    "TupleKind",
    "Tuples",
    "TurningIntoClasses",
    "Validation",
    "Warping",
    "WithMargin",
]
