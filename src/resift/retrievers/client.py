"""A retriever over a client of a server, synchronous or asynchronous, whose calls are one code."""

import inspect
import json
from collections.abc import Callable, Generator
from typing import Any, ClassVar

from resift.errors import InputError
from resift.retrievers.arguments import question
from resift.retrievers.dense import in_thread
from resift.retrievers.spec import SpecOptions
from resift.search.options import Mode
from resift.types import Candidate

Steps = Generator[Callable[[], Any], Any, list[Candidate]]
"""The requests of a search, each sent by a call; it gets the responses and returns candidates."""


class ClientRetriever:
    """Runs the steps of a search with a client of either kind. Threads may share it.

    Subclasses have `_steps`; what they do before the first request may take long.
    """

    engine: ClassVar[str]
    mode: Mode

    def __init__(self, client: Any, probe: str, target: str) -> None:
        """`probe` is a method of the client, a coroutine if the client is asynchronous."""
        self._client = client
        self._is_async = inspect.iscoroutinefunction(getattr(client, probe, None))
        self._target = target
        self._to_close: Callable[[], object] | None = None

    @property
    def name(self) -> str:
        """What it searches."""
        return f"{self.mode} of {self.engine} {self._target}"

    def __call__(self, query: str, k: int, /) -> list[Candidate]:
        """The best `k` documents. Raises the client's errors, and `InputError`."""
        if self._is_async:
            client = type(self._client).__name__
            raise InputError(
                f"an {client} cannot be awaited in a thread: use asearch, or give a synchronous "
                f"client of {self.engine}"
            )
        steps = self._steps(question(query), k)
        send, candidates = _advance(steps, None)
        while send is not None:
            send, candidates = _advance(steps, send())
        return candidates

    async def aretrieve(self, query: str, k: int, /) -> list[Candidate]:
        """The same in an event loop; a synchronous client is called in a thread."""
        if not self._is_async:
            return await in_thread(lambda: self(query, k))
        steps = self._steps(question(query), k)
        send, candidates = await in_thread(lambda: _advance(steps, None))  # a model may run here
        while send is not None:
            send, candidates = _advance(steps, await send())
        return candidates

    def close(self) -> None:
        """Close a client that was opened by a name; one that was given stays open."""
        if self._to_close is not None:
            self._to_close()

    def _use_opened(self, client: Any) -> None:
        """Use a synchronous client that was opened for this retriever, made with `UNOPENED`.

        So a client is opened after the other arguments were checked.
        """
        self._client, self._to_close = client, client.close

    def _steps(self, query: str, k: int) -> Steps:
        raise NotImplementedError


def _advance(steps: Steps, response: Any) -> tuple[Callable[[], Any] | None, list[Candidate]]:
    """The next request, or None and the candidates."""
    try:
        return steps.send(response), []
    except StopIteration as end:
        candidates: list[Candidate] = end.value
        return None, candidates


def filter_of(options: SpecOptions) -> Any:
    """The option `where`, a filter in JSON; None without one. Raises `InputError`."""
    text = options.text("where")
    try:
        where = None if text is None else json.loads(text)
    except ValueError:  # its message has the value
        where = ""
    if not isinstance(where, dict | list | None):
        raise InputError(
            f"{options.engine}: where: expected a filter in the engine's own language, as JSON"
        )
    return where
