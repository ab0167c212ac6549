"""The loop: tokenise → wait → take the next batch → run a stage → scatter → advance.

Texts in, logits in input order out. Calls of many threads share one worker, which fills its
batches with rows of all of them and gives each call its fair share of the machine. A caller
tokenises in its own thread, sleeps, and wakes when its rows are done or its patience is spent.
Knows no first stage, no ranks and no documents; a row that cannot be scored is marked and costs
nobody else anything.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from resift.errors import Overloaded, RuntimeFailure
from resift.rerank.artifact import Exit
from resift.rerank.cache import PairCache, Score
from resift.rerank.kept import HalfCache, Known, digest, pack
from resift.rerank.pairs import TokenRow
from resift.rerank.patience import Patience
from resift.rerank.progressive import Race
from resift.rerank.request import Outcome, Request
from resift.rerank.schedule import TOKEN_BUDGET, WAVE, fill, first_batch, padded_length
from resift.rerank.stages import Batch, Halves, Model, Stage
from resift.rerank.tuning import Tuning
from resift.types import Kept

IDLE_S = 1.0
"""A worker with nothing to do ends after so long; the next call starts another."""

MAX_WAITING_TOKENS = 1_000_000
"""More waiting work than this is refused: half a minute of a small machine."""

BATCHES_LEFT = 4
"""A batch takes at most this part of the time that a caller has left."""

MAX_MEMORY_MB = 512
"""For all that running takes beyond the loaded model."""

BATCH_MB = 200
"""What a batch takes of that: activations, and a runtime's arena (measured)."""

