"""Connections that a retriever opens: calls end before they are closed, and a forked child neither
uses nor closes nor destroys those of its parent.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resift.retrievers.connections import GivenConnection, OpenedConnections, SharedConnection

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


class Connection:
    """One that knows who closed it, and how many cursors are in use then."""

    def __init__(self) -> None:
        self.closed_by: list[int] = []
        self.cursors = 0

    def cursor(self) -> "Connection":
        assert not self.closed_by
        self.cursors += 1
        return Cursor(self)

    def close(self) -> None:
        assert self.cursors == 0, "in use"
        self.closed_by.append(os.getpid())


class Cursor(Connection):
    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def close(self) -> None:
        self.connection.cursors -= 1


def pools() -> list[Any]:
    return [
        OpenedConnections(Connection, Connection.close),
        SharedConnection(Connection, Connection.close),
    ]


def in_child(work: Callable[[], bool]) -> None:
    """Whether `work` is true in a forked child."""
    pid = os.fork()
    if pid == 0:
        try:
            is_right = work()
        except BaseException:
            is_right = False
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_shared_connection_is_closed_by_its_last_call() -> None:
    opened: list[Connection] = []

    def open_() -> Connection:
        opened.append(Connection())
        return opened[-1]

    shared = SharedConnection(open_, Connection.close)
    with shared.use(), shared.use():
        shared.close()
        with shared.use():
            assert len(opened) == 2 and not opened[0].closed_by
    assert opened[0].closed_by == [os.getpid()] and not opened[1].closed_by
    shared.close()
    shared.close()
    assert opened[1].closed_by == [os.getpid()]


def test_a_connection_in_use_is_closed_when_its_call_ends() -> None:
    pool = OpenedConnections(Connection, Connection.close)
    with pool.use() as connection:
        pool.close()
        assert connection.closed_by == []
    assert connection.closed_by == [os.getpid()]


def test_an_error_of_a_call_leaves_nothing_in_use() -> None:
    connection = Connection()
    shared = SharedConnection(lambda: connection, Connection.close)
    with pytest.raises(KeyError), shared.use():
        raise KeyError
    shared.close()
    assert connection.closed_by


@forks
@pytest.mark.parametrize("number", [0, 1])
def test_a_child_opens_its_own_and_closes_none_of_the_parent(number: int) -> None:
    pool = pools()[number]
    with pool.use() as first:
        pass
    parents = getattr(first, "connection", first)

    def work() -> bool:
        pool.close()
        with pool.use() as second:
            return getattr(second, "connection", second) is not parents and not parents.closed_by

    in_child(work)
    assert not parents.closed_by


@forks
@pytest.mark.parametrize("number", [0, 1])
def test_a_fork_within_a_call(number: int) -> None:
    pool = pools()[number]

    def work() -> bool:
        used = pool.use()
        first = used.__enter__()

        def child() -> bool:
            used.__exit__(None, None, None)
            with pool.use() as second:
                return second is not first and not first.closed_by

        in_child(child)
        used.__exit__(None, None, None)
        return True

    assert work()


@forks
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_lock_of_another_thread_does_not_stop_a_child(number: int) -> None:
    given: Any = GivenConnection(Connection())
    pool = [*pools(), given][number]
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._lock:
            locked.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()

    def work() -> bool:
        caller = threading.Thread(target=lambda: pool.use().__enter__(), daemon=True)
        caller.start()
        caller.join(5)
        return not caller.is_alive()

    try:
        in_child(work)
    finally:
        done.set()
        thread.join()


FORK = """
import os, sys
from resift.retrievers.duckdb import DuckDbRetriever
retrieve = DuckDbRetriever(sys.argv[1], "docs")
assert [row.id for row in retrieve("lock", 2)] == ["d2"]
pid = os.fork()
if pid == 0:
    if sys.argv[2] == "search":
        assert [row.id for row in retrieve("lock", 2)] == ["d2"]
    sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert [row.id for row in retrieve("lock", 2)] == ["d2"]
"""


@forks
@pytest.mark.parametrize("what", ["search", "nothing"])
def test_duckdb_in_a_forked_child(tmp_path: Path, what: str) -> None:
    """The child may search, and its interpreter ends in the usual way."""
    path = _duckdb_file(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(path), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_duckdb_is_closed_while_calls_run(tmp_path: Path) -> None:
    retrieve = _duckdb_retriever(_duckdb_file(tmp_path))
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(retrieve, "lock", 1) for _ in range(200)]
        while not all(call.done() for call in calls):
            retrieve.close()
        assert {call.result()[0].id for call in calls} == {"d2"}
    retrieve.close()


def _duckdb_file(folder: Path) -> Path:
    duckdb = pytest.importorskip("duckdb")
    path = folder / "docs.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE docs (id VARCHAR, text VARCHAR)")
        connection.execute("INSERT INTO docs VALUES ('d1', 'a bucket'), ('d2', 'a lock')")
    return path


def _duckdb_retriever(path: Path) -> Any:
    from resift.retrievers.duckdb import DuckDbRetriever

    return DuckDbRetriever(path, "docs")
