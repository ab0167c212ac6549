"""One call: look up scores → find precomputed states → tokenise → run → store scores.

Texts in, logits in input order out. A call tokenises in its caller's thread; calls of event loops
do so in the thread of `AsyncCalls`. All threads share one `Worker`, which runs the model while the
caller sleeps. Knows no first stage and no ranks. A document that cannot be scored gets a status and
does not affect the others.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from resift.errors import RerankerClosed
from resift.rerank.artifact import Exit
from resift.rerank.async_calls import AsyncCalls
from resift.rerank.caches import PairCache, StateCache
from resift.rerank.call import Call
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import EarlyExit
from resift.rerank.long_documents import mode_key, settle
from resift.rerank.many import run_many
from resift.rerank.models import Model
from resift.rerank.precompute import EncodedDocument, pack
from resift.rerank.request import Request, Steps, T
from resift.rerank.state import CallState, DocumentState
from resift.rerank.text_tokens import Wanted
from resift.rerank.tuning import Tuning
from resift.rerank.watchers import Watchers
from resift.rerank.worker import CLOSED, Worker
from resift.types import LongDocuments, Precomputed

MAX_WAITING_TOKENS = 1_000_000
"""A call that would exceed this is refused: half a minute of work for a small machine."""

MAX_MEMORY_MB = 512
"""Memory for running, beyond the loaded model."""

BATCH_MB = 200
"""The part of it that a batch needs: activations and the runtime's arena (measured)."""

PORTIONS = 4
"""One call may use one part in this many of the memory for token states."""


