"""Answers to agents, as text and as JSON: each of the two has at most the tokens asked for.

A client shows its model one of the two. Texts of documents are marked as such: in the text by a tag
that none of them can close, in the JSON by its strings.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from resift.search.extracts import Extract, extract, heading, name_of, on_one_line, readable
from resift.search.snippets import snippet
from resift.search.token_counts import count_tokens, fitting
from resift.serve.agents.results import (
    NOTICE,
    IndexEntry,
    IndexesResult,
    PassageEntry,
    PassageResult,
    RankedEntry,
    RerankResult,
    SearchResult,
)
from resift.serve.responses import remarks
from resift.types import Candidate, Citation, Hit, Ranking, Receipt

INDEXES_TOKENS = 1_500
"""The most tokens of a list of indexes."""

RERANKED_TOKENS = (60, 40, 24, 12)
"""How many tokens of a reranked document are shown, if so many fit: the agent has the document."""

MAX_REMARK = 300  # characters

_MORE = "ask again with a larger max_tokens"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in two forms with the same content."""

    text: str
    result: BaseModel

    @property
    def structured(self) -> dict[str, Any]:
        """The JSON form. A field with its default value is left out, unless it is the notice."""
        values = self.result.model_dump(exclude_defaults=True)
        return {"notice": NOTICE, **values} if hasattr(self.result, "notice") else values

    @property
    def tokens(self) -> int:
        """The tokens of the longer form."""
        return max(count_tokens(self.text), count_tokens(compact(self.structured)))


