"""Ranks that meet, make an optimizer and part: the threads that are left, a line for each rank.

torchrun -m tests.training.leaving
"""

from __future__ import annotations

from pathlib import Path

import torch

from metricforge.runtime import Ranks


def main() -> None:
    """Meet, and part."""
    with Ranks.joined() as ranks:
        ranks.wait()
        torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
    names = sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    print(ranks.rank, names, flush=True)


if __name__ == "__main__":
    main()
