"""(query, document) → token ids. Truncation cuts the document, never the query.

The query is tokenised once a call. The special tokens come from the tokenizer's own template, such
as BERT's ``[CLS] q [SEP] d [SEP]`` or RoBERTa's ``<s> q </s></s> d </s>``. All unknown words have
the same token, [UNK], and would match each other, so rows leave it out. "[SEP]" in a text is text.
Knows no model and no runtime.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from resift.errors import ArtifactError, QueryError
from resift.rerank.batching import padded_length
from resift.rerank.characters import next_border
from resift.rerank.native import native
from resift.rerank.text_tokens import SLICE, Reader, TextTokens, Wanted
from resift.rerank.values import without_surrogates

MIN_DOCUMENT_TOKENS = 16
"""A query that leaves less room for a document is refused."""

Ids = NDArray[np.int64]

_MARKER = "\u2581"  # what SentencePiece puts before a word


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence for the encoder, and how much of the document it holds.

    `ids` is ``(tokens,)`` with special tokens; positions from `second` on have token type 1. `seen`
    and `dropped` count the document's tokens; without `counted`, `dropped` is a lower bound. The
    document was read from character `start` to `end`; `unknown` tokens in between were left out.
    `windows` is 0, or for a long document that is read in windows their number.
    """

    ids: Ids
    second: int
    seen: int
    dropped: int
    end: int
    counted: bool = True
    unknown: int = 0
    start: int = 0
    windows: int = 0

    @property
    def unknown_share(self) -> float:
        """The share of the tokens that were read which the model does not know, 0..1."""
        return self.unknown / max(self.unknown + self.seen, 1)


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens before the first text, between the texts, and after the last."""

    prefix: Ids
    middle: Ids
    suffix: Ids


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``, without its truncation and padding.

    Special tokens in texts are read as text: otherwise a document could end the query.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for any fault
        raise ArtifactError(f"{path}: not a readable tokenizer.json ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # as text
    return tokenizer


class Tokens:
    """A tokenizer with a limit: makes rows of one text, or of a query and a document."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        *,
        known_only: bool = True,
        marker: Sequence[int] = (),
    ) -> None:
        """With `known_only`, rows leave out unknown words; `marker` precedes a row's one text."""
        self._unknown = _unknown_id(tokenizer) if known_only else None
        self._vocabulary = tokenizer.get_vocab_size()
        self._special = _special_ids(tokenizer)
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        single = _template(tokenizer, pair=False)
        marked = np.concatenate([single.prefix, np.array(marker, np.int64)])
        self._single = replace(single, prefix=marked)
        self._pair = _template(tokenizer, pair=True)
        added = tokenizer.get_added_tokens_decoder().values()
        longest = max((len(token.content) for token in added), default=0)
        skips_spaces = not self._encode("  \n").ids
        word_start = tokenizer.token_to_id(_MARKER)
        self._reader = Reader(self._encode, longest, skips_spaces, word_start)
        self._slice = min(6 * max_tokens, SLICE)

    def read(
        self, texts: Sequence[str], wanted: Wanted = "count", most: int | None = None
    ) -> Iterator[TextTokens | None]:
        """Each text's tokens in order, without special ones; of a long text over `most`.

        None for `most` is `max_tokens`. Within a long text, None after each slice, so that a caller
        can check its deadline.
        """
        short = [text for text in texts if len(text) <= self._slice]
        with native:
            encodings = self._tokenizer.encode_batch_fast(short, add_special_tokens=False)
        encodings_in_order = iter(encodings)
        for text in texts:
            if len(text) <= self._slice:
                yield TextTokens(_ids(next(encodings_in_order)))
            else:
                limit = len(text) if wanted == "all" else most or self.max_tokens
                yield from self._reader.read(text, limit, wanted)

    def ends(self, text: str, tokens: TextTokens) -> Ids:
        """The character at which each of a text's first tokens ends, ``(n,)``, ascending.

        The text is read again if these are not known.
        """
        if tokens.ends is not None:
            return tokens.ends[: len(tokens.ids)]
        return self._ends(text, len(tokens.ids))

    def _encode(self, text: str) -> Any:
        """A text's encoding, with offsets. Lone surrogates, late in a long text, are replaced.

        A batch of one, because only batches release the interpreter's lock.
        """
        with native:
            try:
                return self._tokenizer.encode_batch([text], add_special_tokens=False)[0]
            except TypeError:
                text = without_surrogates(text)
                return self._tokenizer.encode_batch([text], add_special_tokens=False)[0]

    def single(
        self, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        """One row per text, cut to `max_tokens`; `tokens` are the texts' tokens if already read."""
        rows = self._rows(texts, tokens, self._single.prefix, self._single.suffix)
        return [replace(row, second=len(row.ids)) for row in rows]

    def whole_query(self, text: str) -> TokenRow:
        """A query's row without a document. Raises `QueryError` if it is too long."""
        row = self.single([text], [self._beginning(text)])[0]
        tokens = row.seen + row.unknown
        if row.dropped:
            raise too_long(tokens + row.dropped, row.counted, tokens)
        if not tokens:
            raise unreadable()
        return self._without_signs(row, row.ids)

    def knows(self, query: str) -> bool:
        """Whether the tokenizer knows a word of a query, or a sign if it has no words."""
        row = self.single([query], [self._beginning(query)])[0]
        return self._without_signs(row, row.ids).seen > 0

    def _beginning(self, text: str) -> TextTokens:
        return next(tokens for tokens in self.read([text], "beginning") if tokens is not None)

    def head(self, query: str) -> TokenRow:
        """The tokens before the document in each pair. Raises `QueryError` if they are too many."""
        tokens = self._beginning(query)
        ids = tokens.ids
        template = self._pair
        special = len(template.prefix) + len(template.middle) + len(template.suffix)
        room = self.max_tokens - special - MIN_DOCUMENT_TOKENS
        if tokens.total > room:
            raise too_long(tokens.total, tokens.counted, room)
        if not len(ids):
            raise unreadable()
        known = self._known(ids)
        head = np.concatenate([template.prefix, known, template.middle])
        unknown = len(ids) - len(known)
        row = TokenRow(head, len(head), len(known), 0, len(query), unknown=unknown)
        return self._without_signs(row, known)

    def _without_signs(self, query: TokenRow, ids: Ids) -> TokenRow:
        """Count signs between unknown words as unknown: they would match signs in any document."""
        if not query.unknown:
            return query
        names = [
            self._tokenizer.id_to_token(int(token)) for token in ids if self.are_text_tokens(token)
        ]
        if any(sign.isalnum() for name in names for sign in name or ""):
            return query
        return replace(query, seen=0, unknown=query.seen + query.unknown)

    def pairs(
        self, head: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        """One row per document, with the whole query; the document is cut to `max_tokens`."""
        return self._rows(texts, tokens, head.ids, self._pair.suffix)

    def _rows(
        self,
        texts: Sequence[str],
        tokens: Sequence[TextTokens] | None,
        head: Ids,
        suffix: Ids,
        taken: int = 0,
    ) -> list[TokenRow]:
        """Rows of head, document and suffix; `taken` tokens of the limit are not in the row."""
        room = self.max_tokens - taken - len(head) - len(suffix)
        second = len(head)
        rows = []
        if tokens is None:
            tokens = [text_tokens for text_tokens in self.read(texts) if text_tokens is not None]
        for text_tokens, text in zip(tokens, texts, strict=True):
            ids, dropped, end = text_tokens.ids, max(text_tokens.total - room, 0), len(text)
            if dropped:
                ids, ends = ids[:room], text_tokens.ends
                ends = self._ends(text, room) if ends is None else ends
                end = next_border(text, int(ends[room - 1]))
            known = self._known(ids)
            row_ids, unknown = np.concatenate([head, known, suffix]), len(ids) - len(known)
            counted = text_tokens.counted
            rows.append(TokenRow(row_ids, second, len(known), dropped, end, counted, unknown))
        return rows

    def words(self) -> list[str]:
        """The words of the vocabulary, sorted."""
        return sorted(word for word in self._tokenizer.get_vocab() if word.isalpha())

    def _known(self, ids: Ids) -> Ids:
        """The tokens that are not [UNK], or all of them."""
        return ids[~self.are_unknown(ids)]

    def are_unknown(self, ids: Ids) -> NDArray[np.bool_]:
        """Which ids, ``(n,)``, are the token of unknown words."""
        return np.zeros(len(ids), bool) if self._unknown is None else ids == self._unknown

    def are_text_tokens(self, ids: Ids) -> bool:
        """Whether all ids are in the vocabulary and none is a special token."""
        valid = (ids >= 0) & (ids < self._vocabulary) & ~np.isin(ids, self._special)
        return bool(np.all(valid))

    def _ends(self, text: str, tokens: int) -> Ids:
        """The characters at which a text's first `tokens` tokens end."""
        beginning = self._reader.read(text, tokens, "beginning")
        (ends,) = (part.ends for part in beginning if part is not None and part.ends is not None)
        return ends[:tokens]

    def starts(self, text: str) -> NDArray[np.int64]:
        """The character at which each token of a text begins, ``(n,)``, ascending."""
        offsets = self._encode(text).offsets
        return np.fromiter((start for start, _ in offsets), np.int64, len(offsets))


def pad(rows: Sequence[TokenRow]) -> dict[str, Ids]:
    """Rows → the encoder's inputs, each int64 ``(rows, positions)``; padding has mask 0."""
    shape = (len(rows), padded_length(max(len(row.ids) for row in rows)))
    feeds = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask")}
    feeds["token_type_ids"] = np.zeros(shape, np.int64)
    for number, row in enumerate(rows):
        size = len(row.ids)
        feeds["input_ids"][number, :size] = row.ids
        feeds["attention_mask"][number, :size] = 1
        feeds["token_type_ids"][number, row.second : size] = 1
    return feeds


class QueryTooLong(QueryError):
    """A query that is longer than the model reads."""


def too_long(tokens: int, counted: bool, room: int) -> QueryTooLong:
    """The error for a query of so many tokens, or without `counted` more, beside a document."""
    prefix = "" if counted else "over "
    return QueryTooLong(
        f"query: {prefix}{tokens} tokens, but this model has room for {room} beside a document; "
        "the query is never cut, so shorten it"
    )


def unreadable() -> QueryError:
    """The error for a query without a token."""
    return QueryError("query: nothing in it that this model can read; use other words")


def _ids(encoding: Any) -> Ids:
    return np.array(encoding.ids, np.int64)


def _template(tokenizer: Tokenizer, pair: bool) -> _Template:
    encoding = tokenizer.encode("a", "b") if pair else tokenizer.encode("a")
    ids = _ids(encoding)
    first, second = (
        [index for index, part in enumerate(encoding.sequence_ids) if part == sequence]
        for sequence in (0, 1)
    )
    last = second or first
    return _Template(ids[: first[0]], ids[first[-1] + 1 : last[0]], ids[last[-1] + 1 :])


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token of unknown words; None if every word has tokens."""
    if hasattr(tokenizer.model, "unk_token"):
        name = tokenizer.model.unk_token
        return None if name is None else tokenizer.token_to_id(name)
    unknown: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")
    return unknown


def _special_ids(tokenizer: Tokenizer) -> Ids:
    """Ids of special tokens, except the token of unknown words."""
    unknown = _unknown_id(tokenizer)
    added = tokenizer.get_added_tokens_decoder()
    special = (number for number, token in added.items() if token.special)
    return np.array([number for number in special if number != unknown], np.int64)
