"""What a run was tested on, in words."""

from __future__ import annotations

import pytest
import torch

from metricforge.contracts import Dataset
from metricforge.data.split import split_dataset
from metricforge.runs.wording import held_out_phrase
from metricforge.spec import Spec


def dataset(groups: list[int] | None = None, **more: object) -> Dataset:
    """12 classes of 8 images."""
    labels = torch.arange(96) // 8
    return Dataset(
        name="letters",
        images=torch.zeros(96, 1, 4, 4, dtype=torch.uint8),
        labels=labels,
        classes=tuple("abcdefghijkl"),
        shape=(1, 4, 4),
        groups=None if groups is None else torch.tensor(groups)[labels],
        group_names=tuple("uvwxyz"[: max(groups) + 1]) if groups else (),
        **more,  # type: ignore[arg-type]
    )


PLAIN, BY_SIX = dataset(), dataset([n // 2 for n in range(12)], nouns=("characters", "scripts"))


@pytest.mark.parametrize(
    ("made", "split", "told"),
    [
        (PLAIN, "classes:train=a-h,validation=i,test=j-l",
         "3 classes that the network never saw: j, k, l"),
        (PLAIN, "classes:train=a+b,validation=c,test=d-l", "9 classes that the network never saw"),
        (BY_SIX, "classes:train=a-f,validation=g+h,test=i-l",
         "4 characters of 2 scripts that the network never saw: i, j, k, l"),
        # Of one script: that it was held out says nothing more.
        (BY_SIX, "classes:train=a-h,validation=i+j,test=k+l",
         "2 characters that the network never saw: k, l"),
        # A script that validates has been looked at.
        (BY_SIX, "classes:train=a-f,validation=g+i,test=h+j+k+l",
         "4 characters that the network never saw: h, j, k, l"),
        (BY_SIX, "images",
         "other images of 12 characters that the network was trained on (closed set)"),
    ],
)  # fmt: skip
def test_the_test_part_in_words(made: Dataset, split: str, told: str) -> None:
    assert held_out_phrase(split_dataset(made, Spec.parse(split)), made) == told
