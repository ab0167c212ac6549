"""Why a document has its logit, and why one hit of a ranking is above another.

A document is explained by occlusion, as Zeiler and Fergus (2014, https://arxiv.org/abs/1311.2901)
did with images and Li, Monroe and Jurafsky (2016, https://arxiv.org/abs/1612.08220) with words: it
is scored once without each of its sentences. That holds for any model. Hits are compared by the
numbers in them.
"""

from collections.abc import Sequence

from resift.errors import InputError
from resift.rerank.candidates import as_candidates, check_query, title_part
from resift.rerank.engine import Engine
from resift.rerank.sentences import MAX_PARTS, sentences
from resift.rerank.values import is_text
from resift.types import Basis, Candidate, Comparison, DocumentLike, Explanation, Hit, Part

MOST_CHARACTERS = 2_000_000
"""Of all copies of a document together: a longer document has fewer parts."""

QUOTE = 60
"""Characters of a sentence that a summary quotes."""

_WHY_NOT = {
    "empty": "there is nothing in it that this model can read",
    "not_text": "its text is not a string of characters",
    "failed": "the model gave no number for it",
}


class Occlusion:
    """Explains with a reranker's engine. Every ranking of the reranker holds it.

    Pickled or copied it becomes None: a stored ranking should not bring the model along.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def explain(self, query: str, document: DocumentLike) -> Explanation:
        """What moves the logit of a document for a query, in one batch with a row for each part.

        A part without which nothing is left, such as the only sentence, has the effect None. Raises
        `InputError` where there is no logit.
        """
        query = check_query(query)
        (candidate,) = as_candidates([document])
        title, text = title_part(candidate.title), _text(candidate)
        end = max(self._engine.end_of_reading(query, title + text) - len(title), 0)
        parts = _parts(candidate.title, text[:end])
        without = [_without(title, text[:end], part) for part in parts]
        state = self._engine.score(query, [title + text[:end], *without], remembered=False)
        logit, *rest = state.logits.tolist()
        if logit != logit:
            raise _unreadable(candidate.id, state.reason or state.statuses[0])
        return Explanation(
            id=candidate.id,
            rank=document.rank if isinstance(document, Hit) else None,
            logit=logit,
            parts=tuple(
                Part(part.text, part.start, part.end, _effect(logit, left), part.where)
                for part, left in zip(parts, rest, strict=True)
            ),
            span=(0, end),
            unread=len(text) - end,
        )

    def compare(self, query: str, first: Hit, second: Hit) -> Comparison:
        """Why the higher of two hits of a ranking is above the lower."""
        if first.rank == second.rank:
            raise InputError(f"rank {first.rank}: compared with itself; name two different hits")
        above, below = sorted((first, second), key=lambda hit: hit.rank)
        return compared(above, below, self.explained(query, above), self.explained(query, below))

    def explained(self, query: str, hit: Hit) -> Explanation | None:
        """`explain`, or None for a hit or a query that cannot be read."""
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


def _parts(title: str, text: str) -> Sequence[Part]:
    """The parts of what is read, without effects."""
    limit = max(min(MAX_PARTS, MOST_CHARACTERS // max(len(text), 1)), 1)
    parts = [Part(text[start:end], start, end, None) for start, end in sentences(text, limit)]
    return [Part(title, 0, len(title), None, "title"), *parts] if title else parts


def _without(title: str, text: str, part: Part) -> str:
    return text if part.where == "title" else title + text[: part.start] + text[part.end :]


def _effect(logit: float, rest: float) -> float | None:
    return logit - rest if rest == rest else None


def compared(
    above: Hit, below: Hit, above_explained: Explanation | None, below_explained: Explanation | None
) -> Comparison:
    """`above` has the lower rank of the two; the explanations are of these hits."""
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
