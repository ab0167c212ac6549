"""Any retriever as the first stage of a search: its documents as candidates."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from resift.background import Background
from resift.errors import InputError, shown
from resift.rerank.candidates import (
    as_candidate,
    candidate_or_empty,
    iterate,
    no_documents_error,
    refuse_collection,
)
from resift.rerank.values import number
from resift.search.call import Retrieved, SearchCall
from resift.search.clock import Late
from resift.search.retriever import AsyncRetriever, NamedRetriever, Retriever
from resift.types import Candidate, DocumentLike

_LATE = "time was up before the first stage answered"
_NO_ID = "\0without id "  # begins the ids of documents that have none, until they are compared


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of a retriever, best first, and notes about documents that are left out."""

    candidates: list[Candidate]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrieverStage:
    """A retriever that is called in a thread; `background` runs one that may exceed the budget."""

    retriever: Retriever
    background: Background

    def retrieve(self, call: SearchCall) -> Retrieved:
        """The retriever's candidates; none, with a reason, if time is up before it answers."""
        clock, k = call.clock, call.options.candidate_count
        try:
            _check_time(call)
            with clock.stage("retrieve"):
                if not clock.is_bounded:
                    return _retrieved(call, candidates_of(self.retriever, call.query, k))
                job = self.background.run(lambda: candidates_of(self.retriever, call.query, k))
                try:
                    candidates = clock.wait(job, "the first stage answered")
                finally:
                    job.cancel()
        except Late as late:
            return call.nothing_retrieved(str(late))
        return _retrieved(call, candidates)

    def neighbours(self) -> None:
        """None: a retriever does not tell what is around a document."""


@dataclass(frozen=True, slots=True)
class AsyncRetrieverStage(RetrieverStage):
    """A retriever that an event loop calls by its coroutine `coroutine`."""

    coroutine: Callable[[str, int], Awaitable[Iterable[DocumentLike]]]

    async def aretrieve(self, call: SearchCall) -> Retrieved:
        """`retrieve` in an event loop; time ends the retriever's coroutine."""
        clock, k = call.clock, call.options.candidate_count

        async def read() -> Candidates:
            return as_candidates(await self.coroutine(call.query, k), k)

        try:
            _check_time(call)
            with clock.stage("retrieve"):
                job = asyncio.ensure_future(read())
                try:
                    await clock.wait_in_loop(job)
                    if not job.done():
                        raise Late(_LATE)
                    return _retrieved(call, job.result())
                finally:
                    job.cancel()
        except Late as late:
            return call.nothing_retrieved(str(late))


def stage_of(retriever: Retriever, background: Background) -> RetrieverStage:
    """The first stage of a retriever. Raises `InputError` for what cannot be called."""
    if isinstance(retriever, type) or not callable(retriever):
        raise InputError(
            f"retriever={shown(retriever)}: expected a function of a query and the number of "
            "documents, such as resift.retrievers.sqlite.SqliteRetriever(…)"
        )
    if isinstance(retriever, AsyncRetriever):
        return AsyncRetrieverStage(retriever, background, retriever.aretrieve)
    if is_coroutine_function(retriever):
        coroutine: Any = retriever
        return AsyncRetrieverStage(retriever, background, coroutine)
    return RetrieverStage(retriever, background)


def name_of(retriever: object) -> str:
    """A description of a retriever for people: its `name`, else the name of its function or class.

    Never its `repr`, which may have the secrets of a connection.
    """
    if isinstance(retriever, NamedRetriever) and isinstance(retriever.name, str):
        return retriever.name
    name = getattr(retriever, "__qualname__", None)
    return name if isinstance(name, str) else type(retriever).__qualname__


def candidates_of(retriever: Retriever, query: str, k: int) -> Candidates:
    """The candidates of one call of a retriever. Raises its errors, and `InputError`."""
    documents: object = retriever(query, k)
    if inspect.isawaitable(documents):
        if inspect.iscoroutine(documents):
            documents.close()
        raise InputError(
            f"{name_of(retriever)}: is a coroutine, which a search in a thread cannot await: use "
            "asearch, or give a function"
        )
    return as_candidates(documents, k)


def as_candidates(documents: object, k: int) -> Candidates:
    """At most `k` documents as candidates with ranks from 1, in their order.

    A document with the id of an earlier one is left out. What is not a document stays, without a
    text, as in `Reranker.rank`. A score that is not a number becomes None. An iterable is read up
    to one item more than `k`. Raises `InputError` if there is no list, or no document in it.
    """
    try:
        refuse_collection(documents)
        items = list(islice(iterate(documents), min(k, sys.maxsize - 1) + 1))
        read = [as_candidate(f"{_NO_ID}{index}", item) for index, item in enumerate(items)]
        if items and not any(read):
            raise no_documents_error(items)
    except InputError as error:
        raise InputError(f"the retriever's {error}") from None
    notes = _surplus(documents, k) if len(items) > k else ()
    distinct: dict[str, Candidate] = {}
    repeated = []
    for index, candidate in enumerate(read[:k]):
        document = candidate_or_empty(f"{_NO_ID}{index}", candidate)
        if document.id in distinct:
            repeated.append(document.id)
        distinct.setdefault(document.id, document)
    if repeated:
        notes = (
            *notes,
            f"{len(repeated)} of {min(len(items), k)} documents of the first stage have the id of "
            f"an earlier one and are left out; the first is {shown(repeated[0])}",
        )
    return Candidates(
        [
            replace(
                document,
                id=document.id.removeprefix(_NO_ID),
                rank=rank,
                score=number(document.score),
            )
            for rank, document in enumerate(distinct.values(), start=1)
        ],
        notes,
    )


def _surplus(documents: object, k: int) -> tuple[str, ...]:
    count = str(len(documents)) if isinstance(documents, Sized) else f"more than {k}"
    return (f"the first stage returned {count} documents for k={k}: the others are left out",)


def _retrieved(call: SearchCall, read: Candidates) -> Retrieved:
    notes = (*call.notes, *read.notes)
    depth = len(read.candidates)
    return Retrieved(read.candidates, depth, None, 0, 0, None, call.clock.timings(), notes)


def _check_time(call: SearchCall) -> None:
    """Raise `Late` if time is up: a retriever need not begin then."""
    remaining_ms = call.clock.remaining_ms()
    if remaining_ms is not None and remaining_ms <= 0:
        raise Late("time was up before the search began")


def is_coroutine_function(function: object) -> bool:
    """Whether a call of a function, or of an object with ``__call__``, returns a coroutine."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself is needed
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