def compact(value: object) -> str:
    """JSON as clients show it to models."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def passages_answer(ranking: Ranking, max_tokens: int) -> Answer:
    """The hits of a search: as many as fit, and as much of each."""
    notes = _notes(ranking.receipt, max_tokens)

    def make(room: int) -> Answer:
        extracts, left_out = extract(ranking.query, ranking, room, _overhead, _tokens_of_text)
        return _passages(extracts, len(left_out), notes)

    return _fitted(make, _passages([], len(ranking), notes), max_tokens)


def ranked_answer(ranking: Ranking, max_tokens: int) -> Answer:
    """The order of documents, as far as it fits, with as much of each as fits then."""
    notes = _notes(ranking.receipt, max_tokens)
    number = len(ranking)
    while number and (tokens := _ranked(ranking, number, 0, notes).tokens) > max_tokens:
        number = min(number - 1, number * max_tokens // tokens)
    for most in RERANKED_TOKENS:
        answer = _ranked(ranking, number, most, notes)
        if answer.tokens <= max_tokens:
            return answer
    return _ranked(ranking, number, 0, notes)


def passage_answer(passage: Candidate, start: int, max_tokens: int) -> Answer:
    """The piece of a passage that begins at `start` and fits. It has at least one character.

    The names and the URI of the passage are left out where they would fill most of the answer.
    """
    text = readable(passage.text)
    names = list(_values(passage))
    while names and _passage(passage, text, start, start, names).tokens > max_tokens * 2 // 3:
        names = names[:-1]

    def make(room: int) -> Answer:
        length = fitting(text[start:], room, _tokens_of_text)
        return _passage(passage, text, start, start + length, names)

    return _fitted(make, _passage(passage, text, start, start, names), max_tokens)


def _fitted(make: Callable[[int], Answer], empty: Answer, max_tokens: int) -> Answer:
    """The answer of the most tokens of texts that fits. `empty` is the answer without texts."""
    room = max_tokens - empty.tokens
    while (excess := (answer := make(room)).tokens - max_tokens) > 0 and room > 0:
        room -= excess
    return answer


def indexes_answer(entries: Sequence[IndexEntry]) -> Answer:
    """The indexes that fit into `INDEXES_TOKENS`."""
    number = len(entries)
    while (answer := _indexes(entries, number)).tokens > INDEXES_TOKENS:
        number = number * 9 // 10
    return answer


def _passages(extracts: Sequence[Extract], left_out: int, notes: list[str]) -> Answer:
    entries = [_entry(number, part) for number, part in enumerate(extracts, start=1)]
    tag = _tag(entry.text for entry in entries)
    blocks = [
        f"{_line(number, part.hit)}\n{_quoted(part.text, tag)}"
        for number, part in enumerate(extracts, start=1)
    ]
    if left_out:
        count = f"{left_out} more {'passage does' if left_out == 1 else 'passages do'}"
        blocks.append(f"{count} not fit: {_MORE}, or a smaller top_n.")
    elif not entries:
        blocks.append("No passage was found.")
    result = SearchResult(passages=entries, left_out=left_out, remarks=notes)
    return Answer(_text(blocks, notes), result)


def _ranked(ranking: Ranking, number: int, most: int, notes: list[str]) -> Answer:
    entries = [
        RankedEntry(
            rank=hit.rank,
            index=hit.index,
            score=_rounded(hit.score),
            status="" if hit.status == "ok" else hit.status,
            text=_beginning(hit, ranking.query, most),
        )
        for hit in ranking[:number]
    ]
    tag = _tag(entry.text for entry in entries)
    blocks = []
    for entry in entries:
        score = "no score" if entry.score is None else f"score {entry.score}"
        status = f", {entry.status}" if entry.status else ""
        quoted = f"\n{_quoted(entry.text, tag)}" if entry.text else ""
        blocks.append(f"{entry.rank}. documents[{entry.index}], {score}{status}{quoted}")
    left_out = len(ranking) - number
    if left_out:
        blocks.append(f"{left_out} more, of lower rank, do not fit: {_MORE}.")
    result = RerankResult(documents=entries, left_out=left_out, remarks=notes)
    return Answer(_text(blocks, notes), result)


def _passage(passage: Candidate, text: str, start: int, end: int, names: list[str]) -> Answer:
    next_start = end if end < len(text) else None
    values = {name: value for name, value in _values(passage).items() if name in names}
    result = PassageResult(
        **values,
        start=start,
        end=end,
        characters=len(text),
        next_start=next_start,
        text=text[start:end],
    )
    line = ", ".join(f"{name}: {on_one_line(str(value))}" for name, value in values.items())
    more = "The passage ends here."
    if next_start is not None:
        more = f"Call read_passage with start={next_start} for the next piece."
    quoted = _quoted(text[start:end], _tag([text[start:end]]))
    last = f"Characters {start} to {end} of {len(text)}. {more}"
    return Answer(_text([*filter(None, [line]), quoted, last], []), result)


def _indexes(entries: Sequence[IndexEntry], number: int) -> Answer:
    lines = [
        f"{entry.name}: {entry.passages} passages, version {entry.version} of {entry.created}"
        if entry.version is not None
        else f"{entry.name}: cannot be searched now"
        for entry in entries[:number]
    ]
    if not entries:
        lines.append("This server has no index; rerank works without one.")
    left_out = len(entries) - number
    if left_out:
        lines.append(f"{left_out} more are not shown.")
    return Answer(
        "\n".join(lines), IndexesResult(indexes=list(entries[:number]), left_out=left_out)
    )


def _entry(number: int, part: Extract) -> PassageEntry:
    hit = part.hit
    return PassageEntry(
        number=number,
        id=readable(hit.id),
        title=name_of(hit.title),
        **({} if hit.citation is None else _cited(hit.citation)),
        score=_rounded(hit.score),
        cut=part.is_cut,
        text=part.text,
    )


def _cited(citation: Citation) -> dict[str, Any]:
    return {
        "uri": readable(citation.uri),
        "page": citation.page,
        "row": citation.row,
        "heading": name_of(citation.heading),
    }


def _values(passage: Candidate) -> dict[str, Any]:
    """What is known of a passage beside its text; the most important first."""
    cited = {} if passage.citation is None else _cited(passage.citation)
    section = cited.pop("heading", "")
    values = {
        "id": readable(passage.id),
        **cited,
        "title": name_of(passage.title),
        "heading": section,
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


def _line(number: int, hit: Hit) -> str:
    score = "" if hit.score is None else f", score {_rounded(hit.score)}"
    return f"{heading(number, hit)} id: {on_one_line(hit.id)}{score}"


def _overhead(number: int, hit: Hit) -> int:
    """The tokens of a passage in an answer, beside its text."""
    entry = _entry(number, Extract(hit, 0, 0, "", True))
    block = f"{_line(number, hit)}\n{_quoted('', _tag([]))}"
    values = {"cut": True, **entry.model_dump(exclude_defaults=True)}
    return max(count_tokens(block), count_tokens(compact(values) + ","))


def _tokens_of_text(text: str) -> int:
    """The tokens of a text in the form that has more: JSON has marks for quotes and lines."""
    return max(count_tokens(text), count_tokens(compact(text)))


def _beginning(hit: Hit, query: str, max_tokens: int) -> str:
    """The best part of a hit, if there is room for any."""
    if not max_tokens:
        return ""
    read = hit.span if hit.span[0] < hit.span[1] else None
    piece = snippet(readable(hit.text), query, max_tokens, read, _tokens_of_text)
    return "" if piece is None else piece.text


def _tag(texts: Iterable[str]) -> str:
    """The name of a tag that none of the texts closes."""
    whole = "\n".join(texts).casefold()
    number = 1
    tag = "passage"
    while f"</{tag}" in whole:
        number += 1
        tag = f"passage-{number}"
    return tag


def _quoted(text: str, tag: str) -> str:
    return f"<{tag}>\n{text}\n</{tag}>"


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 3)


def _notes(receipt: Receipt, max_tokens: int) -> list[str]:
    """What an agent should know of a ranking, in at most a quarter of the tokens."""
    lines = [f"partial: {receipt.reason}"] if receipt.partial else []
    notes: list[str] = []
    for line in [*lines, *remarks(receipt)]:
        note = " ".join(readable(line[:MAX_REMARK]).split())
        if _tokens_of_text("\n".join([*notes, note])) <= max_tokens // 4:
            notes.append(note)
    return notes


def _text(blocks: Sequence[str], notes: Sequence[str]) -> str:
    return "\n\n".join([NOTICE, *blocks, *(f"Remark: {note}" for note in notes)])
