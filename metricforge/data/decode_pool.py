"""The threads that decode images, shared by the whole process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def decode_pool(workers: int | None = None) -> ThreadPoolExecutor:
    """A pool of `workers` threads; None: one for each core, of which ranks share a machine's."""
    # Threads, since Pillow decodes without the GIL.
    own_cores = max((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    return ThreadPoolExecutor(workers or own_cores, thread_name_prefix="decode")


# A forked child inherits the pool but none of its threads, and would wait for them for ever.
if hasattr(os, "register_at_fork"):  # which Windows lacks
    os.register_at_fork(after_in_child=decode_pool.cache_clear)
