"""Callers of a server, all the time until they are told to stop."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

WAIT_S = 120


@dataclass
class Load:
    """What callers got; they share it. An exception in place of a response is a failure."""

    responses: list[httpx2.Response] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def wait_for(self, holds: Callable[["Load"], bool]) -> None:
        """Wait until something holds."""
        wait_until(lambda: holds(self))


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fail after `WAIT_S`."""
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@contextmanager
def load(url: str, body: dict[str, Any], callers: int, key: str) -> Iterator[Load]:
    """Send a body again and again, from so many callers at a time, until the end of the block."""
    result = Load()
    stop = threading.Event()

    def call() -> None:
        with httpx2.Client(timeout=60, headers={"authorization": f"Bearer {key}"}) as client:
            while not stop.is_set():
                try:
                    response = client.post(url, json=body)
                except httpx2.HTTPError as error:
                    result.failures.append(repr(error))
                    continue
                result.responses.append(response)
                if response.status_code != 200:
                    result.failures.append(f"{response.status_code} {response.text}")

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join(90)
