"""A search over parts that are open, or that come when a test lets them."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.fakes import HashingEmbedder
from resift.index.background import Background, ready
from resift.index.table.snapshot import Snapshot
from resift.search.clock import Clock
from resift.search.parts import Parts
from resift.search.plan import SearchPlan
from resift.search.two_stage import search
from resift.types import Ranking

BACKGROUND = Background(32, "test")
NEVER: "Future[Any]" = Future()
"""What is not there for as long as anybody waits."""


def search_parts(
    query: str,
    snapshot: Snapshot,
    embedder: object,
    reranker: object,
    plan: SearchPlan,
    budget_ms: float | None = None,
) -> Ranking:
    """What is no `Future` is there already."""
    parts = Parts(
        _job(snapshot),
        _job(embedder),
        None if reranker is None else _job(reranker),
        BACKGROUND,
    )
    return search(query, parts, plan, Clock(budget_ms))


def _job(part: object) -> "Future[Any]":
    return part if isinstance(part, Future) else ready(part)


class Gate:
    """Holds whoever goes through until it is opened; counts them."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.came = 0

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        self._opened.set()

    def hold(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, behind this gate."""

        def held(*arguments: Any, **more: Any) -> Any:
            self.came += 1
            assert self._opened.wait(60), "nobody opened the gate"
            return work(*arguments, **more)

        return held


class FailingEmbedder(HashingEmbedder):
    """A server that is down."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def embed_query(self, query: str) -> NDArray[np.float32]:
        raise self._error