class Engine:
    """Runs a model over texts, for all threads together."""

    def __init__(
        self,
        model: Model,
        exits: Sequence[Exit] = (),
        *,
        max_memory_mb: float = MAX_MEMORY_MB,
        max_waiting_tokens: int = MAX_WAITING_TOKENS,
        cache: PairCache | None = None,
        state_cache: StateCache | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        """`exits` are the measured exits, one after each stage from the first.

        `max_memory_mb` is the memory for running, beyond the loaded model. `cache` holds scores of
        pairs that went through every stage, `state_cache` token states of documents. `tuning`
        chooses the batch size.
        """
        self._model: Model | None = model
        self._exits = exits
        self._max_state_bytes = (max_memory_mb - BATCH_MB) * 1e6
        self._cache = cache
        self._state_cache = state_cache
        self._worker = Worker(model, self._max_state_bytes, max_waiting_tokens, state_cache, tuning)
        self._async_calls = AsyncCalls(self._worker)

    @property
    def model(self) -> Model:
        """The model; raises `RerankerClosed` after `close`."""
        if self._model is None:
            raise RerankerClosed(CLOSED)
        return self._model

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._model is None

    @property
    def watchers(self) -> Watchers:
        """Those who are told of each batch."""
        return self._worker.watchers

    def close(self) -> None:
        """End the threads, close the cache's file and release the model; open calls fail."""
        self._model = None
        self._worker.close()
        for cache in (self._cache, self._state_cache):
            if cache is not None:
                cache.close()

    def score(
        self,
        query: str,
        texts: Sequence[object],
        deadline: Deadline | None = None,
        early_exit: EarlyExit | None = None,
        *,
        fill_caches: bool = True,
    ) -> CallState:
        """Run all `steps` of a call in the caller's thread."""
        deadline = deadline or Deadline()
        return self.run(self.steps(query, texts, deadline, early_exit, fill_caches=fill_caches))

    def run(self, steps: Steps[T]) -> T:
        """Run all steps of a call, and each request that a step yields."""
        try:
            while True:
                request = next(steps)
                if request is not None:
                    self._worker.run(request)
        except StopIteration as end:
            result: T = end.value
            return result

    def run_many(self, calls: Sequence[Steps[T]]) -> list[T]:
        """Run all steps of several calls; documents of different calls share batches."""
        return run_many(self._worker, calls, self.run)

    async def arun(self, steps: Steps[T], deadline: Deadline) -> T:
        """Run all steps of a call in another thread; cancelling the task stops its work."""
        try:
            result: T = await self._async_calls.submit(steps, deadline)
        finally:
            deadline.cancel()  # has no effect on a finished call
        return result

    def steps(
        self,
        query: str,
        texts: Sequence[object],
        deadline: Deadline,
        early_exit: EarlyExit | None = None,
        encoded: Mapping[int, EncodedDocument] | None = None,
        wanted: Wanted = "count",
        *,
        long_documents: LongDocuments = "cut",
        fill_caches: bool = True,
    ) -> Steps[CallState]:
        """Score each text against the query, until the deadline.

        With `early_exit`, candidates that cannot reach its first `top_n` any more are pruned at the
        exits. `encoded` has documents, by index, that need no tokenising. If the model knows no
        word of the query, nothing is scored. `long_documents` says how to read documents that are
        longer than the model reads. Without `fill_caches` nothing is added to the caches. Raises
        `QueryError` for a query that is too long and, when it runs, `Overloaded` if too much work
        is waiting.
        """
        start = time.perf_counter()
        query_row = self.model.query_row(query)
        state = CallState.of(texts)
        state.query_unknown_share = query_row.unknown / (query_row.unknown + query_row.seen)
        if not query_row.seen:
            state.skip_all("the query has no word that this model knows")
            return state
        wanted = "beginning" if deadline.is_bounded else wanted
        call = Call(self.model, query, query_row, texts, deadline, wanted, state, fill_caches)
        call.windows = mode_key(early_exit) if long_documents == "windows" else None
        if self._cache is not None:
            yield from call.look_up(self._cache)
        call.find_encoded(encoded or {}, self._state_cache)
        documents = yield from call.tokenise(self._worker.throughput, self._state_cache)
        state.timings_ms["tokenise"] = (time.perf_counter() - start) * 1000
        yield from self._run(call, documents, early_exit)
        settle(self.model, state)
        if self._cache is not None and fill_caches:
            call.store(self._cache)
        state.drop_texts()
        return state

    def _run(
        self, call: Call, documents: list[DocumentState], early_exit: EarlyExit | None
    ) -> Steps[None]:
        """Run documents through the stages; those without a logit at the deadline are late."""
        state, deadline = call.state, call.deadline
        if early_exit:  # cached documents take part, so that the same candidates are pruned
            documents = sorted(
                [*documents, *state.cached_documents], key=lambda document: document.index
            )
        finished = True
        if documents:
            submitted = time.perf_counter()
            request = self._request(call, documents, early_exit)
            if not deadline.expired:
                request.finished = request.advance()  # True if all are cached
                if not request.finished:
                    yield request
            started, finished = request.started or time.perf_counter(), request.finished
            state.timings_ms["wait"] = (started - submitted) * 1000
            state.timings_ms["score"] = (time.perf_counter() - started) * 1000
            if request.error is not None:
                raise request.error
            if not finished:
                request.restore_cached()
        if not finished or state.unscored:
            state.stop(deadline.reason)

    def _request(
        self, call: Call, documents: Sequence[DocumentState], early_exit: EarlyExit | None
    ) -> Request:
        token_bytes = self.model.state_bytes
        portion = self._max_state_bytes / PORTIONS / token_bytes if token_bytes else None
        cuts = len(self.model.stages) - 1
        exits = [*self._exits, *[None] * cuts][:cuts]
        return Request(
            call.query_row, documents, call.state, call.deadline, exits, early_exit, portion
        )

    def precompute(
        self, texts: Sequence[object], fingerprint: str, states: bool
    ) -> list[Precomputed | None]:
        """Tokens, and `states`, of each text; None for a text that cannot be read."""
        indices = CallState.of(texts).unscored
        readable = [str(texts[index]) for index in indices]
        tokens = [part for part in self.model.tokens(readable, "all") if part is not None]
        documents = [EncodedDocument(text_tokens) for text_tokens in tokens]
        if states:
            for number, token_states in self.model.document_states(readable, tokens):
                documents[number] = replace(documents[number], states=token_states)
        precomputed: list[Precomputed | None] = [None] * len(texts)
        for index, text, document in zip(indices, readable, documents, strict=True):
            precomputed[index] = pack(text, document, fingerprint)
        return precomputed

    def end_of_reading(self, query: str, text: str) -> int:
        """The character of a text at which the model stops reading, given this query."""
        tokens = [part for part in self.model.tokens([text], "beginning") if part is not None]
        return self.model.rows(self.model.query_row(query), [text], tokens)[0].end
