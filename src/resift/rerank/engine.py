"""One call: recall → find what is kept → tokenise → hand over → wait → remember.

Texts in, logits in input order out. A caller tokenises in its own thread, an event loop's calls in
the `Desk`'s; rows go to the `Worker` that all threads share, and the caller sleeps until they are
done or its deadline is spent.
Knows no first stage, no ranks and no documents; a row that cannot be scored is marked and costs
nobody else anything.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from resift.errors import RerankerClosed
from resift.rerank.artifact import Exit
from resift.rerank.async_calls import Desk
from resift.rerank.cache import PairCache
from resift.rerank.cache_file import Score
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import EarlyExit
from resift.rerank.many import run_many
from resift.rerank.models import Model
from resift.rerank.precompute import EncodedDocument, StateCache, digest, pack
from resift.rerank.request import Request
from resift.rerank.state import CallState
from resift.rerank.steps import Steps, T
from resift.rerank.tokenization import TokenRow
from resift.rerank.tuning import Tuning
from resift.rerank.windows import Wanted
from resift.rerank.worker import CLOSED, Worker
from resift.types import Precomputed, Status

MAX_WAITING_TOKENS = 1_000_000
"""More waiting work than this is refused: half a minute of a small machine."""

MAX_MEMORY_MB = 512
"""For all that running takes beyond the loaded model."""

BATCH_MB = 200
"""What a batch takes of that: activations, and a runtime's arena (measured)."""

READ, HASHED = 16_384, 1_000_000
"""Characters that are tokenised, or hashed, in one step of a call: some milliseconds."""

