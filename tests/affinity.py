"""Which cores tests use: where xdist runs several processes, one each.

Models that share all cores with as many other models wait for each other most of the time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


def keep_to_a_core() -> None:
    """One core for each process of xdist, with all that it starts from now on."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and _ALL:
        usable = sorted(_ALL)
        os.sched_setaffinity(0, {usable[int(worker.removeprefix("gw")) % len(usable)]})


@contextmanager
def all_cores() -> Iterator[None]:
    """What is started meanwhile uses all cores."""
    if not _ALL:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _ALL)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
