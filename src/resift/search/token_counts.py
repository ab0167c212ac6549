"""How many tokens a text has, where a language model will read it within a budget.

Tokens are those of the bundled model, as for chunks, but counted so that no text seems shorter than
it is: a character that the vocabulary does not know counts as a token, and so does one that the
tokenizer skips, such as a zero-width space. Of white space, eight characters in a row count as one.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from resift.rerank.artifact import TOKENIZER
from resift.rerank.catalogue import BUNDLED
from resift.rerank.characters import last_border
from resift.rerank.native import native
from resift.rerank.sentences import sentence_starts
from resift.rerank.tokenization import load_tokenizer
from resift.rerank.values import without_surrogates

Count = Callable[[str], int]
"""Counts the tokens of a text."""

MAX_CHARACTERS_PER_TOKEN = 40
"""A longest word of the vocabulary, with the white space around it."""

_SLICE = 8_192  # characters that are tokenized at once
_UNKNOWN = "[UNK]"
_CONTINUED = "##"
_SPACES_PER_TOKEN = 8
_LOOK_BACK = 60  # characters, for white space to cut at
# Text of which the tokenizer skips nothing but white space.
_PLAIN = re.compile(
    "[\\t\\n\\r -~\\u00a1-\\u00ac\\u00ae-\\u017f\\u0370-\\u0481\\u048a-\\u052f\\u2010-\\u2026"
    "\\u2190-\\u23ff\\u4e00-\\u9fff]*"
)
_LONG_SPACES = re.compile(rf"\s{{{_SPACES_PER_TOKEN}}}")


def count_tokens(text: str) -> int:
    """The number of tokens. Counts of texts that white space separates add up."""
    return sum(_count(piece) for piece in _slices(without_surrogates(text)))


def fitting(text: str, max_tokens: int, count: Count = count_tokens) -> int:
    """How many characters of a text's beginning have at most so many tokens.

    The cut is after a sentence if one ends in the second part of that beginning, else at white
    space if that is near, else between characters as a reader sees them. At least one character,
    if it fits.
    """
    allowed = max_tokens
    while allowed > 0:
        end = _cut(text, _longest(text, allowed))
        tokens = count(text[:end])
        if tokens <= max_tokens:
            return end
        allowed = min(allowed - 1, allowed * max_tokens // tokens)
    return int(bool(text) and 0 < max_tokens >= count(text[:1]))


def _longest(text: str, max_tokens: int) -> int:
    """Where the last of so many tokens ends; the whole length if there are no more."""
    end = 0
    for number, stop in enumerate(_token_ends(text), start=1):
        if number > max_tokens:
            return end
        end = stop
    return len(text)


def _cut(text: str, end: int) -> int:
    if end >= len(text):
        return len(text)
    sentences = [start for start in sentence_starts(text[: end + 1]) if end // 2 < start <= end]
    if sentences:
        return sentences[-1]
    if text[end].isspace():
        return end
    near = max(end - _LOOK_BACK, end // 2)
    spaces = [at for at in range(near, end) if text[at].isspace()]
    return spaces[-1] + 1 if spaces else last_border(text, end) or end


def _token_ends(text: str) -> Iterator[int]:
    """The end of each token, unknown character and gap between them; ends ascend."""
    at = 0
    for piece in _slices(without_surrogates(text)):
        last = 0
        for token, (start, end) in _tokens(piece):
            yield from _skipped(piece[last:start], at + last)
            word = 0 if token == _UNKNOWN else len(token.removeprefix(_CONTINUED))
            yield from range(at + min(start + max(word, 1), end), at + end + 1)
            last = end
        yield from _skipped(piece[last:], at + last)
        at += len(piece)


def _slices(text: str) -> Iterator[str]:
    """A text in slices, cut before white space, which no token crosses."""
    at = 0
    while at < len(text):
        piece = text[at : at + _SLICE]
        if at + _SLICE < len(text):
            border = max(piece.rfind(" "), piece.rfind("\n")) + 1
            piece = piece[:border].rstrip() or piece
        yield piece
        at += len(piece)


def _count(piece: str) -> int:
    """How many ends `_token_ends` gives for a slice; of plain text without making them."""
    if _PLAIN.fullmatch(piece):
        with native:
            (encoding,) = _tokenizer().encode_batch_fast([piece], add_special_tokens=False)
        ids = encoding.ids
        if _unknown_id() not in ids:
            return len(ids) + len(_LONG_SPACES.findall(piece))
    return sum(1 for _ in _token_ends(piece))


def _skipped(gap: str, at: int) -> Iterator[int]:
    """The ends of what counts in a range without tokens that begins at `at`."""
    spaces = 0
    for end, sign in enumerate(gap, start=at + 1):
        spaces = spaces + 1 if sign.isspace() else 0
        if spaces % _SPACES_PER_TOKEN == 0:
            yield end


def _tokens(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    with native:
        (encoding,) = _tokenizer().encode_batch([text], add_special_tokens=False)
    return zip(encoding.tokens, encoding.offsets, strict=True)


@cache
def _unknown_id() -> int | None:
    unknown: int | None = _tokenizer().token_to_id(_UNKNOWN)
    return unknown


@cache
def _tokenizer() -> Any:
    return load_tokenizer(BUNDLED / TOKENIZER)
