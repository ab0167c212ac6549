"""The loop: next batch → run a stage → scatter results → advance. One thread for all callers.

A batch begins with the call that was served least and is filled up with documents of other calls.
Each call advances stage by stage. Knows no texts.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.errors import Overloaded, RerankerClosed, RuntimeFailure
from resift.rerank.batching import TOKEN_BUDGET, fill, first_batch, full_batch, padded_length
from resift.rerank.caches import StateCache
from resift.rerank.graph_runs import TokenStates
from resift.rerank.models import Batch, Model, Stage
from resift.rerank.native import BackgroundThread, thread_failure
from resift.rerank.precompute import EncodedDocument
from resift.rerank.request import Request
from resift.rerank.state import DocumentState
from resift.rerank.tuning import Throughput, Tuning
from resift.rerank.watchers import Watchers

IDLE_S = 1.0
"""An idle thread ends after this time; the next call starts another."""

CLOSED = "this reranker was closed; open another one with Reranker(…)"

MIN_BATCHES = 4
"""The remaining time of a caller has to suffice for so many batches."""

Floats = NDArray[np.float32]


@dataclass(slots=True, eq=False)
class _Pair:
    """A document in a batch. It has copies of what it needs, since its caller may leave.

    `logit` and `states` are first those of the stage before and then those of the stage that ran,
    padded to `positions`. `failure` says why the stage gave no logit.
    """

    request: Request
    document: DocumentState
    logit: float
    states: TokenStates | None
    mean: Floats | None = None
    positions: int = 0
    failure: str | None = None


class Worker(BackgroundThread):
    """Runs the requests of all threads in batches, in one background thread."""

    def __init__(
        self,
        model: Model,
        max_state_bytes: float,
        max_waiting_tokens: int,
        state_cache: StateCache | None,
        tuning: Tuning | None,
    ) -> None:
        """`max_state_bytes` is the memory for token states of all requests together."""
        self.throughput = Throughput()
        self.watchers = Watchers()
        self._model = model
        self._max_state_bytes = max_state_bytes
        self._max_waiting_tokens = max_waiting_tokens
        self._state_cache = state_cache
        self._tuning = tuning
        self._closed = False
        super().__init__("resift-engine")

    def _reset(self) -> None:
        super()._reset()
        self._requests: list[Request] = []

    def run(self, request: Request) -> None:
        """Sleep until a request is done or its deadline is over. Raises as `submit` does."""
        try:
            self.submit(request)
            request.deadline.wait()
        finally:
            self.leave(request)

    def submit(self, *requests: Request) -> None:
        """Queue requests, all or none; the worker calls `Deadline.finish` when one is done.

        The caller has to call `leave` afterwards. Raises `Overloaded` if too much work is waiting,
        `RuntimeFailure` if no thread can be started, and `RerankerClosed` after `close`.
        """
        with self._changed:
            if self._closed:
                raise RerankerClosed(CLOSED)
            waiting = sum(queued.waiting_tokens for queued in self._requests)
            new = sum(request.waiting_tokens for request in requests)
            excess = waiting + new - self._max_waiting_tokens
            if waiting and excess > 0:
                raise Overloaded(waiting, self.throughput.seconds(excess))
            self._ensure_running()
            served = min((queued.served for queued in self._requests), default=0.0)
            for request in requests:
                request.served = served
                self._requests.append(request)
            self._changed.notify()

    def close(self) -> None:
        """Fail all requests with `RerankerClosed`; the thread ends after its batch."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for request in tuple(self._requests):
                self._finish(request, RerankerClosed(CLOSED))
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        del self._model  # only the thread reads it

    def leave(self, request: Request) -> None:
        """Remove a request, done or not."""
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)
            request.close()

    def _abort(self, error: BaseException) -> None:
        for request in tuple(self._requests):
            self._finish(request, thread_failure(error))

    def _loop(self) -> None:
        while True:
            with self._changed:
                pairs = self._next_batch()
                if not pairs:
                    if self._closed or (not self._changed.wait(IDLE_S) and not self._requests):
                        self._thread = None
                        return
                    continue
                stage = self._model.stages[pairs[0].request.stage]
            start = time.perf_counter()
            try:
                self._run(stage, pairs)
            except Exception as error:  # passed on to the callers
                self._fail(error, pairs)
                continue
            self._measure(pairs, time.perf_counter() - start)
            self._scatter(pairs)

    def _measure(self, pairs: Sequence[_Pair], seconds: float) -> None:
        """Tell of a batch, and add it to the throughput.

        Later stages take time, but read states and no tokens. Documents with precomputed states do
        not count for the throughput.
        """
        stage = pairs[0].request.stage
        self.watchers.tell(stage, [len(pair.document.row.ids) for pair in pairs], seconds)
        lengths = [len(pair.document.row.ids) for pair in pairs if not pair.document.precomputed]
        if not lengths:
            return
        is_first = stage == 0
        tokens = sum(lengths) if is_first else 0
        self.throughput.add(tokens, seconds * len(lengths) / len(pairs))
        if is_first and self._tuning is not None:
            self._tuning.add(lengths, padded_length(max(lengths)), seconds)

    def _next_batch(self) -> list[_Pair]:
        """The next batch: rows of the request that was served least, then of others."""
        ready = sorted(
            (request for request in self._requests if request.waiting and self._has_room(request)),
            key=lambda request: request.served,
        )
        if not ready:
            return []
        first, *others = ready
        batch_key, lengths = first.batch_key, first.lengths()
        longest = padded_length(lengths[0])
        budget = self._token_budget(first.deadline.remaining_s)
        room = full_batch(longest, budget)
        pairs = _start(first, slice(0, first_batch(lengths, budget)), longest)
        for request in others:
            if len(pairs) >= room:
                break
            if request.batch_key == batch_key:
                part = fill(request.lengths(), longest, room - len(pairs))
                pairs.extend(_start(request, part, longest))
        return pairs

    def _token_budget(self, remaining_s: float | None) -> int:
        """Positions of a batch; fewer when time is short, so that some batches finish in time."""
        budget = TOKEN_BUDGET if self._tuning is None else self._tuning.token_budget
        if remaining_s is None:
            return budget
        return min(budget, int(self.throughput.tokens(remaining_s) / MIN_BATCHES))

    def _has_room(self, request: Request) -> bool:
        """Whether the states of a portion fit beside those of other requests; reserves memory."""
        if not request.held_tokens:
            needed = request.portion_tokens * self._model.state_bytes
            held = sum(queued.held_tokens * self._model.state_bytes for queued in self._requests)
            if held and held + needed > self._max_state_bytes:
                return False
            request.held_tokens = request.portion_tokens
        return True

    def _run(self, stage: Stage, pairs: Sequence[_Pair]) -> None:
        """Run pairs as one batch. If it fails, run each pair alone, so that only bad pairs fail."""
        positions = padded_length(max(len(pair.document.row.ids) for pair in pairs))
        try:
            batch = self._batch(pairs, positions)
            out, logits = stage(batch)
        except RuntimeFailure as error:
            for pair in pairs:
                if len(pairs) == 1:
                    pair.failure = str(error)
                else:
                    self._run(stage, [pair])
            return
        is_last = stage is self._model.stages[-1]
        for number, (pair, logit) in enumerate(zip(pairs, logits, strict=True)):
            pair.logit, pair.positions = float(logit), positions
            if not np.isfinite(logit):
                pair.failure = "the model gave no finite logit"
            if out.means is not None:
                pair.mean = out.means[number]
            is_needed = not is_last or pair.document.digest  # by the next stage or the cache
            if out.states is None or not is_needed:
                pair.states = None
            elif out.states is not batch.states:  # else nothing was encoded
                pair.states = out.states[number, : len(pair.document.row.ids)].copy()

    def _batch(self, pairs: Sequence[_Pair], positions: int) -> Batch:
        """The input of a stage. A query's states are computed with its first batch."""
        queries = []
        for pair in pairs:
            request = pair.request
            if request.query_states is None:
                request.query_states = self._model.query_states(request.query)
            queries.append(request.query_states)
        rows = [pair.document.row for pair in pairs]
        states = _pad_states([pair.states for pair in pairs], positions)
        logits = np.array([pair.logit for pair in pairs], np.float32)
        return Batch(rows, queries, states, None if states is None else logits)

    def _scatter(self, pairs: Sequence[_Pair]) -> None:
        """Write results to the documents, and wake the callers whose requests are done."""
        with self._changed:
            for pair in pairs:
                request, document = pair.request, pair.document
                if request.closed:
                    continue
                if pair.mean is not None:
                    document.mean = pair.mean
                if pair.failure is None:
                    self._cache_states(document, pair.states)
                    request.add_logit(document, pair.logit, pair.states, pair.positions)
                else:
                    request.fail(document, pair.failure)
            for request in {pair.request for pair in pairs}:
                if not request.closed and request.advance():
                    self._finish(request)

    def _cache_states(self, document: DocumentState, states: TokenStates | None) -> None:
        """Put a document's states into the cache when they are first computed."""
        digest, document.digest = document.digest, b""
        if self._state_cache is None or not digest or states is None or document.encoded is None:
            return
        self._state_cache.put({digest: EncodedDocument(document.encoded.tokens, states)})

    def _fail(self, error: Exception, pairs: Sequence[_Pair]) -> None:
        with self._changed:
            for request in {pair.request for pair in pairs}:
                if not request.closed:
                    self._finish(request, error)

    def _finish(self, request: Request, error: BaseException | None = None) -> None:
        request.error = error
        request.finished = True
        self._requests.remove(request)
        request.deadline.finish()


def _start(request: Request, part: slice, positions: int) -> list[_Pair]:
    documents = request.start(part) if part.stop > part.start else []
    request.served += len(documents) * positions
    return [_Pair(request, document, document.logit, document.states) for document in documents]


def _pad_states(states: Sequence[TokenStates | None], positions: int) -> TokenStates | None:
    """States of rows → ``(rows, positions, dim)``; None before the first stage."""
    present = [row_states for row_states in states if row_states is not None]
    if len(present) != len(states) or not present:
        return None
    batch = np.zeros((len(present), positions, present[0].shape[1]), present[0].dtype)
    for number, row_states in enumerate(present):
        batch[number, : len(row_states)] = row_states
    return batch