PORTIONS = 4
"""No call's states take more than this part of the memory that there is for states."""


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
        halves: StateCache | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        """`exits` says what is known after each stage but the last; none is known of those missing.

        `max_memory_mb` is for all that running takes beyond the loaded model, `cache` has scores
        of pairs that went through every stage, `halves` documents' halves; `tuning` says how large
        a batch is.
        """
        self._model: Model | None = model
        self._exits = exits
        self._max_states = (max_memory_mb - BATCH_MB) * 1e6
        self._cache = cache
        self._halves = halves
        self._worker = Worker(model, self._max_states, max_waiting_tokens, halves, tuning)
        self._desk = Desk(self._worker)

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
        for cache in (self._cache, self._halves):
            if cache is not None:
                cache.close()

    def score(
        self,
        query: str,
        texts: Sequence[object],
        deadline: Deadline | None = None,
        early_exit: EarlyExit | None = None,
        known: Mapping[int, EncodedDocument] | None = None,
        *,
        remembered: bool = True,
    ) -> CallState:
        """Score each text against the query, as far as the caller's deadline goes.

        As `steps`, which is done here in the caller's thread.
        """
        steps = self.steps(
            query, texts, deadline or Deadline(), early_exit, known, remembered=remembered
        )
        return self.run(steps)

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
        """Do all steps of several calls; rows of different calls share batches."""
        return run_many(self._worker, calls, self.run)

    async def arun(self, steps: Steps[T], deadline: Deadline) -> T:
        """Do all steps of a call elsewhere; a task that is cancelled stops costing."""
        try:
            result: T = await self._desk.submit(steps, deadline)
        finally:
            deadline.give_up()  # nothing is lost where it was done
        return result

    def steps(
        self,
        query: str,
        texts: Sequence[object],
        deadline: Deadline,
        early_exit: EarlyExit | None = None,
        known: Mapping[int, EncodedDocument] | None = None,
        wanted: Wanted = "count",
        *,
        remembered: bool = True,
    ) -> Steps[CallState]:
        """One call, in steps of some milliseconds: a request is to be run by the worker before the
        next, None is nothing, and others may have their turn.

        With `early_exit`, candidates that cannot reach its first `top_n` any more are let go at the
        exits. `known` are texts by place that need not be read again. Of a query of which the model
        knows no word nothing is scored. What is not to be `remembered` fills no cache: nobody will
        ask for it again. Raises `QueryError` for a query that does not fit whole and, in running,
        `Overloaded` where too much is waiting.
        """
        start = time.perf_counter()
        prompt = self.model.read(query)
        outcome = CallState.of(texts)
        outcome.query_unknown_share = prompt.unknown / (prompt.unknown + prompt.seen)
        if not prompt.seen:
            outcome.leave("the query has no word that this model knows")
            return outcome
        if deadline.bounded:
            wanted = "beginning"
        keys = yield from self._recall(query, texts, outcome, deadline)
        counted = yield from self._count(prompt, texts, outcome, deadline, wanted)
        names, found = self._find(texts, outcome, known or {}, deadline, wanted)
        names = names if remembered else {}
        alive = yield from self._tokenise(prompt, texts, outcome, deadline, found, wanted)
        tokenised = time.perf_counter()
        outcome.timings_ms["tokenise"] = (tokenised - start) * 1000
        recalled = (
            outcome.recalled if early_exit else {}
        )  # an early exit goes as it would without a cache
        if alive or recalled:
            places = sorted([*alive, *recalled])
            request = self._request(prompt, places, outcome, deadline, early_exit, found, names)
            if not deadline.spent:
                request.finished = request.advance()  # where all of it is known already
                if not request.finished:
                    yield request
            _finished(request, tokenised)
        if outcome.unread:
            _late(outcome, deadline)
        if remembered:
            self._remember(keys, outcome, counted)
        return outcome

    def precompute(
        self, texts: Sequence[object], fingerprint: str, states: bool
    ) -> list[Precomputed | None]:
        """What is known of each text without a query; None for one that cannot be read."""
        places = CallState.of(texts).unread
        own = [str(texts[place]) for place in places]
        tokens = [read for read in self.model.tokens(own, "all") if read is not None]
        known = [EncodedDocument(read) for read in tokens]
        if states:
            for place, half in self.model.halves(own, tokens):
                known[place] = replace(known[place], states=half)
        kept: list[Precomputed | None] = [None] * len(texts)
        for place, text, one in zip(places, own, known, strict=True):
            kept[place] = pack(text, one, fingerprint)
        return kept

    def reads_to(self, query: str, text: str) -> int:
        """The character of a text at which the model stops reading beside this query."""
        tokens = [read for read in self.model.tokens([text], "beginning") if read is not None]
        return self.model.rows(self.model.read(query), [text], tokens)[0].end

    def _recall(
        self, query: str, texts: Sequence[object], outcome: CallState, deadline: Deadline
    ) -> Steps[dict[int, bytes]]:
        """Take from the cache what it has; gives the keys of readable texts by place."""
        if self._cache is None:
            return {}
        keys: dict[int, bytes] = {}
        for places in _slices(outcome.unread, texts, HASHED):
            own = self._cache.keys(query, [str(texts[place]) for place in places])
            keys |= zip(places, own, strict=True)
            if deadline.spent:  # what is known by now is an answer all the same
                break
            yield None
        found = self._cache.get(list(keys.values()))
        for place, key in keys.items():
            if key in found:
                outcome.recall(place, found[key], len(self.model.stages))
        return keys

    def _count(
        self,
        prompt: TokenRow,
        texts: Sequence[object],
        outcome: CallState,
        deadline: Deadline,
        wanted: Wanted,
    ) -> Steps[list[int]]:
        """Count what earlier calls had no time to count of known texts; gives their places."""
        counted: list[int] = []
        if wanted == "beginning":
            return counted
        for place, score in list(outcome.recalled.items()):
            row = outcome.rows[place]
            if row.counted:
                continue
            read: dict[int, EncodedDocument] = {}
            yield from self._read(texts, [place], deadline, read, wanted)
            if place not in read:
                break
            whole = self.model.rows(prompt, [str(texts[place])], [read[place].tokens])[0]
            outcome.rows[place] = replace(row, dropped=whole.dropped, counted=True)
            outcome.recalled[place] = replace(score, dropped=whole.dropped)
            counted.append(place)
        return counted

    def _find(
        self,
        texts: Sequence[object],
        outcome: CallState,
        known: Mapping[int, EncodedDocument],
        deadline: Deadline,
        wanted: Wanted,
    ) -> tuple[dict[int, bytes], dict[int, EncodedDocument]]:
        """Names of the texts whose halves are to be kept, and what is known of any, by place."""
        unread = outcome.unread
        found = {place: known[place] for place in unread if place in known}
        if self._halves is None or self.model.state_type is None:
            return {}, found
        names = {
            place: digest(str(texts[place]))
            for place in unread
            if (place not in found or found[place].states is None) and not deadline.spent
        }
        lately = self._halves.get(names.values())
        found |= {
            place: lately[name]
            for place, name in names.items()
            if name in lately and (lately[name].tokens.counted or wanted == "beginning")
        }
        return names, found

    def _remember(
        self, keys: Mapping[int, bytes], outcome: CallState, counted: Sequence[int]
    ) -> None:
        """Keep what went through every stage and was not known before, or was not `counted`."""
        if self._cache is None:
            return
        final = outcome.stages == len(self.model.stages)
        new = {
            key: _score(outcome, place)
            for place, key in keys.items()
            if final[place] and not outcome.cached[place]
        }
        new |= {keys[place]: outcome.recalled[place] for place in counted}
        self._cache.put(new)

    def _tokenise(
        self,
        prompt: TokenRow,
        texts: Sequence[object],
        outcome: CallState,
        deadline: Deadline,
        known: dict[int, EncodedDocument],
        wanted: Wanted,
    ) -> Steps[list[int]]:
        """Rows of the readable texts; gives their places. Stops where deadline is spent.

        What is tokenised becomes known.
        """
        alive: list[int] = []
        tokens = 0
        for places in _slices(outcome.unread, texts, READ):
            left = deadline.left_s
            if left is not None and tokens > 4 * self._worker.pace.tokens(left):
                break  # more than could be scored is not worth reading
            yield from self._read(texts, places, deadline, known, wanted)
            ready = [place for place in places if place in known]
            own = [str(texts[place]) for place in ready]
            rows = self.model.rows(prompt, own, [known[place].tokens for place in ready])
            for place, row in zip(ready, rows, strict=True):
                outcome.rows[place] = row
                outcome.precomputed[place] = _has_half(known.get(place), row)
                tokens += 0 if outcome.precomputed[place] else len(row.ids)
                if row.seen:
                    alive.append(place)
                outcome.statuses[place] = _status(row)
            if deadline.spent:
                break
        return alive

    def _read(
        self,
        texts: Sequence[object],
        places: Sequence[int],
        deadline: Deadline,
        known: dict[int, EncodedDocument],
        wanted: Wanted,
    ) -> Steps[None]:
        """Tokenise texts of which nothing is known, as far as deadline goes."""
        new = [place for place in places if place not in known]
        if deadline.spent or not new:
            return
        left = iter(new)
        for tokens in self.model.tokens([str(texts[place]) for place in new], wanted):
            if tokens is not None:
                known[next(left)] = EncodedDocument(tokens)
            if deadline.spent:
                return
            if tokens is None:
                yield None
        yield None

    def _request(
        self,
        prompt: TokenRow,
        alive: Sequence[int],
        outcome: CallState,
        deadline: Deadline,
        early_exit: EarlyExit | None,
        known: Mapping[int, EncodedDocument],
        names: Mapping[int, bytes],
    ) -> Request:
        per_token = self.model.state_bytes
        portion = self._max_states / PORTIONS / per_token if per_token else None
        stages = len(self.model.stages)
        exits = [*self._exits, *[None] * stages][: stages - 1]
        return Request(prompt, alive, outcome, deadline, exits, early_exit, portion, known, names)


