"""The second stage of an evaluation: a reranker, and its orders of candidates at many depths."""

import math
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resift.errors import InputError, QueryError, RerankerError, without_secrets
from resift.evaluation.first_stage import FirstStageCandidates, distinct, doc_id
from resift.evaluation.measures import CUTOFF
from resift.evaluation.result import Latency
from resift.rerank.base import BaseReranker
from resift.rerank.families.chain import Chain
from resift.rerank.options import checked_long_documents
from resift.rerank.reranker import Reranker
from resift.types import Candidate, LongDocuments, Ranking

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
TIMED_EVERY = 5  # queries; a timed query is scored depth by depth, which takes longer
SHOWN = 3 * CUTOFF  # candidates whose titles are recorded; several may be of one document

DepthAndWeight = tuple[int, float | None]
"""A depth and a fusion weight; None is the system's own weight."""


@dataclass(frozen=True, slots=True)
class SystemOptions:
    """A reranker to evaluate. `model` is a name of `open_ranker`; None is the settings' model.

    With `exact`, every pair goes through every layer, so that one pass gives all depths. Otherwise
    each depth is ranked with early exit for its first ten, as in a search. `long_documents` is that
    of `Reranker.rank`. The label shows no secret of a URL.
    """

    label: str
    model: str | None = None
    fusion_weight: float | None = None
    exact: bool = True
    long_documents: LongDocuments = "cut"

    def __post_init__(self) -> None:
        name, mark, options = self.label.partition("?")
        object.__setattr__(self, "label", f"{without_secrets(name)}{mark}{options}")


def parse_system(text: str) -> SystemOptions:
    """Parse ``MODEL[?fusion_weight=W][&exact=false][&long_documents=windows]``.

    MODEL is a name of `open_ranker`: ``bundled``, a folder, a hub id, a service, a chain.

    Raises `InputError` for other options.
    """
    model, _, options = text.partition("?")
    if not model.strip():
        raise InputError(
            f"--compare {text!r}: names no model; expected FOLDER or bundled, such as "
            "bundled?exact=false"
        )
    values: dict[str, Any] = {"label": text, "model": model}
    for option in filter(None, options.split("&")):
        name, _, value = option.partition("=")
        try:
            values[name] = _PARSERS[name](value)
        except (KeyError, ValueError, InputError) as error:
            option = name if "://" in model else option  # the query of a URL may be a secret
            raise InputError(
                f"{text}: {option} is not an option; expected fusion_weight=NUMBER, exact=false or "
                "long_documents=windows"
            ) from error
    return SystemOptions(**values)


def _weight(text: str) -> float:
    weight = float(text)
    if not 0 <= weight < math.inf:
        raise ValueError(text)
    return weight


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "fusion_weight": _weight,
    "exact": lambda text: {"true": True, "false": False}[text.lower()],
    "long_documents": checked_long_documents,
}


@dataclass(frozen=True, slots=True)
class Orders:
    """The candidates of one query, reranked.

    `indices` are indices of candidates, best first. `ms` are milliseconds by depth, if timed, and
    `tokens` by depth. With `from_cache`, scores are from a pair cache and nothing is timed.
    """

    indices: Mapping[DepthAndWeight, Sequence[int]]
    ms: Mapping[int, float]
    tokens: Mapping[int, int]
    from_cache: bool = False


class SecondStage:
    """A reranker with its options."""

    def __init__(self, options: SystemOptions, reranker: BaseReranker) -> None:
        self.options = options
        self.reranker = reranker

    def orders(
        self,
        query: str,
        candidates: Sequence[Candidate],
        depths: Sequence[int],
        weights: Sequence[float],
        timed: bool,
    ) -> Orders:
        """Rerank to each of the rising `depths`, with the system's weight and each of `weights`.

        `timed` scores depth by depth to measure the cost of each. With early exit, and with what is
        no local model, only the system's weight is used. Raises `QueryError` for a query that
        cannot be read.
        """
        if not (self.options.exact and isinstance(self.reranker, Reranker)):
            return self._by_rankings(query, candidates, depths)
        scored = self.reranker.score_candidates(
            query,
            candidates,
            depths=depths if timed else (),
            long_documents=self.options.long_documents,
        )
        default = self.options.fusion_weight
        indices = {
            (depth, weight): scored.order(
                depth=depth, fusion_weight=default if weight is None else weight
            )
            for depth in depths
            for weight in (None, *weights)
        }
        counts = {depth: min(depth, len(candidates)) for depth in depths}
        ms = {
            depth: scored.took_ms[count]
            for depth, count in counts.items()
            if count in scored.took_ms
        }
        if timed:  # depth by depth takes longer than all at once
            ms.pop(depths[-1], None)
        tokens = {depth: scored.tokens(depth) for depth in depths}
        return Orders(indices, {} if scored.cached else ms, tokens, scored.cached)

    def _by_rankings(
        self, query: str, candidates: Sequence[Candidate], depths: Sequence[int]
    ) -> Orders:
        """Rank each depth by a call; pruned candidates follow the first ten in their old order."""
        indices: dict[DepthAndWeight, Sequence[int]] = {}
        ms, tokens, from_cache = {}, {}, False
        for depth in depths:
            start = time.perf_counter()
            ranking = self.reranker.rank(
                query,
                candidates[:depth],
                CUTOFF,
                **self._arguments(),
            )
            _check_whole(self.reranker, ranking)
            ms[depth] = (time.perf_counter() - start) * 1000
            tokens[depth] = ranking.receipt.tokens
            from_cache = from_cache or ranking.receipt.cached > 0
            first = [hit.index for hit in ranking]
            rest = set(range(len(candidates[:depth]))) - set(first)
            indices[depth, None] = [*first, *sorted(rest)]
        return Orders(indices, {} if from_cache else ms, tokens, from_cache)

    def _arguments(self) -> dict[str, Any]:
        """The options that are set: not every reranker has all of them."""
        options = self.options
        arguments: dict[str, Any] = {}
        if options.fusion_weight is not None:
            arguments["fusion_weight"] = options.fusion_weight
        if options.long_documents != "cut":
            arguments["long_documents"] = options.long_documents
        return arguments


