"""The loop: take the next batch → run a stage → scatter → advance. One thread for all callers.

Calls of many threads share it. It takes the call that was served least, fills the batch with rows
of the others, and lets each go stage by stage; whoever leaves costs nothing more. Knows no texts.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from resift.errors import Overloaded, RerankerClosed, RuntimeFailure
from resift.rerank.batching import TOKEN_BUDGET, fill, first_batch, padded_length
from resift.rerank.models import Batch, Model, Stage, TokenStates
from resift.rerank.precompute import EncodedDocument, StateCache
from resift.rerank.request import Request
from resift.rerank.threads import ended, started
from resift.rerank.throughput import Throughput
from resift.rerank.tokenization import TokenRow
from resift.rerank.tuning import Tuning

IDLE_S = 1.0
"""A worker with nothing to do ends after so long; the next call starts another."""

CLOSED = "this reranker was closed; open another one with Reranker(…)"

BATCHES_LEFT = 4
"""A batch takes at most this part of the time that a caller has left."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Pair:
    """A row of a request, about to run, with all that it needs: its caller may leave meanwhile."""

    request: Request
    place: int
    row: TokenRow
    states: TokenStates | None
    logit: float


@dataclass(frozen=True, slots=True)
class _PairResult:
    """What a stage gave for a pair, or why it gave nothing; `length` is what it was padded to."""

    pair: _Pair
    length: int
    logit: float = np.nan
    states: TokenStates | None = None
    mean: Floats | None = None
    fault: str | None = None


