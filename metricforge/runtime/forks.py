"""torch in a process that was forked from one that had used torch's threads.

The child inherits their bookkeeping and none of the threads, and would wait for them for ever.
"""

from __future__ import annotations

import os

import torch

_used = False
_inherited = False


def without_lost_threads() -> None:
    """Before torch works: in such a child, use one thread alone."""
    global _used, _inherited
    if _inherited:
        torch.set_num_threads(1)
        _inherited = False
    _used = True


def _in_child() -> None:
    global _inherited
    _inherited = _inherited or _used


if hasattr(os, "register_at_fork"):  # which Windows lacks
    os.register_at_fork(after_in_child=_in_child)