def _finished(request: Request, submitted: float) -> None:
    """A request was run, or nobody waits for it any more."""
    outcome = request.outcome
    begun = request.begun or time.perf_counter()
    outcome.timings_ms["wait"] = (begun - submitted) * 1000
    outcome.timings_ms["score"] = (time.perf_counter() - begun) * 1000
    if request.error is not None:
        raise request.error
    if not request.finished:
        request.leave_recalled()
        _late(outcome, request.deadline)


def _slices(places: Sequence[int], texts: Sequence[object], most: int) -> Iterator[list[int]]:
    """Places in order, in lists of texts of so many characters together, or one longer text."""
    taken: list[int] = []
    size = 0
    for place in places:
        length = len(str(texts[place]))
        if taken and size + length > most:
            yield taken
            taken, size = [], 0
        taken.append(place)
        size += length
    if taken:
        yield taken


def _status(row: TokenRow) -> Status:
    if not row.seen:
        return "empty"
    return "cut" if row.dropped else "ok"


def _has_half(known: EncodedDocument | None, row: TokenRow) -> bool:
    """Whether a row's states are known, one for each of its tokens."""
    return known is not None and known.states is not None and len(known.states) == len(row.ids)


def _score(outcome: CallState, place: int) -> Score:
    """What a cache keeps of a row; at least so many tokens dropped are a number below 0."""
    row, means = outcome.rows[place], outcome.means
    mean = b"" if means is None else means[place].astype(np.float32).tobytes()
    dropped = row.dropped if row.counted else -row.dropped
    logits, tokens = outcome.by_stage[place], len(row.ids)
    return Score(logits, row.seen, dropped, row.end, mean, tokens)


def _late(outcome: CallState, deadline: Deadline) -> None:
    """Nobody waits any more: rows without a logit are late, others keep their best estimate."""
    outcome.note("the caller went away" if deadline.gone else "time was up")
    for place in outcome.unread:
        outcome.statuses[place] = "late"
