"""Proves that threads of a process share the arenas of the allocator."""

import subprocess
import sys

import pytest

ALLOCATE = """
import ctypes, threading
from resift.serve.memory import share_arenas
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
together = threading.Barrier(12)
def work():
    libc.malloc(100)
    together.wait(60)
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""


def arenas(call: str) -> int:
    script = ALLOCATE.format(call=call)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.count("Arena ")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc has arenas")
def test_twelve_threads_share_two_arenas() -> None:
    if arenas("") == 0:
        pytest.skip("this C library has no malloc_stats")
    assert arenas("") > 2
    assert arenas("share_arenas()") <= 2
