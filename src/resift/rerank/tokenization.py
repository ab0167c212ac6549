"""(query, document) → token ids, and the truncation rule: what is cut is cut from the document.

The query is tokenised once a call. Which special tokens stand around the two is read off the
tokenizer's own template, so BERT's ``[CLS] q [SEP] d [SEP]`` and RoBERTa's
``<s> q </s></s> d </s>`` need no case of their own. Words that the tokenizer does not know are all
one token, [UNK]: a model takes any of them for any other, so none of them is shown to it. A text
that spells a special token, "[SEP]", is text. Knows no model and no runtime.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from resift.errors import ArtifactError, QueryError
from resift.rerank.batching import padded_length
from resift.rerank.native import native
from resift.rerank.windows import WINDOW, Reader, TextTokens, Wanted

MIN_DOCUMENT_TOKENS = 16
"""A query that leaves a document less room than this is refused rather than cut."""

Ids = NDArray[np.int64]

_PARTS_OF_TEMPLATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence for the encoder and what it holds of the document.

    `ids` is ``(tokens,)`` with special tokens; positions from `second` on are of type 1.
    `seen` and `dropped` count the document's own tokens, the latter at least where it was not
    `counted`; `end` is the character of the document at which reading stopped. `unknown` tokens
    before that were left out.
    """

    ids: Ids
    second: int
    seen: int
    dropped: int
    end: int
    counted: bool = True
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens before the first text, between the two, and after the last."""

    prefix: Ids
    middle: Ids
    suffix: Ids


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``, its own truncation, padding and special tokens switched off.

    With special tokens read out of texts a document could end the query, or hide in padding.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for every kind of fault
        raise ArtifactError(f"{path}: not a readable tokenizer.json ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # as any other text
    return tokenizer


class Tokens:
    """A tokenizer with a limit: makes rows for one text, or for a query and a document."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, *, known_only: bool = True) -> None:
        """`known_only` leaves out of rows what the tokenizer does not know."""
        self._unknown = _unknown_id(tokenizer) if known_only else None
        self._vocabulary = tokenizer.get_vocab_size()
        self._special = _special_ids(tokenizer)
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        self._single = _template(tokenizer, pair=False)
        self._pair = _template(tokenizer, pair=True)
        added = tokenizer.get_added_tokens_decoder().values()
        reach = max((len(token.content) for token in added), default=0)
        self._reader = Reader(self._encode, reach, not len(self.query("  \n")))
        self._window = min(6 * max_tokens, WINDOW)

    def query(self, text: str) -> Ids:
        """The query's own tokens, ``(n,)``, without special ones."""
        return _ids(self._encode(text))

    def read(self, texts: Sequence[str], wanted: Wanted = "count") -> Iterator[TextTokens | None]:
        """Each text's own tokens in order, without special ones.

        None now and then in between, where a text is long: time to look at the clock, and to stop
        if there is none left.
        """
        short = [text for text in texts if len(text) <= self._window]
        with native:
            encodings = self._tokenizer.encode_batch_fast(short, add_special_tokens=False)
        known = iter(encodings)
        for text in texts:
            if len(text) <= self._window:
                yield TextTokens(_ids(next(known)))
            else:
                most = len(text) if wanted == "all" else self.max_tokens
                yield from self._reader.read(text, most, wanted)

    def _encode(self, text: str) -> Any:
        """Of a text, with offsets. A half of a surrogate pair, far in a long one, is no character.

        As a batch of one, for that lets other threads run meanwhile.
        """
        with native:
            try:
                return self._tokenizer.encode_batch([text], add_special_tokens=False)[0]
            except TypeError:
                text = _PARTS_OF_TEMPLATE.sub("\ufffd", text)
                return self._tokenizer.encode_batch([text], add_special_tokens=False)[0]

    def single(
        self, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        """One row a text, each cut to `max_tokens`; `tokens` are their own, where known."""
        rows = self._rows(texts, tokens, self._single.prefix, self._single.suffix)
        return [replace(row, second=len(row.ids)) for row in rows]

    def whole_query(self, text: str) -> TokenRow:
        """A query's row for an encoder that reads it apart; refused if it does not fit whole."""
        row = self.single([text], [self._beginning(text)])[0]
        if row.dropped:
            read = row.seen + row.unknown
            raise _too_long(read + row.dropped, row.counted, read)
        if not row.seen + row.unknown:
            raise _unreadable()
        return self._said(row, row.ids)

    def knows(self, query: str) -> bool:
        """Whether there is a word in a query that the tokenizer knows, or at least a known sign."""
        row = self.single([query], [self._beginning(query)])[0]
        return self._said(row, row.ids).seen > 0

    def _beginning(self, text: str) -> TextTokens:
        return next(own for own in self.read([text], "beginning") if own is not None)

    def head(self, query: str) -> TokenRow:
        """What stands before every document in a pair; refused where it leaves too little room."""
        tokens = self._beginning(query)
        ids = tokens.ids
        template = self._pair
        special = len(template.prefix) + len(template.middle) + len(template.suffix)
        room = self.max_tokens - special - MIN_DOCUMENT_TOKENS
        if tokens.total > room:
            raise _too_long(tokens.total, tokens.counted, room)
        if not len(ids):
            raise _unreadable()
        known = self._known(ids)
        whole = np.concatenate([template.prefix, known, template.middle])
        unknown = len(ids) - len(known)
        row = TokenRow(whole, len(whole), len(known), 0, len(query), unknown=unknown)
        return self._said(row, known)

    def _said(self, query: TokenRow, ids: Ids) -> TokenRow:
        """Of a query's words that are unknown, signs between them say nothing: any would match."""
        names = [self._tokenizer.id_to_token(int(token)) for token in ids if self.has(token)]
        if not query.unknown or any(sign.isalnum() for name in names for sign in name or ""):
            return query
        return replace(query, seen=0, unknown=query.seen + query.unknown)

    def pairs(
        self, head: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        """One row a document, the query whole in each and the document cut to what is left."""
        return self._rows(texts, tokens, head.ids, self._pair.suffix)

    def _rows(
        self, texts: Sequence[str], tokens: Sequence[TextTokens] | None, head: Ids, suffix: Ids
    ) -> list[TokenRow]:
        room = self.max_tokens - len(head) - len(suffix)
        second = len(head)
        rows = []
        if tokens is None:
            tokens = [own for own in self.read(texts) if own is not None]
        for own, text in zip(tokens, texts, strict=True):
            ids, dropped, end = own.ids, max(own.total - room, 0), len(text)
            if dropped:
                ids = ids[:room]
                end = self._end_of(text, room) if own.ends is None else int(own.ends[room - 1])
            known = self._known(ids)
            whole, unknown = np.concatenate([head, known, suffix]), len(ids) - len(known)
            rows.append(TokenRow(whole, second, len(known), dropped, end, own.counted, unknown))
        return rows

    def words(self) -> list[str]:
        """What of the vocabulary is a word as it stands, in order."""
        return sorted(word for word in self._tokenizer.get_vocab() if word.isalpha())

    def _known(self, ids: Ids) -> Ids:
        """The tokens that stand for something."""
        return ids if self._unknown is None else ids[ids != self._unknown]

    def has(self, ids: Ids) -> bool:
        """Whether a text can have these tokens: all are in the vocabulary, and none is special."""
        known = (ids >= 0) & (ids < self._vocabulary) & ~np.isin(ids, self._special)
        return bool(np.all(known))

    def _end_of(self, text: str, tokens: int) -> int:
        """The character after the last of a text's first `tokens` tokens."""
        beginning = self._reader.read(text, tokens, "beginning")
        (ends,) = (own.ends for own in beginning if own is not None and own.ends is not None)
        return int(ends[tokens - 1])

    def starts(self, text: str) -> NDArray[np.int64]:
        """The character at which each token of a text begins, ``(n,)``, ascending."""
        offsets = self._encode(text).offsets
        return np.fromiter((start for start, _ in offsets), np.int64, len(offsets))


def pad(rows: Sequence[TokenRow]) -> dict[str, Ids]:
    """Rows → the encoder's inputs, each int64 ``(rows, positions)``; padding has mask 0."""
    shape = (len(rows), padded_length(max(len(row.ids) for row in rows)))
    feeds = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask")}
    feeds["token_type_ids"] = np.zeros(shape, np.int64)
    for place, row in enumerate(rows):
        size = len(row.ids)
        feeds["input_ids"][place, :size] = row.ids
        feeds["attention_mask"][place, :size] = 1
        feeds["token_type_ids"][place, row.second : size] = 1
    return feeds


def _too_long(tokens: int, counted: bool, room: int) -> QueryError:
    more = "" if counted else "over "
    return QueryError(
        f"query: {more}{tokens} tokens, but this model has room for {room} beside a document; "
        "the query is never cut, so shorten it"
    )


def _unreadable() -> QueryError:
    return QueryError("query: nothing in it that this model can read; say what to look for")


def _ids(encoding: Any) -> Ids:
    return np.array(encoding.ids, np.int64)


def _template(tokenizer: Tokenizer, pair: bool) -> _Template:
    encoding = tokenizer.encode("a", "b") if pair else tokenizer.encode("a")
    ids = _ids(encoding)
    places = {
        which: [i for i, part in enumerate(encoding.sequence_ids) if part == which]
        for which in (0, 1)
    }
    first, last = places[0], places[1] or places[0]
    return _Template(ids[: first[0]], ids[first[-1] + 1 : last[0]], ids[last[-1] + 1 :])


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token that stands for all that has none; None where everything has one."""
    if hasattr(tokenizer.model, "unk_token"):
        name = tokenizer.model.unk_token
        return None if name is None else tokenizer.token_to_id(name)
    unknown: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")
    return unknown


def _special_ids(tokenizer: Tokenizer) -> Ids:
    """Of tokens that no text has, since what spells one is text; the unknown one is had by many."""
    unknown = _unknown_id(tokenizer)
    added = tokenizer.get_added_tokens_decoder()
    return np.array([n for n, own in added.items() if own.special and n != unknown], np.int64)
