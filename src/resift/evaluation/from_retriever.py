"""Any retriever as the first stage of an evaluation, judged by the ids of its documents."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

from resift.errors import DatasetError, InputError, ResiftError, shown
from resift.evaluation.first_stage import FirstStageCandidates
from resift.rerank.candidates import as_candidate, iterate, refuse_collection
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

_NO_ID = "\0no id"  # the id of no document


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
        """Close what the retriever has opened; its error counts if there was none before."""
        try:
            if isinstance(self._retriever, ClosableRetriever):
                self._retriever.close()
        except (ResiftError, KeyboardInterrupt):
            raise
        except BaseException as failure:
            message = f"{self.name}: cannot be closed: {_described(failure)}"
            if error is None:
                raise _without(message, self._spec, failure) from None
            error.add_note(without_secrets(message, self._spec))
        finally:
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
        """Raise the errors of resift as they are, and others as `InputError`.

        Raises `DatasetError` for a document without an id: it cannot be judged.
        """
        start = time.perf_counter()
        try:
            read = self._read(query_id, query, depth)
        except (ResiftError, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit(0) would end the evaluation as a success
            message = f"{self.name}: query {query_id:.80} failed: {_described(error)}"
            raise _without(message, self._spec, error) from None
        ms = (time.perf_counter() - start) * 1000
        for note in read.notes:
            self._notes.setdefault(_kind(note), []).append(query_id)
        return FirstStageCandidates(read.candidates, ms)

    def _read(self, query_id: str, query: str, depth: int) -> Candidates:
        """The candidates; documents are read once, and are checked before they are candidates."""

        def checked(documents: object) -> object:
            return self._with_ids(query_id, documents, depth)

        if self._runner is None or self._coroutine is None:
            return candidates_of(_Mapped(self._retriever, checked), query, depth)
        return self._runner.run(_awaited(self._coroutine, query, depth, checked))

    def _with_ids(self, query_id: str, documents: object, depth: int) -> object:
        """The documents; those of an iterator as a list.

        Raises `DatasetError` if one of the first `depth` is no document or has no id. It would be
        judged by its position, which may be the id of another document.
        """
        try:
            refuse_collection(documents)
            iterator = iterate(documents)
        except InputError:
            return documents  # `as_candidates` raises it as an error of the retriever
        items = list(islice(iterator, depth + 1))
        for number, item in enumerate(items[:depth], start=1):
            candidate = as_candidate(_NO_ID, item)
            if candidate is None or candidate.id == _NO_ID:
                problem = "is no document" if candidate is None else "has no id to judge it by"
                raise DatasetError(
                    f"{self.name}: query {query_id:.80}: document {number} {problem}; expected "
                    f"documents with id and text, such as Document(id, text), got {shown(item)}"
                )
        return items if iterator is documents else documents


def open_named(spec: str, settings: Settings) -> FromRetriever:
    """Open the first stage of a name (`resift.retrievers.names`).

    Raises `ResiftError`; the errors of a client become `InputError`, without its secrets.
    """
    try:
        return FromRetriever(open_retriever(spec, settings), spec)
    except (ResiftError, KeyboardInterrupt):
        raise
    except BaseException as error:  # as in `retrieve`
        message = f"--first-stage: cannot be opened: {_described(error)}"
        raise _without(message, spec, error) from None


@dataclass(frozen=True, slots=True)
class _Mapped:
    """A retriever whose documents go through a function."""

    retriever: Any
    function: Callable[[object], object]

    @property
    def name(self) -> str:
        return name_of(self.retriever)

    def __call__(self, query: str, k: int) -> Any:
        return self.function(self.retriever(query, k))


async def _awaited(
    coroutine: Callable[[str, int], Awaitable[object]],
    query: str,
    depth: int,
    checked: Callable[[object], object],
) -> Candidates:
    return as_candidates(checked(await coroutine(query, depth)), depth)


def _coroutine_of(retriever: Any) -> Callable[[str, int], Awaitable[object]] | None:
    """The coroutine of a retriever that has no other way to be called."""
    coroutine: Callable[[str, int], Awaitable[object]] = retriever
    return coroutine if is_coroutine_function(retriever) else None


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _without(message: str, spec: str, error: BaseException) -> InputError:
    """The error for people; its cause has the traceback unless that may have a secret."""
    clean = without_secrets(message, spec)
    failure = InputError(clean)
    failure.__cause__ = error if clean == message and "@" not in spec else None
    return failure


def _kind(note: str) -> str:
    """A note without the id that differs from query to query."""
    return note.partition("; the first is")[0]
