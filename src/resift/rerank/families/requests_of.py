"""Documents → the texts of requests, and responses → scored candidates. Pure."""

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from resift.rerank.candidates import full_text
from resift.rerank.families.services.service import Answer, Scale, logit_of
from resift.rerank.state import CallState, CandidateTexts, DocumentState
from resift.rerank.tokenization import TokenRow
from resift.rerank.values import without_surrogates
from resift.types import Candidate

BODY_BYTES = 1_000
"""Room for everything in a body besides query and texts."""

_BYTES_BETWEEN = 2
_NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Text:
    """What is sent of the candidate at `index`; `is_cut` if that is only its beginning."""

    index: int
    text: str
    is_cut: bool = False


def readable_texts(candidates: Sequence[Candidate]) -> Iterator[tuple[int, str]]:
    """(index, text) of each candidate that has a text; the title comes first, as everywhere."""
    statuses = CallState.of(CandidateTexts(candidates)).statuses
    for index, (candidate, status) in enumerate(zip(candidates, statuses, strict=True)):
        text = full_text(candidate)
        if status == "ok" and isinstance(text, str) and text.strip():
            yield index, without_surrogates(text)


def chunks(
    query: str, candidates: Sequence[Candidate], max_documents: int, max_bytes: int
) -> list[list[Text]]:
    """The texts of each request, in order, within its limits.

    A text that is too large for a request is cut at its end.
    """
    room = max(max_bytes - BODY_BYTES - _size(query), BODY_BYTES)
    requests: list[list[Text]] = []
    free = 0
    for index, text in readable_texts(candidates):
        item = _fitting(index, text, room)
        size = _size(item.text) + _BYTES_BETWEEN
        if not requests or len(requests[-1]) == max_documents or size > free:
            requests.append([])
            free = room
        requests[-1].append(item)
        free -= size
    return requests


def _size(text: str) -> int:
    """Bytes of a text in JSON."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace"))


def _fitting(index: int, text: str, room: int) -> Text:
    size, end = _size(text) + _BYTES_BETWEEN, len(text)
    while size > room:
        end = min(end * room // size, end - 1)
        size = _size(text[:end]) + _BYTES_BETWEEN
    return Text(index, text[:end], is_cut=end < len(text))


def unscored_state(candidates: Sequence[Candidate], readable: Container[int]) -> CallState:
    """The state of a call without scores; candidates that are not `readable` are ``empty``."""
    state = CallState.of(CandidateTexts(candidates))
    state.statuses = [
        "empty" if status == "ok" and index not in readable else status
        for index, status in enumerate(state.statuses)
    ]
    return state


def scored_state(
    candidates: Sequence[Candidate],
    requests: Sequence[Sequence[Text]],
    responses: Sequence[Answer],
    scale: Scale,
) -> CallState:
    """The state of a call whose requests got these responses."""
    state = unscored_state(candidates, {text.index for texts in requests for text in texts})
    for texts, answer in zip(requests, responses, strict=True):
        state.tokens += answer.tokens
        for position, text in enumerate(texts):
            _add(state, text, answer, position, scale)
    state.positions = state.tokens
    return state


def _add(state: CallState, text: Text, answer: Answer, position: int, scale: Scale) -> None:
    """Add the score of the document at a `position` of a request."""
    score = answer.scores[position]
    unknown = TokenRow(_NO_IDS, 0, 0, 0, len(text.text), counted=False)
    row = answer.rows.get(position, unknown)
    if row.end > len(text.text):  # a server may answer anything
        row = replace(row, start=min(row.start, len(text.text)), end=len(text.text))
    status = answer.statuses.get(position, "ok")
    state.statuses[text.index] = "cut" if text.is_cut and status == "ok" else status
    logits = () if score is None else (logit_of(score, scale),)
    state.documents[text.index] = DocumentState(text.index, "", row, logits=logits)
