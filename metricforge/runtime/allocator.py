"""The C library's allocator, set to keep blocks that a training step will request again."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**30


@cache
def keep_large_blocks() -> bool:
    """Make glibc keep freed blocks of up to 1 GiB; False with another C library.

    By default each block of more than 32 MiB is requested from the system when it is needed and
    returned when it is freed: a step on the CPU then spends a good part of its time on pages that
    the system clears for it again and again.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1))
