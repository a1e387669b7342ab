"""The memory of large values, given back to the system as soon as they are gone.

glibc learns from every large block that is freed to keep the next of its size, up to 32 MB, and keeps a heap for each
thread. A process that has held one large body keeps several then. The settings are mallopt(3)'s.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_SETTINGS: Final = (
    (-3, 2**20),  # M_MMAP_THRESHOLD: a block from this size on is the system's own, whatever was freed before
    (-1, 16 * 2**20),  # M_TRIM_THRESHOLD: smaller blocks are kept for reuse, since giving back takes time
    (-8, 2),  # M_ARENA_MAX: threads that share one interpreter allocate one at a time
)


def give_back_large_blocks() -> None:
    """Have this process give large blocks back; where the C library is another one than glibc, leave it as it is."""
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        for option, value in _SETTINGS:
            set_option(option, value)
