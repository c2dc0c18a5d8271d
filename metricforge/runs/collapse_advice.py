"""The warning that the embeddings of a run collapse, and what to try."""

from __future__ import annotations

from metricforge.contracts import Triplets
from metricforge.runs.build import Assembly
from metricforge.training.health import at_margin
from metricforge.training.mining import margin_of
from metricforge.training.records import EpochRecord

# Hard triplets collapse if all distances shrink to one. Easier triplets help, at first or
# throughout, and so does a loss of the ratio of distances, which shrinking does not change.
# Each remedy has the mark of a run that uses it already.
TRIPLET_REMEDIES = {
    "--sampler semihard-triplet": "semihard-triplet",
    "--miner paced-hard": "PacedHard",
    "--sampler schedule:0=random-triplets,5=hard-triplet": "schedule",
    "--loss triplet:margin=0,soft=1,log=true": "log=true",
}
OTHER_REMEDIES = {"--sampler random-triplets": "random-triplets"}


def collapse(record: EpochRecord, assembly: Assembly) -> str:
    """The sentence on an epoch whose record says that the embeddings collapsed."""
    setup, recipe = assembly.setup, assembly.recipe
    # The miner by its class, too: it may come from the sampler.
    used = f"{recipe.sampler} {type(setup.miner).__name__} {recipe.loss}"
    known = TRIPLET_REMEDIES if setup.miner.kind is Triplets else OTHER_REMEDIES
    ways = [way for way, sign in known.items() if sign not in used]
    rate = setup.optimizer.defaults["lr"]
    margin = margin_of(setup.loss)
    held = f" at its margin {margin:g}" if at_margin(record.loss, margin) else ""
    loss = f"loss {record.loss:.3g}{held}"
    tries = f"{', '.join(ways)}, or a smaller" if ways else "a smaller"
    return (
        f"epoch {record.epoch}: the embeddings collapse onto one point (spread "
        f"{record.spread:.2g}, {loss}); try {tries} learning rate (now {rate:g})."
    )
