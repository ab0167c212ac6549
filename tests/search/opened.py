"""A search over components that are open, or that open when a test lets them."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.fakes import HashingEmbedder
from resift.background import Background, ready
from resift.index.table.snapshot import Snapshot
from resift.search.clock import Clock
from resift.search.components import Components
from resift.search.index_stage import index_call
from resift.search.options import SearchOptions
from resift.search.two_stage import search
from resift.types import Ranking

BACKGROUND = Background(32, "test")
NEVER: "Future[Any]" = Future()
"""A component that never opens."""


def search_components(
    query: str,
    snapshot: Snapshot,
    embedder: object,
    reranker: object,
    options: SearchOptions,
    budget_ms: float | None = None,
) -> Ranking:
    """What is no `Future` is open already."""
    components = Components(
        _job(snapshot),
        _job(embedder),
        None if reranker is None else _job(reranker),
        BACKGROUND,
    )
    return search(index_call(query, options, components, Clock(budget_ms)))


def _job(component: object) -> "Future[Any]":
    return component if isinstance(component, Future) else ready(component)


class Gate:
    """Blocks every call that goes through it until it is opened; counts them."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.calls = 0

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        self._opened.set()

    def hold(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, behind this gate."""

        def held(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            assert self._opened.wait(60), "the gate was not opened"
            return work(*arguments, **more)

        return held


class FailingEmbedder(HashingEmbedder):
    """A server that is down."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def embed_query(self, query: str) -> NDArray[np.float32]:
        raise self._error
