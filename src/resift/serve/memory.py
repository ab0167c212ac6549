"""Less memory in a process of many threads."""

import ctypes
import sys

ARENA_MAX = -8
"""``M_ARENA_MAX`` of glibc's mallopt(3)."""

ARENAS = 2


def share_arenas() -> None:
    """Let all threads share two arenas of glibc's allocator; elsewhere, do nothing.

    By default each thread has its own, up to eight a core, and each holds memory that the others
    could use: a third of what a server with an index holds (benchmarks/serving_memory.py).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # other C libraries have none
            mallopt(ARENA_MAX, ARENAS)
