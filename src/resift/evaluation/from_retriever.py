"""Any retriever as the first stage of an evaluation, judged by the ids of its documents."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from resift.errors import InputError, ResiftError
from resift.evaluation.first_stage import FirstStageCandidates
from resift.retrievers.names import open_retriever, without_secrets
from resift.search.retriever import ClosableRetriever
from resift.search.retriever_stage import (
    Candidates,
    as_candidates,
    candidates_of,
    is_coroutine_function,
    name_of,
)
from resift.settings import Settings


class FromRetriever:
    """Calls of a retriever. An error of one ends the evaluation, as one of an index does.

    `spec` is the name by which it was opened; the secrets in it are left out of messages.
    """

    def __init__(self, retriever: Any, spec: str = "") -> None:
        self._retriever = retriever
        self._spec = spec
        self._coroutine = _coroutine_of(retriever)
        self._runner = asyncio.Runner() if self._coroutine is not None else None
        self._notes: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what the retriever has opened."""
        if isinstance(self._retriever, ClosableRetriever):
            self._retriever.close()
        if self._runner is not None:
            self._runner.close()

    @property
    def name(self) -> str:
        """The retriever's description, without secrets."""
        return without_secrets(name_of(self._retriever), self._spec)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the candidates, so far, with the first query it happened to."""
        return tuple(
            f"{len(query_ids)} queries, the first is {query_ids[0]:.80}: {note}"
            for note, query_ids in self._notes.items()
        )

    def retrieve(self, query_id: str, query: str, depth: int) -> FirstStageCandidates:
        """Raise the errors of resift as they are, and others as `InputError`."""
        start = time.perf_counter()
        try:
            read = self._read(query, depth)
        except ResiftError:
            raise
        except Exception as error:
            message = f"{self.name}: query {query_id:.80} failed: {_described(error)}"
            raise _without(message, self._spec, error) from None
        ms = (time.perf_counter() - start) * 1000
        for note in read.notes:
            self._notes.setdefault(_kind(note), []).append(query_id)
        return FirstStageCandidates(read.candidates, ms)

    def _read(self, query: str, depth: int) -> Candidates:
        if self._runner is None or self._coroutine is None:
            return candidates_of(self._retriever, query, depth)
        return self._runner.run(_awaited(self._coroutine, query, depth))


def open_named(spec: str, settings: Settings) -> FromRetriever:
    """Open the first stage of a name (`resift.retrievers.names`).

    Raises `ResiftError`; the errors of a client become `InputError`, without its secrets.
    """
    try:
        return FromRetriever(open_retriever(spec, settings), spec)
    except ResiftError:
        raise
    except Exception as error:
        message = f"--first-stage: cannot be opened: {_described(error)}"
        raise _without(message, spec, error) from None


async def _awaited(
    coroutine: Callable[[str, int], Awaitable[object]], query: str, depth: int
) -> Candidates:
    return as_candidates(await coroutine(query, depth), depth)


def _coroutine_of(retriever: Any) -> Callable[[str, int], Awaitable[object]] | None:
    """The coroutine of a retriever that has no other way to be called."""
    coroutine: Callable[[str, int], Awaitable[object]] = retriever
    return coroutine if is_coroutine_function(retriever) else None


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _without(message: str, spec: str, error: Exception) -> InputError:
    """The error for people; its cause has the traceback unless that may have a secret."""
    clean = without_secrets(message, spec)
    failure = InputError(clean)
    failure.__cause__ = error if clean == message and "@" not in spec else None
    return failure


def _kind(note: str) -> str:
    """A note without the id that differs from query to query."""
    return note.partition("; the first is")[0]
