"""Which parts of a document moved its logit: each is left out once and the rest is read anew.

Occlusion, as Zeiler and Fergus (2014, https://arxiv.org/abs/1311.2901) did with images and Li,
Monroe and Jurafsky (2016, https://arxiv.org/abs/1612.08220) with words. It asks the model itself,
through every stage, and is true of any model; it knows nothing of attention or gradients. Knows no
first stage: what that added to a hit is `compare`'s.
"""

from collections.abc import Sequence

from resift.errors import InputError
from resift.rerank.candidates import as_candidates, check_query, title_part
from resift.rerank.compare import compared
from resift.rerank.engine import Engine
from resift.rerank.sentences import MAX_PARTS, sentences
from resift.rerank.values import is_text
from resift.types import Candidate, Comparison, Explanation, Given, Hit, Part

MOST_CHARACTERS = 2_000_000
"""Of all readings of a document together: fewer parts where it is longer, as by endless spaces."""

_WHY = {
    "empty": "there is nothing in it that this model can read",
    "not_text": "its text is no string of characters",
    "failed": "the model gave no number for it",
}


class Occlusion:
    """An engine, asked once more for each part of a document.

    Every ranking of a reranker holds it. Pickled or copied it becomes None: nobody who keeps a
    ranking means to keep the model.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def explain(self, query: str, document: Given) -> Explanation:
        """What moves the logit of a document for a query; one batch, a reading for each part.

        A part without which nothing is left has no effect to tell (None): a text of one sentence
        without a title. Raises `InputError` where there is no logit.
        """
        query = check_query(query)
        (own,) = as_candidates([document])
        title, text = title_part(own.title), _text(own)
        end = max(self._engine.end_of_reading(query, title + text) - len(title), 0)
        parts = _places(own.title, text[:end])
        without = [_without(title, text[:end], part) for part in parts]
        outcome = self._engine.score(query, [title + text[:end], *without], remembered=False)
        logit, *left = outcome.logits.tolist()
        if logit != logit:
            raise _unreadable(own.id, outcome.reason or outcome.statuses[0])
        return Explanation(
            id=own.id,
            rank=document.rank if isinstance(document, Hit) else None,
            logit=logit,
            parts=tuple(
                Part(part.text, part.start, part.end, _effect(logit, rest), part.where)
                for part, rest in zip(parts, left, strict=True)
            ),
            span=(0, end),
            unread=len(text) - end,
        )

    def compare(self, query: str, one: Hit, other: Hit) -> Comparison:
        """Why the higher of two hits of a ranking stands above the lower."""
        if one.rank == other.rank:
            raise InputError(f"rank {one.rank}: compared with itself; name two different hits")
        above, below = sorted((one, other), key=lambda hit: hit.rank)
        return compared(above, below, self.explained(query, above), self.explained(query, below))

    def explained(self, query: str, hit: Hit) -> Explanation | None:
        """`explain`, or None for a hit that cannot be read, or beside a query that cannot."""
        if hit.status in _WHY or not self._engine.model.query_row(query).seen:
            return None
        return self.explain(query, hit)


def _text(own: Candidate) -> str:
    if not isinstance(own.text, str) or not is_text(title_part(own.title) + own.text):
        raise _unreadable(own.id, "not_text")
    return own.text


def _unreadable(name: str, status: str) -> InputError:
    return InputError(f"document {name}: nothing to explain: {_WHY.get(status, status)}")


def _places(title: str, text: str) -> Sequence[Part]:
    """The parts of what is read; their effects are not known yet."""
    most = max(min(MAX_PARTS, MOST_CHARACTERS // max(len(text), 1)), 1)
    own = [Part(text[start:end], start, end, None) for start, end in sentences(text, most)]
    return [Part(title, 0, len(title), None, "title"), *own] if title else own


def _without(title: str, text: str, part: Part) -> str:
    """What is left to read."""
    return text if part.where == "title" else title + text[: part.start] + text[part.end :]


def _effect(logit: float, rest: float) -> float | None:
    return logit - rest if rest == rest else None
