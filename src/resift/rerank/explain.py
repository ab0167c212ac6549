"""Explanations: why a document has its logit, and why one hit of a ranking is above another.

A document is explained by occlusion: it is scored once without each of its sentences. Zeiler and
Fergus (2014, https://arxiv.org/abs/1311.2901) did so with images, Li, Monroe and Jurafsky (2016,
https://arxiv.org/abs/1612.08220) with words. It works with any model. Two hits are compared by
their logits, fusion and feedback.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from resift.errors import InputError
from resift.rerank.candidates import as_candidates, check_query, title_part
from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.sentences import MAX_PARTS, sentences
from resift.rerank.values import is_text
from resift.types import Basis, Candidate, Comparison, DocumentLike, Explanation, Hit, Part

MAX_CHARACTERS = 2_000_000
"""Of all copies of a document together: longer documents have fewer parts."""

QUOTE = 60
"""The most characters of a sentence that a summary quotes."""

_WHY_NOT = {
    "empty": "there is nothing in it that this model can read",
    "not_text": "its text is not a string of characters",
    "failed": "the model gave no number for it",
}


class Occlusion:
    """Explains with a reranker's engine. Every ranking of the reranker holds it.

    Pickling or copying gives None, so that a stored ranking does not hold the model.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def explain(self, query: str, document: DocumentLike) -> Explanation:
        """Score a document with all parts and once without each, in one batch.

        A part has the effect None if nothing is left without it, such as the only sentence. Raises
        `InputError` if the document has no logit.
        """
        query = check_query(query)
        (candidate,) = as_candidates([document])
        text = _text(candidate)
        start, end = self._span(query, candidate, document)
        title = "" if start else candidate.title
        parts = _parts(title, text[:end], start)
        read = title_part(title) + text[start:end]
        without = [_without(title, text[:end], start, part) for part in parts]
        state = self._engine.score(query, [read, *without], fill_caches=False)
        logit, *rest = state.logits.tolist()
        if logit != logit:
            raise _unreadable(candidate.id, state.reason or state.statuses[0])
        return Explanation(
            id=candidate.id,
            rank=document.rank if isinstance(document, Hit) else None,
            logit=logit,
            parts=tuple(
                replace(part, effect=None if other != other else logit - other)
                for part, other in zip(parts, rest, strict=True)
            ),
            span=(start, end),
            unread=len(text) - (end - start),
        )

    def best_spans(
        self,
        query: str,
        documents: Sequence[tuple[Hit, Sequence[tuple[int, int]]]],
        budget_ms: float | None = None,
    ) -> list[tuple[int, int] | None]:
        """Of each hit's spans of its text the one that scores highest by itself, below the title.

        All are scored in one batch. None for a hit none of whose spans was scored: it cannot be
        read, or time was up. Explaining all hits instead would score each whole text many times.
        """
        spans = [(number, span) for number, (_, given) in enumerate(documents) for span in given]
        texts = [
            title_part(documents[n][0].title) + documents[n][0].text[a:b] for n, (a, b) in spans
        ]
        state = self._engine.score(query, texts, Deadline(budget_ms), fill_caches=False)
        best: list[tuple[int, int] | None] = [None] * len(documents)
        highest = [-math.inf] * len(documents)
        for (number, span), logit in zip(spans, state.logits.tolist(), strict=True):
            if logit > highest[number]:  # false for NaN, the logit of a text without a score
                best[number], highest[number] = span, logit
        return best

    def _span(self, query: str, candidate: Candidate, document: DocumentLike) -> tuple[int, int]:
        """The characters of the text that are explained: a hit's window, or the beginning."""
        if isinstance(document, Hit) and document.windows:
            return document.span
        title = title_part(candidate.title)
        end = self._engine.end_of_reading(query, title + candidate.text)
        return 0, max(end - len(title), 0)

    def compare(self, query: str, first: Hit, second: Hit) -> Comparison:
        """Why one of two hits of a ranking is above the other."""
        if first.rank == second.rank:
            raise InputError(f"rank {first.rank}: compared with itself; name two different hits")
        above, below = sorted((first, second), key=lambda hit: hit.rank)
        return make_comparison(
            above, below, self.try_explain(query, above), self.try_explain(query, below)
        )

    def try_explain(self, query: str, hit: Hit) -> Explanation | None:
        """`explain`; None for a hit or a query that cannot be read."""
        if hit.status in _WHY_NOT or not self._engine.model.query_row(query).seen:
            return None
        return self.explain(query, hit)


