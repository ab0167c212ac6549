"""Calls from event loops: one thread runs the steps of all of them.

An event loop only submits a call. The thread advances calls step by step: first those whose time is
up or whose work is done, then those with the nearest deadline, then those without a deadline in
turn. Calls that cannot be answered in time are refused at once.
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
"""Initial estimate of the time for the last step of a call, which makes its result."""

LAST_STEPS = 4
"""The last steps of all open calls may take one part in this many of a call's time."""


@dataclass(slots=True, eq=False)
class _Call:
    """An open call; it waits for `request`."""

    steps: Steps[Any]
    deadline: Deadline
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    request: Request | None = None
    is_waiting: bool = False

    def settle(self, result: Any, error: Exception | None) -> None:
        """Pass the result or the error to the event loop, unless that is closed."""
        if not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(_settle, self.future, result, error)
            except RuntimeError:
                if not self.loop.is_closed():
                    raise


@dataclass(slots=True)
class _Calls:
    """All open calls; heaps of those that can continue and of those that wait, by deadline."""

    open: set[_Call] = field(default_factory=set)
    ready: list[tuple[float, int, _Call]] = field(default_factory=list)
    due: list[tuple[float, int, _Call]] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)

    def queue(self, call: _Call, *, first: bool = False) -> None:
        """Add a call that can continue: before all others, or by its deadline."""
        call.is_waiting = False
        at = inf if call.deadline.at is None else call.deadline.at
        heapq.heappush(self.ready, (-inf if first else at, next(self.numbers), call))

    def wait(self, call: _Call) -> None:
        call.is_waiting = True
        if call.deadline.at is not None:
            heapq.heappush(self.due, (call.deadline.at, next(self.numbers), call))

    def next(self, now: float) -> _Call | None:
        """Remove and return the next call that can continue; a waiting call after its deadline."""
        while self.due and (self.due[0][0] <= now or not self.due[0][2].is_waiting):
            call = heapq.heappop(self.due)[2]
            if call.is_waiting:
                self.queue(call, first=True)
        return heapq.heappop(self.ready)[2] if self.ready else None


class AsyncCalls(BackgroundThread):
    """Runs the steps of calls in one background thread. Several event loops may share it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._last_step_s = LAST_STEP_S
        super().__init__("resift-async")

    def _reset(self) -> None:
        super()._reset()
        self._calls = _Calls()

    def submit(self, steps: Steps[Any], deadline: Deadline) -> "asyncio.Future[Any]":
        """The future result of a call, for the running event loop.

        A caller that stops waiting has to call `deadline.cancel`. Raises `InputError` inside a step
        of another call, which would never end; `Overloaded` if too many calls are open to answer
        this one in time; and `RuntimeFailure` if no thread can be started.
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
        """Reserve time to make the results of all bounded calls, or raise `Overloaded`."""
        remaining_s = deadline.remaining_s
        if remaining_s is None:
            return
        calls = sum(call.deadline.is_bounded for call in self._calls.open)
        needed_s, available_s = calls * self._last_step_s, remaining_s / LAST_STEPS
        if needed_s > available_s:
            raise Overloaded(0, needed_s - available_s, calls)
        deadline.shorten(needed_s)

    def _wake(self, call: _Call) -> None:
        """Let a waiting call continue."""
        with self._changed:
            if call.is_waiting:
                self._calls.queue(call, first=True)
                self._changed.notify()

    def _abort(self, error: BaseException) -> None:
        open_calls, self._calls = self._calls.open, _Calls()
        for call in open_calls:
            call.settle(None, thread_failure(error))

    def _loop(self) -> None:
        while (call := self._next()) is not None:
            self._step(call)

    def _next(self) -> _Call | None:
        """The next call that can continue; None, after an idle while, ends the thread."""
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
        """Run one step of a call; pass its result or error to its event loop."""
        start = time.perf_counter()
        result, error = None, None
        try:
            if call.request is not None:
                self._worker.leave(call.request)
                call.request = None
            if not call.deadline.cancelled:
                return self._continue(call, next(call.steps))
        except StopIteration as end:
            result = end.value
            self._last_step_s += 0.1 * (time.perf_counter() - start - self._last_step_s)
        except Exception as raised:
            error = raised
        except BaseException as raised:  # by a document's code: ends the call, not the thread
            error = thread_failure(raised)
        call.steps.close()
        with self._changed:
            self._calls.open.discard(call)
        call.settle(result, error)

    def _continue(self, call: _Call, request: Request | None) -> None:
        """Queue a call again, or let it wait for its request."""
        if request is not None:
            self._worker.submit(request)
            call.request = request
        with self._changed:
            if request is None:
                self._calls.queue(call)
            elif call.deadline.is_over:
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