PORTIONS = 4
"""No call's states take more than this part of the memory that there is for states."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Pair:
    """A row of a request, about to run, with all that it needs: its caller may leave meanwhile."""

    request: Request
    place: int
    row: TokenRow
    states: Halves | None
    logit: float


@dataclass(frozen=True, slots=True)
class _Found:
    """What a stage gave for a pair, or why it gave nothing; `length` is what it was padded to."""

    pair: _Pair
    length: int
    logit: float = np.nan
    states: Halves | None = None
    mean: Floats | None = None
    fault: str | None = None


class _Pace:
    """How many tokens a second the machine gets done, of late."""

    def __init__(self) -> None:
        self._tokens, self._seconds = 1_000.0, 0.1  # a guess, soon outweighed

    def add(self, tokens: int, seconds: float) -> None:
        self._tokens = 0.98 * self._tokens + tokens
        self._seconds = 0.98 * self._seconds + seconds

    def tokens(self, seconds: float) -> float:
        """How many get done in so long."""
        return seconds * self._tokens / self._seconds

    def seconds(self, tokens: int) -> float:
        """How long so many take."""
        return tokens * self._seconds / self._tokens


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
        halves: HalfCache | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        """`exits` says what is known after each stage but the last; none is known of those missing.

        `max_memory_mb` is for all that running takes beyond the loaded model, `cache` has scores
        of pairs that went through every stage, `halves` documents' halves; `tuning` says how large
        a batch is.
        """
        self.model = model
        self._exits = exits
        self._max_states = (max_memory_mb - BATCH_MB) * 1e6
        self._max_waiting_tokens = max_waiting_tokens
        self._cache = cache
        self._halves = halves
        self._tuning = tuning
        self._pace = _Pace()
        self._begin()
        if hasattr(os, "register_at_fork"):  # a child has no worker, and nothing waits there
            os.register_at_fork(after_in_child=partial(_begin_anew, ref(self)))

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._worker: threading.Thread | None = None

    def step(
        self,
        query: str,
        texts: Sequence[object],
        patience: Patience | None = None,
        race: Race | None = None,
        known: Mapping[int, Known] | None = None,
    ) -> Outcome:
        """Score each text against the query, as far as the caller's patience goes.

        With `race`, candidates that cannot reach its first `top_n` any more are let go at the
        exits. `known` are texts by place that need not be read again. Raises `QueryError` for a
        query that does not fit whole and `Overloaded` where too much is waiting already.
        """
        patience = patience or Patience()
        start = time.perf_counter()
        prompt = self.model.read(query)
        outcome = Outcome.of(texts)
        keys = self._recall(query, texts, outcome)
        names, found = self._find(texts, outcome, known or {})
        alive = self._tokenise(prompt, texts, outcome, patience, found)
        tokenised = time.perf_counter()
        outcome.timings_ms["tokenise"] = (tokenised - start) * 1000
        if alive:
            request = self._request(prompt, alive, outcome, patience, race, found)
            request.names, request.known = names, found
            self._finish(request, tokenised)
        if outcome.unread:
            _late(outcome, patience)
        self._remember(keys, outcome)
        return outcome

    def keep(self, texts: Sequence[object], fingerprint: str, states: bool) -> list[Kept | None]:
        """What is known of each text without a query; None for one that cannot be read."""
        places = Outcome.of(texts).unread
        own = [str(texts[place]) for place in places]
        ids = self.model.ids(own)
        known = [Known(one) for one in ids]
        if states:
            for place, half in self.model.halves(own, ids):
                known[place] = replace(known[place], states=half)
        kept: list[Kept | None] = [None] * len(texts)
        for place, text, one in zip(places, own, known, strict=True):
            kept[place] = pack(text, one, fingerprint)
        return kept

    def _recall(self, query: str, texts: Sequence[object], outcome: Outcome) -> dict[int, bytes]:
        """Take from the cache what it has; returns the keys of all readable texts by place."""
        if self._cache is None:
            return {}
        places = [place for place, status in enumerate(outcome.statuses) if status == "ok"]
        keys = dict(
            zip(places, self._cache.keys(query, [str(texts[p]) for p in places]), strict=True)
        )
        found = self._cache.get(list(keys.values()))
        for place, key in keys.items():
            if key in found:
                outcome.recall(place, found[key], len(self.model.stages))
        return keys

    def _find(
        self, texts: Sequence[object], outcome: Outcome, known: Mapping[int, Known]
    ) -> tuple[dict[int, bytes], dict[int, Known]]:
        """Names of the texts whose halves are to be kept, and what is known of any, by place."""
        unread = outcome.unread
        found = {place: known[place] for place in unread if place in known}
        if self._halves is None or self.model.kept_type is None:
            return {}, found
        names = {
            place: digest(str(texts[place]))
            for place in unread
            if place not in found or found[place].states is None
        }
        lately = self._halves.get(names.values())
        found |= {place: lately[name] for place, name in names.items() if name in lately}
        return names, found

    def _remember(self, keys: Mapping[int, bytes], outcome: Outcome) -> None:
        """Keep what went through every stage and was not known before."""
        if self._cache is None:
            return
        final = outcome.stages == len(self.model.stages)
        new = {
            key: _score(outcome, place)
            for place, key in keys.items()
            if final[place] and not outcome.cached[place]
        }
        self._cache.put(new)

    def _tokenise(
        self,
        prompt: TokenRow,
        texts: Sequence[object],
        outcome: Outcome,
        patience: Patience,
        known: dict[int, Known],
    ) -> list[int]:
        """Rows of the readable texts; returns their places. Stops where patience is spent.

        What is tokenised becomes known.
        """
        places = outcome.unread
        size = WAVE if patience.bounded else max(len(places), 1)
        alive: list[int] = []
        tokens = 0
        for first in range(0, len(places), size):
            left = patience.left_s
            if patience.spent or (left is not None and tokens > 4 * self._pace.tokens(left)):
                break  # more than could be scored is not worth reading
            wave = places[first : first + size]
            for place, row in zip(wave, self._rows(prompt, texts, wave, known), strict=True):
                outcome.rows[place] = row
                outcome.kept[place] = _has_half(known.get(place), row)
                tokens += 0 if outcome.kept[place] else len(row.ids)
                if not row.seen:
                    outcome.statuses[place] = "empty"
                elif row.dropped:
                    outcome.statuses[place] = "cut"
                if row.seen:
                    alive.append(place)
        return alive

    def _rows(
        self,
        prompt: TokenRow,
        texts: Sequence[object],
        places: Sequence[int],
        known: dict[int, Known],
    ) -> list[TokenRow]:
        """Only texts of which nothing is known are tokenised."""
        new = [place for place in places if place not in known]
        ids = self.model.ids([str(texts[place]) for place in new])
        known |= {place: Known(own) for place, own in zip(new, ids, strict=True)}
        own = [str(texts[place]) for place in places]
        return self.model.rows(prompt, own, [known[place].ids for place in places])

    def _request(
        self,
        prompt: TokenRow,
        alive: Sequence[int],
        outcome: Outcome,
        patience: Patience,
        race: Race | None,
        known: Mapping[int, Known],
    ) -> Request:
        per_token = self.model.state_bytes
        portion = self._max_states / PORTIONS / per_token if per_token else None
        stages = len(self.model.stages)
        exits = [*self._exits, *[None] * stages][: stages - 1]
        kept = {
            place: states
            for place in alive
            if outcome.kept[place] and (states := known[place].states) is not None
        }
        return Request(prompt, alive, outcome, patience, exits, race, portion, kept)

    def _finish(self, request: Request, submitted: float) -> None:
        """Hand a request to the worker and sleep until it is done or nobody waits any more."""
        outcome = request.outcome
        if not request.patience.spent:
            self._submit(request)
            try:
                request.patience.wait()
            finally:
                self._leave(request)
        begun = request.begun or time.perf_counter()
        outcome.timings_ms["wait"] = (begun - submitted) * 1000
        outcome.timings_ms["score"] = (time.perf_counter() - begun) * 1000
        if request.error is not None:
            raise request.error
        if not request.finished:
            _late(outcome, request.patience)

    def _submit(self, request: Request) -> None:
        with self._changed:
            waiting = sum(other.waiting_tokens for other in self._requests)
            excess = waiting + request.waiting_tokens - self._max_waiting_tokens
            if waiting and excess > 0:
                raise Overloaded(waiting, self._pace.seconds(excess))
            request.served = min((other.served for other in self._requests), default=0.0)
            self._requests.append(request)
            if self._worker is None:
                self._worker = threading.Thread(
                    target=self._work, name="resift-engine", daemon=True
                )
                self._worker.start()
            self._changed.notify()

    def _leave(self, request: Request) -> None:
        """Done or not, the request is no longer worked on."""
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)
            request.close()

    def _work(self) -> None:
        """The worker's whole life: a batch at a time until nothing waits."""
        while True:
            with self._changed:
                pairs = self._take()
                if not pairs:
                    if not self._changed.wait(IDLE_S) and not self._requests:
                        self._worker = None
                        return
                    continue
                stage = self.model.stages[pairs[0].request.stage]
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

        Rows whose halves were kept say nothing about reading.
        """
        lengths = [len(p.row.ids) for p in pairs if not p.request.outcome.kept[p.place]]
        if not lengths:
            return
        first = pairs[0].request.stage == 0
        self._pace.add(sum(lengths) if first else 0, seconds * len(lengths) / len(pairs))
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
        budget = self._token_budget(first.patience.left_s)
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
        return min(most, int(self._pace.tokens(left_s) / BATCHES_LEFT))

    def _has_room(self, request: Request) -> bool:
        """Whether the states of a portion fit beside those that are kept; then they are counted."""
        if not request.holds:
            need = request.portion_tokens * self.model.state_bytes
            kept = sum(other.holds * self.model.state_bytes for other in self._requests)
            if kept and kept + need > self._max_states:
                return False
            request.holds = request.portion_tokens
        return True

    def _run(self, stage: Stage, pairs: Sequence[_Pair]) -> Iterator[_Found]:
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
                yield _Found(pairs[0], length, fault=str(error))
                return
            for pair in pairs:
                yield from self._run(stage, [pair])
            return
        keep = out.states is not None and stage is not self.model.stages[-1]
        for number, (pair, logit) in enumerate(zip(pairs, logits, strict=True)):
            states = None
            if keep and out.states is not None:
                same = out.states is given  # nothing was encoded: no need of a second copy
                states = pair.states if same else out.states[number, : len(pair.row.ids)].copy()
            mean = None if out.means is None else out.means[number]
            fault = None if np.isfinite(logit) else "the model gave no finite logit"
            yield _Found(pair, length, float(logit), states, mean, fault)

    def _batch(self, pairs: Sequence[_Pair], length: int) -> Batch:
        """What a stage reads of pairs; a request's own half is made with its first batch."""
        halves = []
        for pair in pairs:
            request = pair.request
            if request.half is None:
                request.half = self.model.half(request.prompt)
            halves.append(request.half)
        rows = [pair.row for pair in pairs]
        states = _padded([pair.states for pair in pairs], length)
        before = np.array([pair.logit for pair in pairs], np.float32)
        logits = None if states is None else before
        return Batch(rows, halves, states, logits)

    def _scatter(self, found: Sequence[_Found]) -> None:
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

    def _keep(self, own: _Found) -> None:
        """Remember a document's half that was just made."""
        request, place = own.pair.request, own.pair.place
        name = request.names.pop(place, None)
        if self._halves is not None and name is not None and own.states is not None:
            self._halves.put(name, Known(request.known[place].ids, own.states))

    def _hand_on(self, error: Exception, pairs: Sequence[_Pair]) -> None:
        with self._changed:
            for request in {pair.request for pair in pairs}:
                if not request.closed:
                    request.error = error
                    self._done(request)

    def _done(self, request: Request) -> None:
        request.finished = True
        self._requests.remove(request)
        request.patience.done()


