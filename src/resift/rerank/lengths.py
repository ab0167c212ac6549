"""Texts and a number of tokens: their beginnings, and how much a model leaves unread.

Knows no ranking.
"""

from collections.abc import Iterable, Iterator

from resift.errors import InputError, shown
from resift.rerank.candidates import iterate
from resift.rerank.characters import next_border
from resift.rerank.models import Model
from resift.rerank.text_tokens import TextTokens
from resift.rerank.values import is_text, string, whole


def cut(model: Model, texts: Iterable[str], max_tokens: int) -> list[str]:
    """The beginning of each text, of at most so many tokens; what is not text stays as it is."""
    most = whole(max_tokens)
    if most is None or most < 1:
        raise InputError(f"max_tokens={shown(max_tokens)}: expected a whole number from 1")
    read = _listed(texts)
    return [
        text if tokens is None else text[: _end(model, text, tokens, most)]
        for text, tokens in zip(read, _beginnings(model, read, most), strict=True)
    ]


def dropped(model: Model, query: str, texts: Iterable[str]) -> list[int]:
    """How many tokens of each text do not fit beside a query; of a long one at least so many."""
    row, read = model.query_row(query), _listed(texts)
    return [
        0 if tokens is None else model.rows(row, [text], [tokens])[0].dropped
        for text, tokens in zip(read, _beginnings(model, read), strict=True)
    ]


def taken(model: Model, query: str) -> int:
    """How many of the tokens that the model reads with a document are not the document's."""
    row = model.query_row(query)
    return len(model.rows(row, [""])[0].ids) + len(row.ids) * model.shares_prefix


def _listed(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("texts: expected a list of texts, got str; put it in a list: [text]")
    return list(iterate(texts, "texts"))


def _beginnings(
    model: Model, texts: list[str], most: int | None = None
) -> Iterator[TextTokens | None]:
    """The first tokens of each text, one after the other; None for what is not text."""
    for text in texts:
        plain = string(text)
        is_read = plain is not None and is_text(plain)
        yield _beginning(model, plain or "", most) if is_read else None


def _beginning(model: Model, text: str, most: int | None) -> TextTokens:
    read = model.tokens([text], "beginning", most)
    return next(tokens for tokens in read if tokens is not None)


def _end(model: Model, text: str, tokens: TextTokens, most: int) -> int:
    """The end of the longest beginning of at most so many tokens that splits no character.

    It is read once more: a character that the next tokens are a part of too has others by itself.
    """
    if len(tokens.ids) <= most:
        return len(text)
    last = len(text)
    for stop in model.ends(text, tokens)[:most][::-1]:
        end = next_border(text, int(stop))
        if end < last and len(_beginning(model, text[:end], most).ids) <= most:
            return end
        last = end
    return 0
