"""Waits for jobs in other threads, in a thread or in an event loop, without cancelling them."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any


def ended(jobs: "Sequence[Future[Any]]") -> "Future[None]":
    """A future that is done when all jobs are, or when one of them has failed."""
    done: Future[None] = Future()
    lock = threading.Lock()
    count = len(jobs)

    def tell(job: "Future[Any]") -> None:
        nonlocal count
        has_failed = job.cancelled() or job.exception() is not None
        with lock:
            count -= 1
            is_over = count == 0 or has_failed
        if is_over:
            with suppress(InvalidStateError):
                done.set_result(None)

    if not jobs:
        done.set_result(None)
    for job in jobs:
        job.add_done_callback(tell)
    return done


def in_loop(job: "Future[Any]") -> "asyncio.Future[None]":
    """A future of the running loop that is done when `job` is; cancelling it leaves `job` alone."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(finish)

    job.add_done_callback(tell)
    return done
