"""The C library's allocator, told to keep what a training step will ask for again."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**30


@cache
def keep_large_blocks() -> bool:
    """Have glibc keep freed blocks of up to 1 GiB; False where there is another C library.

    By default each block of more than 32 MiB is asked of the system when it is needed and given
    back when it is freed: a step on the CPU then spends a good part of its time on pages that the
    system clears for it, over and over.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1))
