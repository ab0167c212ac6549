"""Caches lookups of credentials, which read files, run commands or send requests."""

import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar, TypeVarTuple

CACHED_S = 300.0
_Args = TypeVarTuple("_Args")
_T = TypeVar("_T")


def cached_for_minutes(
    max_results: int,
) -> Callable[[Callable[[*_Args], _T]], Callable[[*_Args], _T]]:
    """Make a decorator that caches a function's results for up to `CACHED_S`, by its arguments.

    One thread looks up at a time; others wait for its result. Errors are not cached.
    """

    def decorate(look_up: Callable[[*_Args], _T]) -> Callable[[*_Args], _T]:
        lock = threading.Lock()

        @lru_cache(max_results)
        def cached(_period: float, *args: *_Args) -> _T:
            return look_up(*args)

        def call(*args: *_Args) -> _T:
            with lock:
                return cached(time.monotonic() // CACHED_S, *args)

        return call

    return decorate
