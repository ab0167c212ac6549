"""What a reranking service is: its requests, its responses, and its limits. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resift.errors import shown
from resift.rerank.options import RankOptions
from resift.rerank.tokenization import TokenRow
from resift.types import Candidate, Hit, Receipt, Status

Scale = Literal["probability", "cosine", "logit"]
"""The range of a service's scores: 0 to 1, -1 to 1, or any number."""

RANGES: Mapping[Scale, tuple[float, float]] = {
    "probability": (0.0, 1.0),
    "cosine": (-1.0, 1.0),
    "logit": (-math.inf, math.inf),
}

SCORED: tuple[Status, ...] = ("ok", "cut")
UNREADABLE: tuple[Status, ...] = ("empty", "not_text")
"""The statuses of documents that have a score, and of those that can have none."""

MAX_NUMBER = 3.4028234663852886e38
"""The largest number of 32 bits, in which scores are computed."""

MAX_LOGIT = 40.0
"""Logits of scores are cut at this: doubles next to 1 have 36.7, so only 0 and 1 are beyond."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The scores of a response, by the position of the document in the request.

    None is a document that the service did not score; `statuses` has the reason. `rows` is what the
    service read of a document, if it tells. `tokens` is how many tokens it counted.
    """

    scores: Sequence[float | None]
    tokens: int = 0
    statuses: Mapping[int, Status] = field(default_factory=dict)
    rows: Mapping[int, TokenRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WholeRanking:
    """What a service takes and gives that ranks as the library does, with all its options.

    `body` makes the JSON of a request from model, query, candidates, options, and the milliseconds
    that the service has (None for no limit). `answer` reads the hits in rank order and the receipt
    from the JSON of the response, and raises `ValueError` if that is no ranking.
    """

    body: Callable[
        [str | None, str, Sequence[Candidate], RankOptions, float | None], dict[str, Any]
    ]
    answer: Callable[[Any, Sequence[Candidate], RankOptions], tuple[list[Hit], Receipt]]


@dataclass(frozen=True, slots=True)
class Service:
    """A reranking service.

    `body` makes the JSON of a request from model, query and texts; `answer` reads the JSON of its
    response for so many texts and raises `ValueError` if that is no answer. `url` is the base URL,
    None if users run the service themselves; `path` follows it. A request holds at most
    `max_documents` texts and `max_bytes` bytes. `key` names the setting with the key of `url`.
    `limits_path` gives the server's own limit of documents, which `max_documents_of` reads. A
    service with `ranking` is asked for rankings in one request; `body` is for scores alone then.
    """

    name: str
    path: str
    body: Callable[[str | None, str, Sequence[str]], dict[str, Any]]
    answer: Callable[[Any, int], Answer]
    max_documents: int
    max_bytes: int
    url: str | None = None
    model: str | None = None
    key: str | None = None
    scale: Callable[[str | None], Scale] = lambda _: "probability"
    limits_path: str | None = None
    max_documents_of: Callable[[Any], int | None] = lambda _: None
    ranking: WholeRanking | None = None


def rows_of(response: Any, name: str) -> list[Any]:
    """The list `name` of a response. Raises `ValueError` if there is none."""
    rows = response.get(name) if isinstance(response, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"expected a JSON object with a list {name}")
    return rows


def scores_of(rows: Any, count: int, name: str) -> list[float]:
    """The scores of `count` documents in their order. Each row has ``index`` and the score `name`.

    Raises `ValueError` unless there is one number for each document.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects")
    if len(rows) != count:
        raise ValueError(f"{len(rows)} results for {count} documents")
    scores: dict[int, float] = {}
    for row in rows:
        index = row.get("index")
        if type(index) is not int or not 0 <= index < count or index in scores:
            raise ValueError(f"index {shown(index)}: expected 0 to {count - 1}, each once")
        scores[index] = number_of(row.get(name), name)
    return [scores[index] for index in range(count)]


def relevance_scores(rows: str, *tokens: str) -> Callable[[Any, int], Answer]:
    """`Service.answer` for rows with ``relevance_score`` at `rows`, and a count at `tokens`."""

    def answer(response: Any, count: int) -> Answer:
        scores = scores_of(rows_of(response, rows), count, "relevance_score")
        return Answer(scores, tokens_of(response, *tokens))

    return answer


def number_of(value: Any, name: str) -> float:
    """A number that is finite in 32 bits. Raises `ValueError`."""
    try:
        score = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        score = math.nan
    if not abs(score) <= MAX_NUMBER:
        raise ValueError(f"{name} {shown(value)}: expected a number of 32 bits")
    return score


def tokens_of(response: Any, *names: str) -> int:
    """A count of tokens somewhere in a response; 0 if it is not there."""
    for name in names:
        response = response.get(name) if isinstance(response, dict) else None
    return response if type(response) is int and 0 <= response < 2**53 else 0


def checked(answer: Answer, scale: Scale) -> Answer:
    """The answer; raises `ValueError` for a score out of the range of `scale`."""
    low, high = RANGES[scale]
    for score in answer.scores:
        if score is not None and not low <= score <= high:
            raise ValueError(f"score {score:g}: expected {low:g} to {high:g}")
    return answer


def logit_of(score: float, scale: Scale) -> float:
    """The logit of a score. Rises with the score, and equal scores have equal logits."""
    if scale == "logit":
        return score
    probability = (1 + score) / 2 if scale == "cosine" else score
    if probability <= 0:
        return -MAX_LOGIT
    if probability >= 1:
        return MAX_LOGIT
    logit = math.log(probability) - math.log1p(-probability)
    return min(max(logit, -MAX_LOGIT), MAX_LOGIT)
