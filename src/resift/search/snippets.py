"""The piece of a passage that a reader should see first: round its best sentence, within a budget.

The best sentence shares most rare words with the query. Knows no model: the reranker has chosen the
passage already, and perhaps the part of it (`Hit.span`).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from resift.index.analysis.characters import is_unspaced
from resift.rerank.sentences import sentences
from resift.search.token_counts import Count, count_tokens, fitting

MAX_CHARACTERS = 50_000
"""So much of a text is looked at, round the part that was read or at the beginning."""

BEGINNING = 5
"""Letters that "delete", "deleted" and "deletion" have in common: a stem without a stemmer."""

_LETTERS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Snippet:
    """Characters `start` to `end` of a text, without white space at both ends."""

    text: str
    start: int
    end: int


def snippet(
    text: str,
    query: str,
    max_tokens: int,
    span: tuple[int, int] | None = None,
    count: Count = count_tokens,
) -> Snippet | None:
    """Whole sentences of at most `max_tokens` tokens round the best one; None if nothing fits.

    With `span`, the best sentence is one of this range, such as `Hit.span`. A sentence that is
    longer than the budget is cut after a word. `count` may count more tokens than `count_tokens`.
    """
    parts = _parts(text, *_region(len(text), span))
    best = _best(text, parts, query, span)
    if best is None:
        return None
    first, last = _grown(text, parts, best, max_tokens, count)
    if first == last:
        return _piece_of(text, *parts[best], query, max_tokens, count)
    return _trimmed(text, parts[first][0], parts[last - 1][1])


def words(text: str) -> list[str]:
    """The words of a text in lower case, cut to their first letters, and parts at underscores.

    Of scripts without spaces each sign is a word. This is how a query and a text are compared where
    no index and so no analyser is at hand.
    """
    return [word for word, _ in _words_at(text, 0, len(text))]


def _words_at(text: str, start: int, end: int) -> Iterator[tuple[str, int]]:
    """The words of a range, and where each begins."""
    for match in _LETTERS.finditer(text, start, end):
        if match[0].isascii():
            yield match[0].lower()[:BEGINNING], match.start()
            continue
        for has_no_spaces, signs in groupby(enumerate(match[0], match.start()), _is_unspaced):
            run = list(signs)
            if has_no_spaces:
                yield from ((sign.casefold(), at) for at, sign in run)
            else:
                yield "".join(sign for _, sign in run).casefold()[:BEGINNING], run[0][0]


def _is_unspaced(sign: tuple[int, str]) -> bool:
    return is_unspaced(sign[1])


def _region(length: int, span: tuple[int, int] | None) -> tuple[int, int]:
    """The range of a text that is looked at."""
    start, end = span or (0, 0)
    room = max(MAX_CHARACTERS - (end - start), 0)
    begin = max(min(start, length) - room // 2, 0)
    return begin, min(begin + MAX_CHARACTERS, length)


def _parts(text: str, begin: int, stop: int) -> list[tuple[int, int]]:
    """The sentences of a range."""
    spans = sentences(text[begin:stop], max_parts=stop - begin)
    return [(begin + start, begin + end) for start, end in spans]


def _best(
    text: str, parts: Sequence[tuple[int, int]], query: str, span: tuple[int, int] | None
) -> int | None:
    """The index of the part whose words of the query are worth most; of equal parts the first.

    A word is worth less the more of the parts have it. None if all parts are white space.
    """
    wanted = set(words(query))
    present = [wanted.intersection(words(text[start:end])) for start, end in parts]
    frequencies = Counter(word for part_words in present for word in part_words)
    worth = {word: math.log1p(len(parts) / number) for word, number in frequencies.items()}
    start, end = span or (0, len(text))
    visible = [index for index, part in enumerate(parts) if not text[slice(*part)].isspace()]
    inside = [index for index in visible if parts[index][0] < end and parts[index][1] > start]
    return max(
        inside or visible,
        key=lambda index: math.fsum(worth[word] for word in present[index]),
        default=None,
    )


def _grown(
    text: str, parts: Sequence[tuple[int, int]], best: int, max_tokens: int, count: Count
) -> tuple[int, int]:
    """The range of parts that fit: the best one, and in turn the one after and the one before."""
    first, last = best, best + 1
    remaining = max_tokens - count(text[slice(*parts[best])])
    if remaining < 0:
        return best, best
    is_next = True
    while True:
        sides = (last, first - 1) if is_next else (first - 1, last)
        fits = (
            (index, tokens)
            for index in sides
            if 0 <= index < len(parts)
            and (tokens := count(text[slice(*parts[index])])) <= remaining
        )
        index, tokens = next(fits, (None, 0))
        if index is None:
            break
        remaining -= tokens
        first, last = min(first, index), max(last, index + 1)
        is_next = not is_next
    while count(text[parts[first][0] : parts[last - 1][1]]) > max_tokens:  # of a word that was cut
        first, last = (first, last - 1) if last - 1 - best > best - first else (first + 1, last)
    return first, last


def _piece_of(
    text: str, start: int, end: int, query: str, max_tokens: int, count: Count
) -> Snippet | None:
    """The beginning of a sentence that is too long; from its first word of the query, if later."""
    wanted = set(words(query))
    start += len(text[start:end]) - len(text[start:end].lstrip())
    stop = start + fitting(text[start:end], max_tokens, count)
    first = next((at for word, at in _words_at(text, start, end) if word in wanted), start)
    if first >= stop:
        start, stop = first, first + fitting(text[first:end], max_tokens, count)
    return _trimmed(text, start, stop)


def _trimmed(text: str, start: int, end: int) -> Snippet | None:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    piece = piece.strip()
    return Snippet(piece, start, start + len(piece)) if piece else None