class Worker:
    """Runs requests of all threads, in batches, in a thread of its own while there are any."""

    def __init__(
        self,
        model: Model,
        max_states: float,
        max_waiting_tokens: int,
        halves: StateCache | None,
        tuning: Tuning | None,
    ) -> None:
        """`max_states` is how many bytes of states there is room for, of all requests together."""
        self.pace = Throughput()
        self._model = model
        self._max_states = max_states
        self._max_waiting_tokens = max_waiting_tokens
        self._halves = halves
        self._tuning = tuning
        self._closed = False
        self._begin()
        if hasattr(os, "register_at_fork"):  # a child has no thread, and nothing waits there
            os.register_at_fork(after_in_child=partial(_begin_anew, ref(self)))

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._thread: threading.Thread | None = None

    def run(self, request: Request) -> None:
        """Sleep until a request is done or nobody waits for it any more.

        Raises as `submit` does.
        """
        try:
            self.submit(request)
            request.deadline.wait()
        finally:
            self.leave(request)

    def submit(self, *requests: Request) -> None:
        """Queue requests, all or none; their deadlines hear when they are done. Then `leave` them.

        Raises `Overloaded` where too much is waiting already, `RuntimeFailure` where no thread can
        be started and `RerankerClosed` after `close`.
        """
        with self._changed:
            if self._closed:
                raise RerankerClosed(CLOSED)
            waiting = sum(other.waiting_tokens for other in self._requests)
            new = sum(request.waiting_tokens for request in requests)
            excess = waiting + new - self._max_waiting_tokens
            if waiting and excess > 0:
                raise Overloaded(waiting, self.pace.seconds(excess))
            self._start()
            served = min((other.served for other in self._requests), default=0.0)
            for request in requests:
                request.served = served
                self._requests.append(request)
            self._changed.notify()

    def close(self) -> None:
        """All that wait get an error, and the thread ends; it may finish its batch."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for request in tuple(self._requests):
                request.error = RerankerClosed(CLOSED)
                self._done(request)
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        del self._model  # only the thread reads it

    def _start(self) -> None:
        """See that a thread is at work."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = None
        self._thread = started("resift-engine", self._work)

    def leave(self, request: Request) -> None:
        """Done or not, the request is no longer worked on."""
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)
            request.close()

    def _work(self) -> None:
        """The worker's whole life. However it ends, nobody is left waiting for it."""
        try:
            self._run_batches()
        except BaseException as error:  # whatever it is, the callers hear of it
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """All that wait get an error of their own; the next call starts another thread."""
        with self._changed:
            self._thread = None
            for request in tuple(self._requests):
                request.error = ended(error)
                self._done(request)

    def _run_batches(self) -> None:
        """A batch at a time until nothing waits."""
        while True:
            with self._changed:
                pairs = self._take()
                if not pairs:
                    if self._closed or (not self._changed.wait(IDLE_S) and not self._requests):
                        self._thread = None
                        return
                    continue
                stage = self._model.stages[pairs[0].request.stage]
            start = time.perf_counter()
            try:
                found = list(self._run(stage, pairs))
            except Exception as error:  # whatever it is, the callers hear of it
                self._hand_on(error, pairs)
                continue
            self._timed(pairs, time.perf_counter() - start)
            self._scatter(found)

    def _timed(self, pairs: Sequence[_Pair], seconds: float) -> None:
        """How long a batch took. Later stages read states: they cost time and read no tokens.

        Rows whose halves were kept say nothing about scored.
        """
        lengths = [len(p.row.ids) for p in pairs if not p.request.outcome.precomputed[p.place]]
        if not lengths:
            return
        first = pairs[0].request.stage == 0
        self.pace.add(sum(lengths) if first else 0, seconds * len(lengths) / len(pairs))
        if first and self._tuning is not None:
            self._tuning.ran(lengths, padded_length(max(lengths)), seconds)

    def _take(self) -> list[_Pair]:
        """The next batch: the request that was served least, filled up with rows of the others."""
        turn = sorted(
            (request for request in self._requests if request.waiting and self._has_room(request)),
            key=lambda request: request.served,
        )
        if not turn:
            return []
        first, *others = turn
        step, lengths = first.step, first.lengths()
        longest = padded_length(lengths[0])
        budget = self._token_budget(first.deadline.left_s)
        room = max(budget // longest, 1)
        pairs = _taken(first, slice(0, first_batch(lengths, budget)), longest)
        for other in others:
            if len(pairs) >= room:
                break
            if other.step == step:
                own = fill(other.lengths(), longest, room - len(pairs))
                pairs.extend(_taken(other, own, longest))
        return pairs

    def _token_budget(self, left_s: float | None) -> int:
        """Positions of a batch; fewer where time is short, so that more of them are done in it."""
        most = TOKEN_BUDGET if self._tuning is None else self._tuning.token_budget
        if left_s is None:
            return most
        return min(most, int(self.pace.tokens(left_s) / BATCHES_LEFT))

    def _has_room(self, request: Request) -> bool:
        """Whether the states of a portion fit beside those that are kept; then they are counted."""
        if not request.holds:
            need = request.portion_tokens * self._model.state_bytes
            kept = sum(other.holds * self._model.state_bytes for other in self._requests)
            if kept and kept + need > self._max_states:
                return False
            request.holds = request.portion_tokens
        return True

    def _run(self, stage: Stage, pairs: Sequence[_Pair]) -> Iterator[_PairResult]:
        """Run pairs as one batch; one that fails is run again pair by pair.

        So only the pair at fault is lost, whoever's it is.
        """
        length = padded_length(max(len(pair.row.ids) for pair in pairs))
        try:
            batch = self._batch(pairs, length)
            given = batch.states
            out, logits = stage(batch)
        except RuntimeFailure as error:
            if len(pairs) == 1:
                yield _PairResult(pairs[0], length, fault=str(error))
                return
            for pair in pairs:
                yield from self._run(stage, [pair])
            return
        is_last = stage is self._model.stages[-1]
        for number, (pair, logit) in enumerate(zip(pairs, logits, strict=True)):
            states = None
            wanted = not is_last or pair.place in pair.request.names  # by no stage, but by a cache
            if wanted and out.states is not None:
                same = out.states is given  # nothing was encoded: no need of a second copy
                states = pair.states if same else out.states[number, : len(pair.row.ids)].copy()
            mean = None if out.means is None else out.means[number]
            fault = None if np.isfinite(logit) else "the model gave no finite logit"
            yield _PairResult(pair, length, float(logit), states, mean, fault)

    def _batch(self, pairs: Sequence[_Pair], length: int) -> Batch:
        """What a stage reads of pairs; a request's own half is made with its first batch."""
        halves = []
        for pair in pairs:
            request = pair.request
            if request.half is None:
                request.half = self._model.half(request.prompt)
            halves.append(request.half)
        rows = [pair.row for pair in pairs]
        states = _padded([pair.states for pair in pairs], length)
        before = np.array([pair.logit for pair in pairs], np.float32)
        logits = None if states is None else before
        return Batch(rows, halves, states, logits)

    def _scatter(self, found: Sequence[_PairResult]) -> None:
        """Put what was found in its places, and let requests that are done wake up."""
        with self._changed:
            for own in found:
                request, place = own.pair.request, own.pair.place
                if request.closed:
                    continue
                if own.mean is not None:
                    request.outcome.keep_mean(place, own.mean)
                if own.fault is None:
                    self._keep(own)
                    request.ran(place, own.logit, own.states, own.length)
                else:
                    request.failed(place, own.fault)
            for request in {own.pair.request for own in found}:
                if not request.closed and request.advance():
                    self._done(request)

    def _keep(self, own: _PairResult) -> None:
        """Remember a document's half that was just made."""
        request, place = own.pair.request, own.pair.place
        name = request.names.pop(place, None)
        if self._halves is not None and name is not None and own.states is not None:
            self._halves.put(name, EncodedDocument(request.known[place].tokens, own.states))

    def _hand_on(self, error: Exception, pairs: Sequence[_Pair]) -> None:
        with self._changed:
            for request in {pair.request for pair in pairs}:
                if not request.closed:
                    request.error = error
                    self._done(request)

    def _done(self, request: Request) -> None:
        request.finished = True
        self._requests.remove(request)
        request.deadline.done()


def _begin_anew(worker: "ref[Worker]") -> None:
    own = worker()
    if own is not None:
        own._begin()


def _taken(request: Request, own: slice, length: int) -> list[_Pair]:
    places = request.take(own) if own.stop > own.start else []
    request.served += len(places) * length
    outcome, states = request.outcome, request.states
    return [
        _Pair(request, place, outcome.rows[place], states.get(place), float(outcome.logits[place]))
        for place in places
    ]


def _padded(states: Sequence[TokenStates | None], length: int) -> TokenStates | None:
    """States of rows between stages → ``(rows, length, dim)``; None before the first stage."""
    known = [own for own in states if own is not None]
    if len(known) != len(states) or not known:
        return None
    batch = np.zeros((len(known), length, known[0].shape[1]), known[0].dtype)
    for place, own in enumerate(known):
        batch[place, : len(own)] = own
    return batch
