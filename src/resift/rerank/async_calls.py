"""Calls from event loops: one thread tokenises for all of them, queues work and makes the results.

An event loop that calls does next to nothing itself, and no call has a thread of its own. Calls go
step by step: first those whose time is up or whose work is done, then those with the nearest
deadline, then those without one in turn. Calls that cannot be answered in time are refused at once.
"""

import asyncio
import heapq
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf
from typing import Any

from resift.errors import InputError, Overloaded
from resift.rerank.deadline import Deadline
from resift.rerank.native import BackgroundThread, thread_failure
from resift.rerank.request import Request, Steps
from resift.rerank.worker import IDLE_S, Worker

LAST_STEP_S = 1e-3
"""What the last step of a call takes, which makes its result: a first guess."""

LAST_STEPS = 4
"""The last steps of all open calls take no more than this part of a call's time."""


@dataclass(slots=True, eq=False)
class _Call:
    """An open call; `request` is what it waits for."""

    steps: Steps[Any]
    deadline: Deadline
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    request: Request | None = None
    is_waiting: bool = False

    def settle(self, result: Any, error: Exception | None) -> None:
        """Hand the result or the error to the event loop; a closed one awaits nothing any more."""
        if not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(_settle, self.future, result, error)
            except RuntimeError:
                if not self.loop.is_closed():
                    raise


@dataclass(slots=True)
class _Calls:
    """All open calls: those that can go on, in order, and the deadlines of those that wait."""

    open: set[_Call] = field(default_factory=set)
    ready: list[tuple[float, int, _Call]] = field(default_factory=list)
    due: list[tuple[float, int, _Call]] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)

    def queue(self, call: _Call, *, first: bool = False) -> None:
        """The call can go on, before all others or by its deadline."""
        call.is_waiting = False
        at = inf if call.deadline.at is None else call.deadline.at
        heapq.heappush(self.ready, (-inf if first else at, next(self.numbers), call))

    def wait(self, call: _Call) -> None:
        call.is_waiting = True
        if call.deadline.at is not None:
            heapq.heappush(self.due, (call.deadline.at, next(self.numbers), call))

    def next(self, now: float) -> _Call | None:
        """The call whose turn it is; a waiting one is only after its deadline."""
        while self.due and (self.due[0][0] <= now or not self.due[0][2].is_waiting):
            call = heapq.heappop(self.due)[2]
            if call.is_waiting:
                self.queue(call, first=True)
        return heapq.heappop(self.ready)[2] if self.ready else None


class AsyncCalls(BackgroundThread):
    """Does the steps of calls in a thread of its own, while there are any.

    Event loops of several threads may share it.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._last_step_s = LAST_STEP_S
        super().__init__("resift-async")

    def _reset(self) -> None:
        super()._reset()
        self._calls = _Calls()

    def submit(self, steps: Steps[Any], deadline: Deadline) -> "asyncio.Future[Any]":
        """The future result of a call, to be awaited in the running event loop.

        A caller that stops waiting has to call `deadline.give_up`. Raises `InputError` from within
        a step of another call, which would never end, `Overloaded` where more calls are open than
        can be answered in time and `RuntimeFailure` where no thread can be started.
        """
        loop = asyncio.get_running_loop()
        if threading.current_thread() is self._thread:
            raise InputError(
                "documents: this iterable calls arank itself, which would wait for itself; "
                "make a list of the documents first"
            )
        call = _Call(steps, deadline, loop, loop.create_future())
        deadline.call_when_over(partial(self._wake, call))
        with self._changed:
            self._admit(deadline)
            self._ensure_running()
            self._calls.open.add(call)
            self._calls.queue(call)
            self._changed.notify()
        return call.future

    def _admit(self, deadline: Deadline) -> None:
        """Results take time to make: those of all bounded calls fit in before this deadline."""
        left_s = deadline.left_s
        if left_s is None:
            return
        calls = sum(call.deadline.bounded for call in self._calls.open)
        needed_s, available_s = calls * self._last_step_s, left_s / LAST_STEPS
        if needed_s > available_s:
            raise Overloaded(0, needed_s - available_s, calls)
        deadline.shorten(needed_s)

    def _wake(self, call: _Call) -> None:
        """A call need not wait any more."""
        with self._changed:
            if call.is_waiting:
                self._calls.queue(call, first=True)
                self._changed.notify()

    def _abort(self, error: BaseException) -> None:
        left, self._calls = self._calls.open, _Calls()
        for call in left:
            call.settle(None, thread_failure(error))

    def _loop(self) -> None:
        while (call := self._next()) is not None:
            self._step(call)

    def _next(self) -> _Call | None:
        """The next call to go on with; None ends the thread, after a while without any."""
        with self._changed:
            while (call := self._calls.next(time.perf_counter())) is None:
                wait_s = IDLE_S
                if self._calls.due:
                    wait_s = self._calls.due[0][0] - time.perf_counter()
                if not self._changed.wait(max(wait_s, 0)) and not self._calls.open:
                    self._thread = None
                    break
            return call

    def _step(self, call: _Call) -> None:
        """One step of a call; its result, or its error, goes to its event loop."""
        start = time.perf_counter()
        result, error = None, None
        try:
            if call.request is not None:
                self._worker.leave(call.request)
                call.request = None
            if not call.deadline.gone:
                return self._go_on(call, next(call.steps))
        except StopIteration as end:
            result = end.value
            self._last_step_s += 0.1 * (time.perf_counter() - start - self._last_step_s)
        except Exception as raised:
            error = raised
        except BaseException as raised:  # a document's own code ends this call, not the thread
            error = thread_failure(raised)
        call.steps.close()
        with self._changed:
            self._calls.open.discard(call)
        call.settle(result, error)

    def _go_on(self, call: _Call, request: Request | None) -> None:
        """Queue a call again, or let it wait for the worker."""
        if request is not None:
            self._worker.submit(request)
            call.request = request
        with self._changed:
            if request is None:
                self._calls.queue(call)
            elif call.deadline.over:
                self._calls.queue(call, first=True)
            else:
                self._calls.wait(call)


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():  # cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
