"""Many calls at once, tokenised in groups, so that rows of different calls share batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from resift.errors import Overloaded
from resift.rerank.request import Request, Steps, T
from resift.rerank.worker import Worker

GROUP_TOKENS = 50_000
"""Tokens that a group of calls hands to the worker, at least."""


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
