"""The sentence of a hit that a reader should see first: the reranker's, or by shared words.

Knows no terminal.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence

from resift.errors import ResiftError
from resift.rerank.explain import Occlusion
from resift.rerank.sentences import sentences
from resift.search.snippets import words
from resift.types import Hit, Ranking

Span = tuple[int, int]

_LOG = logging.getLogger("resift")

MAX_SENTENCES = 8
"""So many sentences of a hit are scored: those that share most words with the query."""

MAX_ALL = 120
"""So many of all hits together: fewer of each, and none of the last, in a long list."""

_MAX_SEARCHED = 20_000  # characters of a text that are searched for the best sentence
_MAX_WEIGHT = 8  # of a word; its weight is its length, because long words are rare
_SHORT = 100  # characters; the length of a shorter sentence hardly counts


def best_sentences(ranking: Ranking, budget_ms: float | None = None) -> list[Span | None]:
    """The best sentence of each hit, as a span of its text.

    With a reranker it is the sentence that scores highest by itself, below the title; all are
    scored in one batch. Without it, without time for it, or if it fails, `best_sentence`.
    """
    by_words = [best_sentence(ranking.query, text_of(hit)) for hit in ranking]
    if not isinstance(ranking.explainer, Occlusion) or (budget_ms is not None and budget_ms <= 0):
        return by_words
    choices = _all_choices(ranking)
    try:
        scored = ranking.explainer.best_spans(ranking.query, choices, budget_ms)
    except ResiftError as error:  # the ranking itself is complete
        _LOG.warning("the reranker failed; words choose the best sentences: %s", error)
        scored = [None] * len(choices)
    return [span or other for span, other in zip(scored, by_words, strict=True)]


def best_sentence(query: str, text: str) -> Span | None:
    """``(start, end)`` of the sentence that shares most words with a query, or None.

    Long words weigh more than short words, words in few sentences more than words in many, and the
    weight of a sentence is divided by the root of its length. The first of equals wins.
    """
    spans = sentences(text[:_MAX_SEARCHED], max_parts=_MAX_SEARCHED)
    best, best_weight = None, 0.0
    for span, weight in zip(spans, _weights(query, text, spans), strict=True):
        if weight > best_weight:
            best, best_weight = span, weight
    return best


def _all_choices(ranking: Ranking) -> list[tuple[Hit, list[Span]]]:
    """Each hit with its sentences that are scored, at most `MAX_ALL` together."""
    limit = min(MAX_SENTENCES, max(MAX_ALL // len(ranking), 2)) if len(ranking) else 0
    remaining = MAX_ALL
    choices = []
    for hit in ranking:
        spans = _choices(ranking.query, hit, limit) if remaining >= limit else []
        remaining -= len(spans)
        choices.append((hit, spans))
    return choices


def _choices(query: str, hit: Hit, limit: int) -> list[Span]:
    """At most `limit` sentences of a hit, in order; none of a hit without a score."""
    if hit.logit is None:
        return []
    start, end = hit.span
    end = min(end, start + _MAX_SEARCHED)
    read = sentences(hit.text[start:end], max_parts=_MAX_SEARCHED)
    spans = [(start + first, start + last) for first, last in read]
    spans = [span for span in spans if not hit.text[slice(*span)].isspace()]
    if len(spans) < 2:  # nothing to choose from
        return []
    weights = _weights(query, hit.text, spans)
    order = sorted(range(len(spans)), key=lambda index: -weights[index])
    return [spans[index] for index in sorted(order[:limit])]


def _weights(query: str, text: str, spans: Sequence[Span]) -> list[float]:
    wanted = set(words(query))
    shared = [wanted.intersection(words(text[start:end])) for start, end in spans]
    frequency = Counter(term for terms in shared for term in terms)
    return [
        sum(min(len(term), _MAX_WEIGHT) / frequency[term] for term in terms)
        / math.sqrt(_SHORT + end - start)
        for (start, end), terms in zip(spans, shared, strict=True)
    ]


def text_of(hit: Hit) -> str:
    """The text; empty for a candidate whose text is not a string."""
    return hit.text if isinstance(hit.text, str) else ""
