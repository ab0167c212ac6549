"""What was seen of each query while it was evaluated: lists of documents, milliseconds."""

import statistics
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from resift.errors import QueryError
from resift.evaluation.first_stage import FirstStageCandidates, doc_id
from resift.evaluation.result import Latency
from resift.evaluation.second_stage import SecondStage
from resift.types import Candidate

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
TIMED_EVERY = 5  # queries; these are read depth by depth, which takes longer
CUT = 10  # what people look at
TITLED = 3 * CUT  # candidates that are named: several passages may be one document's
TITLE = 80  # characters of a text that has none

Lists = dict[str, Sequence[str]]
"""Query ids to ids of documents, best first."""

Key = tuple[int, float | None]
"""A depth, and a weight of the first stage's scores, None for the setting's own."""


@dataclass(slots=True)
class FirstSeen:
    """The first stage: its lists, with its own scores where it is a run.

    `windows` are the documents among a list's candidates, those that can be reranked.
    """

    lists: Lists = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    tied: list[str] = field(default_factory=list)
    _ms: list[float] = field(default_factory=list)
    _requests: int = 0

    def note(self, query_id: str, window: FirstStageCandidates) -> None:
        """Keep what a query's window says, but no texts."""
        candidates = _once(map(doc_id, window.candidates))
        self.windows[query_id] = len(candidates)
        self.lists[query_id] = _once([*candidates, *window.beyond])
        self.scores[query_id] = dict(window.scores) or {
            own: float(-rank) for rank, own in enumerate(self.lists[query_id])
        }
        own = [candidate.score for candidate in window.candidates[: CUT + 1]]
        if window.scores and any(score == other for score, other in pairwise(own)):
            self.tied.append(query_id)
        if window.ms is not None:
            self._ms.append(window.ms)
        self._requests += window.requests

    def note_titles(self, candidates: Sequence[Candidate]) -> None:
        """Keep what people call these documents."""
        for own in candidates:
            text = own.text if isinstance(own.text, str) else ""
            title = own.title or " ".join(text[: 2 * TITLE].split())[:TITLE]
            self.titles.setdefault(doc_id(own), title)

    @property
    def latency(self) -> Latency | None:
        """The first query loads and warms up: it is left out where there are others."""
        return latency(self._ms[1:] or self._ms)

    @property
    def requests(self) -> float:
        """To the object store, a query."""
        return self._requests / max(len(self.lists), 1)


@dataclass(slots=True)
class SecondSeen:
    """One system: its orders by (depth, weight), None the setting's own weight.

    Orders are kept as places among a query's candidates: of thousands of queries there are many.
    """

    _places: dict[Key, dict[str, "array[int]"]] = field(default_factory=dict)
    _ids: dict[str, tuple[Sequence[str], Sequence[str]]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    _ms: dict[int, dict[int, float]] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)
    _pairs: dict[int, int] = field(default_factory=dict)

    def rerank(
        self,
        system: SecondStage,
        query: tuple[str, str, int],
        window: FirstStageCandidates,
        depths: Sequence[int],
    ) -> list[Candidate]:
        """Rerank one (id, text, number) query to each depth; the first of the deepest come back.

        A query that the model cannot read keeps its order, as a search would answer.
        """
        query_id, text, number = query
        candidates = window.candidates
        if not candidates:
            return []
        try:
            timed = number % TIMED_EVERY == 1
            orders = system.orders(text, candidates, depths, WEIGHTS, timed)
        except QueryError:
            self.unread.append(query_id)
            return []
        if orders.recalled:
            self.recalled.append(query_id)
        self._ids[query_id] = [doc_id(own) for own in candidates], window.beyond
        kind = "H" if len(candidates) < 65_536 else "I"
        for key, places in orders.places.items():
            self._places.setdefault(key, {})[query_id] = array(kind, places)
        for depth in depths:
            if depth in orders.ms:
                self._ms.setdefault(depth, {})[number] = orders.ms[depth]
            self._tokens[depth] = self._tokens.get(depth, 0) + orders.tokens[depth]
            self._pairs[depth] = self._pairs.get(depth, 0) + min(depth, len(candidates))
        return [candidates[place] for place in orders.places[depths[-1], None][:TITLED]]

    def cost(self, depth: int, queries: int) -> tuple[Latency | None, float, float]:
        """Latency, pairs and tokens of a query."""
        timed = dict(self._ms.get(depth, {}))
        if len(timed) > 1:
            timed.pop(0, None)  # the first query warms up
        own = latency(list(timed.values()))
        return own, self._pairs.get(depth, 0) / queries, self._tokens.get(depth, 0) / queries

    def has(self, key: Key) -> bool:
        """Whether anything was reranked so."""
        return key in self._places

    def reranked(self, key: Key) -> Lists:
        """The lists of the queries that were reranked."""
        depth = key[0]
        lists: Lists = {}
        for query_id, places in self._places.get(key, {}).items():
            ids, beyond = self._ids[query_id]
            lists[query_id] = _once([*(ids[place] for place in places), *ids[depth:], *beyond])
        return lists

    def filled(self, first: Lists, key: Key) -> Lists:
        """The lists of all queries: those that were not reranked keep the first stage's."""
        return {**first, **self.reranked(key)}


def latency(ms: Sequence[float]) -> Latency | None:
    """Median and 95th percentile; None where nothing was timed."""
    if not ms:
        return None
    rising = sorted(ms)
    place = max(0, -(-95 * len(rising) // 100) - 1)  # nearest rank: a time that was seen
    return Latency(statistics.median(rising), rising[place], len(rising))


def _once(doc_ids: Iterable[str]) -> list[str]:
    """Each document where it first occurs: the best of its passages stands for it."""
    return list(dict.fromkeys(doc_ids))


def ranks(doc_ids: Sequence[str]) -> Mapping[str, int]:
    """Document → rank, from 1."""
    return {own: rank for rank, own in enumerate(doc_ids, 1)}