def _text(candidate: Candidate) -> str:
    text = candidate.text
    if not isinstance(text, str) or not is_text(title_part(candidate.title) + text):
        raise _unreadable(candidate.id, "not_text")
    return text


def _unreadable(name: str, status: str) -> InputError:
    return InputError(f"document {name}: nothing to explain: {_WHY_NOT.get(status, status)}")


def _parts(title: str, text: str, first: int) -> Sequence[Part]:
    """The parts of a title, and of a text from its character `first`, without effects."""
    read = text[first:]
    limit = max(min(MAX_PARTS, MAX_CHARACTERS // max(len(read), 1)), 1)
    parts = [
        Part(read[start:end], start + first, end + first, None)
        for start, end in sentences(read, limit)
    ]
    return [Part(title, 0, len(title), None, "title"), *parts] if title else parts


def _without(title: str, text: str, first: int, part: Part) -> str:
    """What was read, the title and a text from its character `first`, without a part of it."""
    if part.where == "title":
        return text[first:]
    return title_part(title) + text[first : part.start] + text[part.end :]


def make_comparison(
    above: Hit, below: Hit, above_explained: Explanation | None, below_explained: Explanation | None
) -> Comparison:
    """Compare `above` with `below`, which has the higher rank number."""
    logit = fusion = feedback = lead = None
    if above.logit is not None and below.logit is not None:
        lead = (above.logit + above.fusion + above.feedback) - (
            below.logit + below.fusion + below.feedback
        )
        logit = above.logit - below.logit
        fusion = above.fusion - below.fusion
        feedback = above.feedback - below.feedback
    basis = _basis(above, lead)
    quotes = [text for part in (above_explained, below_explained) if (text := _quote(part))]
    against = f" ({' against '.join(quotes)})" if quotes else ""
    shares = (
        (logit, f"from the logit{against}"),
        (fusion, "from the first stage"),
        (feedback, "from feedback"),
    )
    parts = [f"{share:+.2f} {source}" for share, source in shares if share]
    summary = _sentence(above, below, basis, lead) + (f": {', '.join(parts)}" if parts else "")
    return Comparison(
        above=above,
        below=below,
        basis=basis,
        lead=lead,
        logit=logit,
        fusion=fusion,
        feedback=feedback,
        above_explained=above_explained,
        below_explained=below_explained,
        summary=summary,
    )


def _basis(above: Hit, lead: float | None) -> Basis:
    if lead is None:
        return "first_stage" if above.logit is None else "unscored"
    if lead == 0:
        return "tie"
    return "score" if lead > 0 else "exit"  # a pruned hit may have the higher sum


def _sentence(above: Hit, below: Hit, basis: Basis, lead: float | None) -> str:
    upper, lower = f"rank {above.rank}", f"rank {below.rank}"
    if basis == "first_stage":
        return f"{upper} and {lower} keep the first stage's order: {above.status}, {below.status}"
    if basis == "unscored":
        return f"{upper} is above {lower}, which has no score: {below.status}"
    if basis == "tie":
        is_equal = above.logit == below.logit
        reason = "an earlier position in the list" if is_equal else "a higher logit"
        return f"{upper} and {lower} are level; {reason} came first"
    if basis == "exit":
        return (
            f"{upper} is above {lower}, which was pruned after stage {below.stages} of the model"
            f" although it led by {-(lead or 0.0):.2f} then"
        )
    return f"{upper} is above {lower} by {lead:.2f}"


def _quote(explanation: Explanation | None) -> str:
    """The strongest part, shortened, with its effect."""
    for part in explanation.strongest(1) if explanation else ():
        words = " ".join(part.text[: 4 * QUOTE].split())
        short = words if len(words) <= QUOTE else words[: QUOTE - 1].rstrip() + "…"
        return f"“{short}” {part.effect:+.2f}"
    return ""
