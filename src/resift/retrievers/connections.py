"""Connections of a retriever: those that it opens by itself, or one that it was given."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

C = TypeVar("C")


class OpenedConnections(Generic[C]):
    """Connections that are opened when a call needs one, and used again by later calls.

    Each is used by one thread at a time, and there are as many as calls have run at once. One whose
    call failed is closed. A forked child opens its own. After `close`, a call opens them again.
    """

    def __init__(
        self,
        open_: Callable[[], C],
        close: Callable[[C], None],
        is_alive: Callable[[C], bool] = lambda _: True,
    ) -> None:
        """Open nothing yet. `is_alive` tells whether a server still has an idle connection."""
        self._open, self._close, self._is_alive = open_, close, is_alive
        self._lock = threading.Lock()
        self._idle: list[C] = []
        self._pid = os.getpid()
        self._generation = 0

    @contextmanager
    def use(self) -> Iterator[C]:
        """A connection; the errors of opening one are raised."""
        connection, generation = self._taken()
        is_usable = False
        try:
            yield connection
            is_usable = True
        finally:
            if not (is_usable and self._returned(connection, generation)):
                self._close(connection)

    def close(self) -> None:
        """Close all; those in use when their calls end."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._generation += 1
        for connection in idle:
            self._close(connection)

    def _taken(self) -> tuple[C, int]:
        while True:
            with self._lock:
                if self._pid != os.getpid():
                    self._pid, self._idle = os.getpid(), []  # the parent's: it goes on using them
                idle = self._idle.pop() if self._idle else None
                generation = self._generation
            if idle is None:
                return self._open(), generation
            if self._is_alive(idle):
                return idle, generation
            self._close(idle)

    def _returned(self, connection: C, generation: int) -> bool:
        with self._lock:
            if generation != self._generation:
                return False
            self._idle.append(connection)
            return True


class GivenConnection(Generic[C]):
    """The caller's connection, used by one thread at a time and never closed."""

    def __init__(self, connection: C) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[C]:
        """The connection, when no other call of this retriever uses it."""
        with self._lock:
            yield self._connection

    def close(self) -> None:
        """Nothing: the caller closes the connection."""
