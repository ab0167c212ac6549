"""One call: recall → find precomputed states → tokenise → run → remember.

Texts in, logits in input order out. A caller tokenises in its own thread, calls of event loops in
the thread of `AsyncCalls`. The `Worker`, which all threads share, runs the model, and the caller
sleeps until it is done or the deadline has passed. Knows no first stage and no ranks. A document
that cannot be scored is marked and affects no other.
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
from resift.rerank.many import run_many
from resift.rerank.models import Model
from resift.rerank.precompute import EncodedDocument, pack
from resift.rerank.request import Request, Steps, T
from resift.rerank.state import CallState, DocumentState
from resift.rerank.tuning import Tuning
from resift.rerank.windows import Wanted
from resift.rerank.worker import CLOSED, Worker
from resift.types import Precomputed

MAX_WAITING_TOKENS = 1_000_000
"""More waiting work than this is refused: half a minute of a small machine."""

MAX_MEMORY_MB = 512
"""For all that running takes beyond the loaded model."""

BATCH_MB = 200
"""What a batch takes of that: activations, and a runtime's arena (measured)."""

PORTIONS = 4
"""The states of one call take at most this part of the memory for states."""


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
        """`exits` has what was measured after each stage but the last, as far as it was.

        `max_memory_mb` is for all that running takes beyond the loaded model. `cache` has scores of
        pairs that went through every stage, `state_cache` token states of documents; `tuning`
        chooses the size of batches.
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
        remembered: bool = True,
    ) -> CallState:
        """Do all `steps` of a call in the caller's thread."""
        deadline = deadline or Deadline()
        return self.run(self.steps(query, texts, deadline, early_exit, remembered=remembered))

    def run(self, steps: Steps[T]) -> T:
        """Do all steps of a call, waiting where it waits."""
        try:
            while True:
                request = next(steps)
                if request is not None:
                    self._worker.run(request)
        except StopIteration as end:
            result: T = end.value
            return result

    def run_many(self, calls: Sequence[Steps[T]]) -> list[T]:
        """Do all steps of several calls; documents of different calls share batches."""
        return run_many(self._worker, calls, self.run)

    async def arun(self, steps: Steps[T], deadline: Deadline) -> T:
        """Do all steps of a call in another thread; a task that is cancelled stops costing."""
        try:
            result: T = await self._async_calls.submit(steps, deadline)
        finally:
            deadline.give_up()  # without effect where the call is done
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
        remembered: bool = True,
    ) -> Steps[CallState]:
        """Score each text against the query, as far as the deadline goes.

        With `early_exit`, candidates that cannot reach its first `top_n` any more are pruned at the
        exits. `encoded` has documents, by index, that need not be tokenised. Nothing is scored for
        a query without a word that the model knows. A call that is not `remembered` fills no cache.
        Raises `QueryError` for a query that does not fit whole and, when it is run, `Overloaded`
        where too much is waiting.
        """
        start = time.perf_counter()
        query_row = self.model.query_row(query)
        state = CallState.of(texts)
        state.query_unknown_share = query_row.unknown / (query_row.unknown + query_row.seen)
        if not query_row.seen:
            state.skip_all("the query has no word that this model knows")
            return state
        wanted = "beginning" if deadline.bounded else wanted
        call = Call(self.model, query, query_row, texts, deadline, wanted, state, remembered)
        if self._cache is not None:
            yield from call.recall(self._cache)
        call.find_encoded(encoded or {}, self._state_cache)
        documents = yield from call.tokenise(self._worker.throughput)
        state.timings_ms["tokenise"] = (time.perf_counter() - start) * 1000
        yield from self._run(call, documents, early_exit)
        if self._cache is not None and remembered:
            call.remember(self._cache)
        state.drop_texts()
        return state

    def _run(
        self, call: Call, documents: list[DocumentState], early_exit: EarlyExit | None
    ) -> Steps[None]:
        """Run documents through the stages; those that did not come that far are late."""
        state, deadline = call.state, call.deadline
        if early_exit:  # recalled documents take part, so that it goes as it would without a cache
            documents = sorted([*documents, *state.recalled], key=lambda document: document.index)
        finished = True
        if documents:
            submitted = time.perf_counter()
            request = self._request(call, documents, early_exit)
            if not deadline.spent:
                request.finished = request.advance()  # where all of it is recalled
                if not request.finished:
                    yield request
            started, finished = request.started or time.perf_counter(), request.finished
            state.timings_ms["wait"] = (started - submitted) * 1000
            state.timings_ms["score"] = (time.perf_counter() - started) * 1000
            if request.error is not None:
                raise request.error
            if not finished:
                request.restore_recalled()
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
        """What can be computed of each text without a query; None for one that cannot be read."""
        indices = CallState.of(texts).unscored
        readable = [str(texts[index]) for index in indices]
        tokens = [read for read in self.model.tokens(readable, "all") if read is not None]
        documents = [EncodedDocument(read) for read in tokens]
        if states:
            for number, token_states in self.model.document_states(readable, tokens):
                documents[number] = replace(documents[number], states=token_states)
        precomputed: list[Precomputed | None] = [None] * len(texts)
        for index, text, document in zip(indices, readable, documents, strict=True):
            precomputed[index] = pack(text, document, fingerprint)
        return precomputed

    def end_of_reading(self, query: str, text: str) -> int:
        """The character of a text at which the model stops reading beside this query."""
        tokens = [read for read in self.model.tokens([text], "beginning") if read is not None]
        return self.model.rows(self.model.query_row(query), [text], tokens)[0].end
