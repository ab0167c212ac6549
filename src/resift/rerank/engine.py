"""One call: recall → find what is kept → tokenise → hand over → wait → remember.

Texts in, logits in input order out. A caller tokenises in its own thread, hands its rows to the
`Worker` that all threads share, sleeps, and wakes when they are done or its patience is spent.
Knows no first stage, no ranks and no documents; a row that cannot be scored is marked and costs
nobody else anything.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from resift.rerank.artifact import Exit
from resift.rerank.cache import PairCache
from resift.rerank.cache_file import Score
from resift.rerank.kept import HalfCache, Known, digest, pack
from resift.rerank.outcome import Outcome
from resift.rerank.pairs import TokenRow
from resift.rerank.patience import Patience
from resift.rerank.progressive import Race
from resift.rerank.request import Request
from resift.rerank.schedule import WAVE
from resift.rerank.stages import Model
from resift.rerank.tuning import Tuning
from resift.rerank.worker import Worker
from resift.types import Kept

MAX_WAITING_TOKENS = 1_000_000
"""More waiting work than this is refused: half a minute of a small machine."""

MAX_MEMORY_MB = 512
"""For all that running takes beyond the loaded model."""

BATCH_MB = 200
"""What a batch takes of that: activations, and a runtime's arena (measured)."""

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
        self._cache = cache
        self._halves = halves
        self._worker = Worker(model, self._max_states, max_waiting_tokens, halves, tuning)

    def step(
        self,
        query: str,
        texts: Sequence[object],
        patience: Patience | None = None,
        race: Race | None = None,
        known: Mapping[int, Known] | None = None,
        *,
        remembered: bool = True,
    ) -> Outcome:
        """Score each text against the query, as far as the caller's patience goes.

        With `race`, candidates that cannot reach its first `top_n` any more are let go at the
        exits. `known` are texts by place that need not be read again. Of a query of which the model
        knows no word nothing is scored. What is not to be `remembered` fills no cache: nobody will
        ask for it again. Raises `QueryError` for a
        query that does not fit whole and `Overloaded` where too much is waiting already.
        """
        patience = patience or Patience()
        start = time.perf_counter()
        prompt = self.model.read(query)
        outcome = Outcome.of(texts)
        outcome.query_unknown_share = prompt.unknown / (prompt.unknown + prompt.seen)
        if not prompt.seen:
            outcome.leave("the query has no word that this model knows")
            return outcome
        keys = self._recall(query, texts, outcome)
        names, found = self._find(texts, outcome, known or {})
        names = names if remembered else {}
        alive = self._tokenise(prompt, texts, outcome, patience, found)
        tokenised = time.perf_counter()
        outcome.timings_ms["tokenise"] = (tokenised - start) * 1000
        recalled = outcome.recalled if race else {}  # a race goes as it would without a cache
        if alive or recalled:
            places = sorted([*alive, *recalled])
            request = self._request(prompt, places, outcome, patience, race, found, names)
            self._finish(request, tokenised)
        if outcome.unread:
            _late(outcome, patience)
        if remembered:
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

    def reads_to(self, query: str, text: str) -> int:
        """The character of a text at which the model stops reading beside this query."""
        rows = self.model.rows(self.model.read(query), [text], self.model.ids([text]))
        return rows[0].end

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
            if patience.spent or (left is not None and tokens > 4 * self._worker.pace.tokens(left)):
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
        names: Mapping[int, bytes],
    ) -> Request:
        per_token = self.model.state_bytes
        portion = self._max_states / PORTIONS / per_token if per_token else None
        stages = len(self.model.stages)
        exits = [*self._exits, *[None] * stages][: stages - 1]
        return Request(prompt, alive, outcome, patience, exits, race, portion, known, names)

    def _finish(self, request: Request, submitted: float) -> None:
        """Hand a request to the worker and sleep until it is done or nobody waits any more."""
        outcome = request.outcome
        if not request.patience.spent:
            if request.advance():
                request.finished = True
            else:
                self._worker.run(request)
        begun = request.begun or time.perf_counter()
        outcome.timings_ms["wait"] = (begun - submitted) * 1000
        outcome.timings_ms["score"] = (time.perf_counter() - begun) * 1000
        if request.error is not None:
            raise request.error
        if not request.finished:
            request.leave_recalled()
            _late(outcome, request.patience)


def _has_half(known: Known | None, row: TokenRow) -> bool:
    """Whether a row's states are known, one for each of its tokens."""
    return known is not None and known.states is not None and len(known.states) == len(row.ids)


def _score(outcome: Outcome, place: int) -> Score:
    """What a cache keeps of a row."""
    row, means = outcome.rows[place], outcome.means
    mean = b"" if means is None else means[place].astype(np.float32).tobytes()
    logits, tokens = outcome.by_stage[place], len(row.ids)
    return Score(logits, row.seen, row.dropped, row.end, mean, tokens)


def _late(outcome: Outcome, patience: Patience) -> None:
    """Nobody waits any more: rows without a logit are late, others keep their best estimate."""
    outcome.note("the caller went away" if patience.gone else "time was up")
    for place in outcome.unread:
        outcome.statuses[place] = "late"
