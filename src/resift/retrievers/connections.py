"""Connections of a retriever: those that it opens by itself, or one that it was given."""

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

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
        self._generation = 0
        _watch(self)

    @contextmanager
    def use(self) -> Iterator[C]:
        """A connection; the errors of opening one are raised."""
        connection, generation = self._taken()
        pid = os.getpid()
        is_usable = False
        try:
            yield connection
            is_usable = True
        finally:
            if pid != os.getpid():
                _leave_to_parent(connection)
            elif not (is_usable and self._returned(connection, generation)):
                self._close(connection)

    def close(self) -> None:
        """Close all; those in use when their calls end."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._generation += 1
        for connection in idle:
            self._close(connection)

    def forget(self) -> None:
        """In a forked child: leave the connections to the parent, which goes on using them."""
        self._lock = threading.Lock()  # a thread of the parent may have held the other
        idle, self._idle = self._idle, []
        for connection in idle:
            _leave_to_parent(connection)

    def _taken(self) -> tuple[C, int]:
        while True:
            with self._lock:
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


class SharedConnection:
    """A connection that is opened when a call needs it; each call has a cursor of it.

    `close` lets running calls end: the last of them closes the connection. Later calls, and a
    forked child, open another.
    """

    def __init__(self, open_: Callable[[], Any], close: Callable[[Any], None]) -> None:
        """Open nothing yet."""
        self._open, self._close = open_, close
        self._lock = threading.Lock()
        self._current: Any = None
        self._calls: dict[int, int] = {}  # how many use each connection, by its `id`
        _watch(self)

    @contextmanager
    def use(self) -> Iterator[Any]:
        """A cursor of the connection; the errors of opening one are raised."""
        with self._lock:
            if self._current is None:
                self._current = self._open()
            connection = self._current
            cursor = connection.cursor()
            self._calls[id(connection)] = self._calls.get(id(connection), 0) + 1
        pid = os.getpid()
        try:
            yield cursor
        finally:
            if pid == os.getpid():
                self._end(connection, cursor)
            else:
                _leave_to_parent(connection)
                _leave_to_parent(cursor)

    def close(self) -> None:
        """Close the connection when no call uses it any more."""
        with self._lock:
            connection, self._current = self._current, None
            is_idle = id(connection) not in self._calls
        if connection is not None and is_idle:
            self._close(connection)

    def forget(self) -> None:
        """In a forked child: leave the connection to the parent, which goes on using it."""
        self._lock = threading.Lock()  # a thread of the parent may have held the other
        _leave_to_parent(self._current)
        self._current, self._calls = None, {}

    def _end(self, connection: Any, cursor: Any) -> None:
        cursor.close()
        with self._lock:
            key = id(connection)
            self._calls[key] -= 1
            is_idle = self._calls[key] == 0
            if is_idle:
                del self._calls[key]
            is_last = is_idle and connection is not self._current
        if is_last:
            self._close(connection)


class GivenConnection(Generic[C]):
    """The caller's connection, used by one thread at a time and never closed."""

    def __init__(self, connection: C) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        _watch(self)

    @contextmanager
    def use(self) -> Iterator[C]:
        """The connection, when no other call of this retriever uses it."""
        with self._lock:
            yield self._connection

    def close(self) -> None:
        """Nothing: the caller closes the connection."""

    def forget(self) -> None:
        """In a forked child: nobody uses the connection there yet."""
        self._lock = threading.Lock()


class _Forgets(Protocol):
    def forget(self) -> None: ...


_WATCHED: "weakref.WeakSet[_Forgets]" = weakref.WeakSet()


def _watch(connections: _Forgets) -> None:
    _WATCHED.add(connections)
    _watch_forks()


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    for connections in list(_WATCHED):
        connections.forget()


def _leave_to_parent(connection: object) -> None:
    """Never destroy an object of the parent process in this one.

    Its destructor would end the parent's session at the server, or wait for threads that a child
    does not have, which crashes DuckDB, also when the interpreter ends.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