def _check_whole(reranker: BaseReranker, ranking: Ranking) -> None:
    """Raise `RerankerError` if a part of a chain failed: the order is not the chain's then."""
    if isinstance(reranker, Chain) and len(ranking.receipt.receipts) < len(reranker.depths):
        raise RerankerError(f"{reranker.name}: {ranking.receipt.reason}")


@dataclass(slots=True)
class SecondStageResults:
    """The orders of one system for the queries so far, and their cost.

    Orders are stored as compact indices into a query's candidates, since a query has dozens.
    `unreadable` and `from_cache` are query ids; `ms` are milliseconds by depth and query number.
    """

    unreadable: list[str] = field(default_factory=list)
    from_cache: list[str] = field(default_factory=list)
    _indices: dict[DepthAndWeight, dict[str, "array[int]"]] = field(default_factory=dict)
    _doc_ids: dict[str, tuple[Sequence[str], Sequence[str]]] = field(default_factory=dict)
    ms: dict[int, dict[int, float]] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)
    _pairs: dict[int, int] = field(default_factory=dict)

    def rerank(
        self,
        system: SecondStage,
        query: tuple[str, str, int],
        retrieved: FirstStageCandidates,
        depths: Sequence[int],
    ) -> list[Candidate]:
        """Rerank an (id, text, number) query to each depth; returns its best candidates.

        A query that the model cannot read keeps the first stage's order, as in a search.
        """
        query_id, text, number = query
        candidates = retrieved.candidates
        if not candidates:
            return []
        try:
            timed = len(depths) > 1 and number % TIMED_EVERY == 1
            orders = system.orders(text, candidates, depths, WEIGHTS, timed)
        except QueryError:
            self.unreadable.append(query_id)
            return []
        if orders.from_cache:
            self.from_cache.append(query_id)
        self._doc_ids[query_id] = [doc_id(candidate) for candidate in candidates], retrieved.tail
        type_code = "H" if len(candidates) < 65_536 else "I"
        for key, indices in orders.indices.items():
            self._indices.setdefault(key, {})[query_id] = array(type_code, indices)
        for depth in depths:
            if depth in orders.ms:
                self.ms.setdefault(depth, {})[number] = orders.ms[depth]
            self._tokens[depth] = self._tokens.get(depth, 0) + orders.tokens[depth]
            self._pairs[depth] = self._pairs.get(depth, 0) + min(depth, len(candidates))
        return [candidates[index] for index in orders.indices[depths[-1], None][:SHOWN]]

    def cost(self, depth: int, queries: int) -> tuple[Latency | None, float, float]:
        """Latency, and mean pairs and tokens per query."""
        timed = dict(self.ms.get(depth, {}))
        if len(timed) > 1:
            timed.pop(0, None)  # the first query warms up
        latency = Latency.of(list(timed.values()))
        return latency, self._pairs.get(depth, 0) / queries, self._tokens.get(depth, 0) / queries

    def has(self, key: DepthAndWeight) -> bool:
        """Whether any query was reranked with this depth and weight."""
        return key in self._indices

    def ranked(self, key: DepthAndWeight) -> dict[str, Sequence[str]]:
        """Document ids, best first, of each reranked query."""
        depth = key[0]
        ranked: dict[str, Sequence[str]] = {}
        for query_id, indices in self._indices.get(key, {}).items():
            ids, tail = self._doc_ids[query_id]
            ranked[query_id] = distinct([*(ids[index] for index in indices), *ids[depth:], *tail])
        return ranked
