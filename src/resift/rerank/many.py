"""Many calls at once, tokenised in groups, so that rows of different calls share batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

from resift.errors import InputError, Overloaded
from resift.rerank.candidates import check_query, iterate
from resift.rerank.request import Request, Steps, T
from resift.rerank.worker import Worker

GROUP_TOKENS = 50_000
"""Tokens that a group of calls hands to the worker, at least."""

_EXPECTED = (
    "expected one list for each query; to use one list for all queries, pass "
    "[documents] * len(queries)"
)


def check_many(
    queries: object, documents: object, read: Callable[[str], object]
) -> tuple[list[str], list[Any]]:
    """Queries as plain text, each tried with `read`, and the list of documents of each.

    Reads no documents, at most one list more than there are queries, and at most one query more
    than there are lists. The error of a query names its index.
    """
    _refuse_queries(queries)
    if isinstance(documents, str | bytes | Mapping | set | frozenset):
        kind = type(documents).__name__
        raise InputError(f"documents: expected a list of documents for each query, got {kind}")
    lists = iterate(documents)
    most = len(documents) if isinstance(documents, Sized) else None
    texts: list[str] = []
    for index, query in enumerate(iterate(queries, "queries")):
        if index == most and not isinstance(queries, Sized):
            raise InputError(f"documents: {most} lists for more than {most} queries, {_EXPECTED}")
        try:
            texts.append(check_query(query))
            read(texts[-1])
        except InputError as error:
            raise type(error)(f"queries[{index}]: {error}") from None
    return texts, _first(lists, len(texts), most)


def _first(lists: Iterator[Any], count: int, size: int | None) -> list[Any]:
    """The lists of `count` queries; `size` is their number if it is known before reading them."""
    first = list(islice(lists, count + 1))
    if len(first) == count:
        return first
    number = str(len(first))
    if len(first) > count:
        number = f"more than {count}" if size is None else str(size)
    raise InputError(f"documents: {number} lists for {count} queries, {_EXPECTED}")


def _refuse_queries(queries: object) -> None:
    """Raise `InputError` for an iterable that is not a list of queries."""
    kind = type(queries).__name__
    if isinstance(queries, str):
        raise InputError("queries: expected a list of them, got one str: use [query]")
    if isinstance(queries, bytes | bytearray | memoryview):
        raise InputError(f"queries: expected a list of texts, got {kind}: decode and split it")
    if isinstance(queries, Mapping):
        raise InputError(f"queries: expected a list of them, got {kind}: use list(queries)")
    if isinstance(queries, set | frozenset):
        raise InputError(f"queries: a {kind} has no order: use sorted(queries) or a list")


def run_many(worker: Worker, calls: Sequence[Steps[T]], run: Callable[[Steps[T]], T]) -> list[T]:
    """The results of calls, in order; a group is tokenised while the one before it runs.

    `run` runs the remaining steps of a call. An error of one call ends all calls.
    """
    results: dict[int, T] = {}
    requests: dict[int, Request] = {}

    def finish(group: Mapping[int, Request]) -> None:
        for number, request in group.items():
            if number not in results:
                request.deadline.wait()
                worker.leave(request)
                results[number] = run(calls[number])

    try:
        for group in _groups(calls, results):
            earlier, requests = requests, requests | group
            try:
                worker.submit(*group.values())
            except Overloaded:
                if not earlier:
                    raise
                finish(earlier)
                worker.submit(*group.values())
            finish(earlier)
            requests = group
        finish(requests)
    finally:
        for request in requests.values():
            worker.leave(request)
        for call in calls:
            call.close()
    return [results[number] for number in range(len(calls))]


def _groups(calls: Sequence[Steps[T]], results: dict[int, T]) -> Iterator[dict[int, Request]]:
    """Requests in groups, by number of the call; a call without a request gets its result."""
    group: dict[int, Request] = {}
    tokens = 0
    for number, call in enumerate(calls):
        try:
            while (request := next(call)) is None:
                pass
        except StopIteration as end:
            results[number] = end.value
            continue
        group[number] = request
        tokens += request.waiting_tokens
        if tokens >= GROUP_TOKENS:
            yield group
            group, tokens = {}, 0
    if group:
        yield group