def _begin_anew(engine: "ref[Engine]") -> None:
    own = engine()
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


def _has_half(known: Known | None, row: TokenRow) -> bool:
    """Whether a row's states are known, one for each of its tokens."""
    return known is not None and known.states is not None and len(known.states) == len(row.ids)


def _score(outcome: Outcome, place: int) -> Score:
    """What a cache keeps of a row."""
    row, means = outcome.rows[place], outcome.means
    mean = b"" if means is None else means[place].astype(np.float16).tobytes()
    return Score(float(outcome.logits[place]), row.seen, row.dropped, row.end, mean)


def _late(outcome: Outcome, patience: Patience) -> None:
    """Nobody waits any more: rows without a logit are late, others keep their best estimate."""
    outcome.note("the caller went away" if patience.gone else "time was up")
    for place in outcome.unread:
        outcome.statuses[place] = "late"


def _padded(states: Sequence[Halves | None], length: int) -> Halves | None:
    """States of rows between stages → ``(rows, length, dim)``; None before the first stage."""
    known = [own for own in states if own is not None]
    if len(known) != len(states) or not known:
        return None
    batch = np.zeros((len(known), length, known[0].shape[1]), known[0].dtype)
    for place, own in enumerate(known):
        batch[place, : len(own)] = own
    return batch
