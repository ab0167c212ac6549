"""Calls from event loops: one thread reads for all of them, hands over, and makes the results.

A loop that calls does next to nothing itself, and no call has a thread of its own. Calls go step by
step, those whose time is up or whose work is done first, then those with the nearest deadline, then
those without one in turn. More than can be answered in time are refused at once.
"""

import asyncio
import heapq
import os
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf
from typing import Any
from weakref import ref

from resift.errors import InputError, Overloaded
from resift.rerank.deadline import Deadline
from resift.rerank.request import Request
from resift.rerank.steps import Steps
from resift.rerank.threads import ended, started
from resift.rerank.worker import IDLE_S, Worker

LAST_STEP_S = 1e-3
"""What the last step of a call takes, its result: a guess, soon outweighed."""

LAST_STEPS = 4
"""The last steps of all that is open take no more than this part of a call's time."""


@dataclass(slots=True, eq=False)
class _Call:
    """One call of a loop, on its way; `request` is what it waits for."""

    steps: Steps[Any]
    deadline: Deadline
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    request: Request | None = None
    waits: bool = False


@dataclass(slots=True)
class _Calls:
    """All that are open: those to go on with in order, and the moments that others wait for.

    `bounded` are those of them that have a deadline.
    """

    open: set[_Call] = field(default_factory=set)
    bounded: set[_Call] = field(default_factory=set)
    ready: list[tuple[float, int, _Call]] = field(default_factory=list)
    due: list[tuple[float, int, _Call]] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)

    def add(self, call: _Call) -> None:
        self.open.add(call)
        if call.deadline.at is None:
            self.go_on(call, inf)
        else:
            self.bounded.add(call)
            self.go_on(call, call.deadline.at)

    def end(self, call: _Call) -> None:
        self.open.discard(call)
        self.bounded.discard(call)

    def go_on(self, call: _Call, at: float) -> None:
        call.waits = False
        heapq.heappush(self.ready, (at, next(self.numbers), call))

    def wait(self, call: _Call) -> None:
        call.waits = True
        if call.deadline.at is not None:
            heapq.heappush(self.due, (call.deadline.at, next(self.numbers), call))

    def next(self, now: float) -> _Call | None:
        """Whose turn it is; of those that wait none whose moment has not come."""
        while self.due and (self.due[0][0] <= now or not self.due[0][2].waits):
            call = heapq.heappop(self.due)[2]
            if call.waits:
                self.go_on(call, -inf)
        return heapq.heappop(self.ready)[2] if self.ready else None


class Desk:
    """Does the steps of calls in a thread of its own, while there are any, and tells their loops.

    Loops of several threads may share it.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._last_step_s = LAST_STEP_S
        self._begin()
        if hasattr(os, "register_at_fork"):  # a child has no thread, and no loop of its parent's
            os.register_at_fork(after_in_child=partial(_begin_anew, ref(self)))

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._calls = _Calls()
        self._thread: threading.Thread | None = None

    def submit(self, steps: Steps[Any], deadline: Deadline) -> "asyncio.Future[Any]":
        """What becomes of a call; to be called, and waited for, in a running loop.

        Whoever waits no more says so to `deadline`. Raises `InputError` out of a step of another
        call, which would never end, `Overloaded` where more is open than can
        be answered in time and `RuntimeFailure` where no thread can be started.
        """
        loop = asyncio.get_running_loop()
        if threading.current_thread() is self._thread:
            raise InputError(
                "documents: what hands them in calls arank itself, which would wait for itself; "
                "make a list of them first"
            )
        call = _Call(steps, deadline, loop, loop.create_future())
        deadline.tell(partial(self._wake, call))
        with self._changed:
            self._admit(deadline)
            if self._thread is None or not self._thread.is_alive():
                self._thread = None
                self._thread = started("resift-desk", self._work)
            self._calls.add(call)
            self._changed.notify()
        return call.future

    def _admit(self, deadline: Deadline) -> None:
        """Results take time to make: those of all with a deadline are, before this one's moment."""
        left_s = deadline.left_s
        if left_s is None:
            return
        calls = len(self._calls.bounded)
        need_s, most_s = calls * self._last_step_s, left_s / LAST_STEPS
        if need_s > most_s:
            raise Overloaded(0, need_s - most_s, calls)
        deadline.hasten(need_s)

    def _wake(self, call: _Call) -> None:
        """A call need not wait any more."""
        with self._changed:
            if call.waits:
                self._calls.go_on(call, -inf)
                self._changed.notify()

    def _work(self) -> None:
        """The thread's whole life. However it ends, nobody is left waiting for it."""
        try:
            while (call := self._next()) is not None:
                self._step(call)
        except BaseException as error:  # whatever it is, the callers hear of it
            with self._changed:
                self._thread = None
                left, self._calls = self._calls.open, _Calls()
            for call in left:
                _tell(call, None, ended(error))

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
        """One step of a call; its end, or its error, goes to its loop."""
        start = time.perf_counter()
        result, error = None, None
        try:
            if call.request is not None:
                self._worker.leave(call.request)
                call.request = None
            if not call.deadline.gone:
                return self._hand_on(call, next(call.steps))
        except StopIteration as end:
            result = end.value
            self._last_step_s += 0.1 * (time.perf_counter() - start - self._last_step_s)
        except Exception as raised:  # the caller's to see, whatever it is
            error = raised
        except BaseException as raised:  # a document's own code ends this call, not the thread
            error = ended(raised)
        call.steps.close()
        with self._changed:
            self._calls.end(call)
        _tell(call, result, error)

    def _hand_on(self, call: _Call, request: Request | None) -> None:
        """Queue a call again, or let it wait for the worker."""
        deadline = call.deadline
        if request is None:
            with self._changed:
                self._calls.go_on(call, inf if deadline.at is None else deadline.at)
            return
        self._worker.submit(request)
        call.request = request
        with self._changed:
            if deadline.over:
                self._calls.go_on(call, -inf)
            else:
                self._calls.wait(call)


def _tell(call: _Call, result: Any, error: Exception | None) -> None:
    """Its loop hears what became of a call, unless it was closed meanwhile: then nobody waits."""
    if not call.loop.is_closed():
        try:
            call.loop.call_soon_threadsafe(_settle, call.future, result, error)
        except RuntimeError:
            if not call.loop.is_closed():
                raise


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():  # cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _begin_anew(desk: "ref[Desk]") -> None:
    own = desk()
    if own is not None:
        own._begin()
