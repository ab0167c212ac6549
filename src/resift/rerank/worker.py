"""The loop: take the next batch → run a stage → scatter → advance. One thread for all callers.

It takes the call that was served least, fills the batch with documents of the others, and lets
each call advance stage by stage. Knows no texts.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.errors import Overloaded, RerankerClosed, RuntimeFailure
from resift.rerank.batching import TOKEN_BUDGET, fill, first_batch, padded_length
from resift.rerank.caches import StateCache
from resift.rerank.models import Batch, Model, Stage, TokenStates
from resift.rerank.native import BackgroundThread, thread_failure
from resift.rerank.precompute import EncodedDocument
from resift.rerank.request import Request
from resift.rerank.state import DocumentState
from resift.rerank.tuning import Throughput, Tuning

IDLE_S = 1.0
"""A worker with nothing to do ends after this time; the next call starts another."""

CLOSED = "this reranker was closed; open another one with Reranker(…)"

BATCHES_LEFT = 4
"""A batch takes at most this part of the time that a caller has left."""

Floats = NDArray[np.float32]


@dataclass(slots=True, eq=False)
class _Pair:
    """A document in a batch, with all that it needs: its caller may leave meanwhile.

    `logit` and `states` are those of the stage before, and then of the stage that ran, at
    `positions` positions. `fault` is why it gave no logit.
    """

    request: Request
    document: DocumentState
    logit: float
    states: TokenStates | None
    mean: Floats | None = None
    positions: int = 0
    fault: str | None = None


class Worker(BackgroundThread):
    """Runs requests of all threads in batches, in a thread of its own while there are any."""

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
        """Sleep until a request is done or its deadline ends. Raises as `submit` does."""
        try:
            self.submit(request)
            request.deadline.wait()
        finally:
            self.leave(request)

    def submit(self, *requests: Request) -> None:
        """Queue requests, all or none; their deadlines are told when they are done.

        The caller has to `leave` then. Raises `Overloaded` where too much is waiting already,
        `RuntimeFailure` where no thread can be started and `RerankerClosed` after `close`.
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
        """All that wait get an error, and the thread ends after its batch."""
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
        """Work on the request no longer, done or not."""
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
                pairs = self._take()
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
        """Count a batch's time. Later stages read states: they take time and read no tokens.

        Documents whose states were precomputed do not count.
        """
        lengths = [len(pair.document.row.ids) for pair in pairs if not pair.document.precomputed]
        if not lengths:
            return
        is_first = pairs[0].request.stage == 0
        tokens = sum(lengths) if is_first else 0
        self.throughput.add(tokens, seconds * len(lengths) / len(pairs))
        if is_first and self._tuning is not None:
            self._tuning.add(lengths, padded_length(max(lengths)), seconds)

    def _take(self) -> list[_Pair]:
        """The next batch: the request that was served least, filled up with rows of the others."""
        ready = sorted(
            (request for request in self._requests if request.waiting and self._has_room(request)),
            key=lambda request: request.served,
        )
        if not ready:
            return []
        first, *others = ready
        batch_key, lengths = first.batch_key, first.lengths()
        longest = padded_length(lengths[0])
        budget = self._token_budget(first.deadline.left_s)
        room = max(budget // longest, 1)
        pairs = _taken(first, slice(0, first_batch(lengths, budget)), longest)
        for request in others:
            if len(pairs) >= room:
                break
            if request.batch_key == batch_key:
                part = fill(request.lengths(), longest, room - len(pairs))
                pairs.extend(_taken(request, part, longest))
        return pairs

    def _token_budget(self, left_s: float | None) -> int:
        """Positions of a batch; fewer where time is short, so that more batches get done in it."""
        budget = TOKEN_BUDGET if self._tuning is None else self._tuning.token_budget
        if left_s is None:
            return budget
        return min(budget, int(self.throughput.tokens(left_s) / BATCHES_LEFT))

    def _has_room(self, request: Request) -> bool:
        """Whether the states of a portion fit beside those of other requests; counts them then."""
        if not request.held_tokens:
            needed = request.portion_tokens * self._model.state_bytes
            held = sum(queued.held_tokens * self._model.state_bytes for queued in self._requests)
            if held and held + needed > self._max_state_bytes:
                return False
            request.held_tokens = request.portion_tokens
        return True

    def _run(self, stage: Stage, pairs: Sequence[_Pair]) -> None:
        """Run pairs as one batch; a batch that fails is run again pair by pair.

        So only the pair at fault is lost, whichever call it is of.
        """
        positions = padded_length(max(len(pair.document.row.ids) for pair in pairs))
        try:
            batch = self._batch(pairs, positions)
            out, logits = stage(batch)
        except RuntimeFailure as error:
            for pair in pairs:
                if len(pairs) == 1:
                    pair.fault = str(error)
                else:
                    self._run(stage, [pair])
            return
        is_last = stage is self._model.stages[-1]
        for number, (pair, logit) in enumerate(zip(pairs, logits, strict=True)):
            pair.logit, pair.positions = float(logit), positions
            if not np.isfinite(logit):
                pair.fault = "the model gave no finite logit"
            if out.means is not None:
                pair.mean = out.means[number]
            is_needed = not is_last or pair.document.digest  # by the next stage, or by a cache
            if out.states is None or not is_needed:
                pair.states = None
            elif out.states is not batch.states:  # else nothing was encoded
                pair.states = out.states[number, : len(pair.document.row.ids)].copy()

    def _batch(self, pairs: Sequence[_Pair], positions: int) -> Batch:
        """What a stage reads of pairs; a query's states are computed with its first batch."""
        queries = []
        for pair in pairs:
            request = pair.request
            if request.query_states is None:
                request.query_states = self._model.query_states(request.query)
            queries.append(request.query_states)
        rows = [pair.document.row for pair in pairs]
        states = _padded([pair.states for pair in pairs], positions)
        logits = np.array([pair.logit for pair in pairs], np.float32)
        return Batch(rows, queries, states, None if states is None else logits)

    def _scatter(self, pairs: Sequence[_Pair]) -> None:
        """Write results to their documents, and wake the callers whose requests are done."""
        with self._changed:
            for pair in pairs:
                request, document = pair.request, pair.document
                if request.closed:
                    continue
                if pair.mean is not None:
                    document.mean = pair.mean
                if pair.fault is None:
                    self._cache_states(document, pair.states)
                    request.add_logit(document, pair.logit, pair.states, pair.positions)
                else:
                    request.fail(document, pair.fault)
            for request in {pair.request for pair in pairs}:
                if not request.closed and request.advance():
                    self._finish(request)

    def _cache_states(self, document: DocumentState, states: TokenStates | None) -> None:
        """Remember a document's states when they were computed first."""
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
        request.deadline.done()


def _taken(request: Request, part: slice, positions: int) -> list[_Pair]:
    documents = request.take(part) if part.stop > part.start else []
    request.served += len(documents) * positions
    return [_Pair(request, document, document.logit, document.states) for document in documents]


def _padded(states: Sequence[TokenStates | None], positions: int) -> TokenStates | None:
    """States of rows between stages → ``(rows, positions, dim)``; None before the first stage."""
    known = [row_states for row_states in states if row_states is not None]
    if len(known) != len(states) or not known:
        return None
    batch = np.zeros((len(known), positions, known[0].shape[1]), known[0].dtype)
    for number, row_states in enumerate(known):
        batch[number, : len(row_states)] = row_states
    return batch
