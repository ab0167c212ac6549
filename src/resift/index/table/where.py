"""``where``: a small language over a document's metadata, read into a `Where`. Knows no SQL.

::

    lang = 'en' and year >= 2020
    tags in ('howto', 'faq') and not exists(archived)
    source starts with 's3://bucket/handbook/' or author.name = 'O''Brien'

- A name is a key of the metadata; ``author.name`` is a key inside of one. In double quotes it may
  be any text: ``"content type"``. Four names are columns of the index: ``source`` (the object's
  URI), ``doc_id``, ``title`` and ``page``; in double quotes they are keys like any other.
- A value is a text in single quotes (a quote inside is doubled), a number, ``true`` or ``false``.
- ``=``, ``!=``, ``in (…)`` and ``not in (…)`` take any value; ``<``, ``<=``, ``>`` and ``>=`` take
  numbers and texts, which are compared by code point, so that ISO dates are in order of time;
  ``starts with`` takes a text.
- Kinds are never mixed: ``year = 2020`` does not match the text ``'2020'``. A list matches where
  one of its values does: ``tags = 'faq'``.
- ``!=`` and ``not in`` want the key to be there, with another value. ``not (lang = 'en')`` also
  takes documents without it, and ``exists(lang)`` those where it is not null.
- A key that no passage of the index has is refused where it is compared, with the nearest that
  there is; so is a comparison with a value of a kind that the key never has.
- ``and`` binds closer than ``or``, ``not`` closer than both. Words may be in capitals.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn, cast

from resift.errors import InputError
from resift.index.table.filters import (
    All,
    Among,
    Any,
    Column,
    Compare,
    Exists,
    Field,
    Metadata,
    Not,
    Order,
    StartsWith,
    Value,
)
from resift.index.table.filters import Where as Where

COLUMNS = {
    "source": Column("uri"),
    "doc_id": Column("doc_id"),
    "title": Column("title"),
    "page": Column("page", is_number=True),
}
_WORDS = frozenset({"and", "or", "not", "in", "exists", "starts", "with", "true", "false", "null"})
_ORDERS = ("<", "<=", ">", ">=")
_LONGEST, _DEEPEST = 100_000, 12
_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[^\W\d][\w-]*)
      | (?P<sign><=|>=|!=|[=<>(),.])
      | (?P<end>\Z)""",
    re.VERBOSE,
)


def parse_where(text: str) -> Where:
    """Read an expression; raise `InputError` that says where it stops making sense."""
    if len(text) > _LONGEST:
        raise InputError(f"where: {len(text):,} characters, expected at most {_LONGEST:,}")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError("where: half a surrogate pair, expected text that can be written in UTF-8")
    parser = _Parser(text)
    found = parser.alternatives()
    if parser.token.kind != "end":
        parser.fail("'and', 'or' or the end")
    return found


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the expression, from character `start` on; a word is in lower case in `word`."""

    kind: str
    text: str
    start: int
    word: str


class _Parser:
    """One way through an expression, a token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._depth = 0
        self.token = next(self._tokens)

    def alternatives(self) -> Where:
        parts = self._joined("or", self._conjunction)
        return parts[0] if len(parts) == 1 else Any(parts)

    def fail(self, expected: str) -> NoReturn:
        _fail(self.token.start, expected, self.token.text)

    def _conjunction(self) -> Where:
        parts = self._joined("and", self._condition)
        return parts[0] if len(parts) == 1 else All(parts)

    def _joined(self, word: str, part: Callable[[], Where]) -> tuple[Where, ...]:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return tuple(parts)

    def _condition(self) -> Where:
        if self._took("not"):
            return Not(self._deeper(self._condition))
        if self._took("("):
            inner = self._deeper(self.alternatives)
            self._want(")")
            return inner
        if self._took("exists"):
            self._want("(")
            field = self._field()
            self._want(")")
            return Exists(field)
        return self._comparison(self._field())

    def _deeper(self, part: Callable[[], Where]) -> Where:
        self._depth += 1
        if self._depth > _DEEPEST:
            self.fail(f"at most {_DEEPEST} brackets and 'not' inside each other")
        found = part()
        self._depth -= 1
        return found

    def _comparison(self, field: Field) -> Where:
        if self._took("="):
            return Among(field, (self._value(field),))
        if self._took("!="):
            return _other_than(field, (self._value(field),))
        if self._took("in"):
            return Among(field, self._values(field))
        if self._took("not"):
            self._want("in")
            return _other_than(field, self._values(field))
        if self._took("starts"):
            self._want("with")
            return StartsWith(field, self._prefix(field))
        if self.token.text not in _ORDERS:
            self.fail("=, !=, <, <=, >, >=, 'in', 'not in' or 'starts with'")
        order = cast(Order, self._next().text)
        if self.token.word in ("true", "false") or self.token.text == "''":
            self.fail("a number or a text to compare with")
        return Compare(field, order, self._value(field))

    def _field(self) -> Field:
        first = self.token
        names = [self._name()]
        while self._took("."):
            names.append(self._name())
        if first.kind == "word" and first.text in COLUMNS:
            if len(names) > 1:
                _fail(first.start, f'"{first.text}" in double quotes for a key', first.text)
            return COLUMNS[first.text]
        return Metadata(tuple(names))

    def _name(self) -> str:
        if self.token.kind == "quoted" and self.token.text != '""':
            return self._next().text[1:-1].replace('""', '"')
        if self.token.kind == "word" and self.token.word not in _WORDS:
            return self._next().text
        self.fail("a name")

    def _values(self, field: Field) -> tuple[Value, ...]:
        self._want("(")
        values = [self._value(field)]
        while self._took(","):
            values.append(self._value(field))
        self._want(")")
        return tuple(values)

    def _value(self, field: Field) -> Value:
        if isinstance(field, Column):
            return self._whole() if field.is_number else self._text()
        if self.token.kind == "number":
            return self._number()
        if self.token.word in ("true", "false"):
            return self._next().word == "true"
        if self.token.kind == "text":
            return self._text()
        self.fail("a text in single quotes, a number, true or false")

    def _prefix(self, field: Field) -> str:
        if isinstance(field, Column) and field.is_number:
            self.fail("a name of text before 'starts with'")
        if self.token.text == "''":
            self.fail("a text that is not empty")
        return self._text()

    def _text(self) -> str:
        if self.token.kind != "text":
            self.fail("a text in single quotes")
        return self._next().text[1:-1].replace("''", "'")

    def _number(self) -> int | float:
        value = float(self.token.text)
        if not math.isfinite(value):
            self.fail("a number below 1e308")
        digits = self._next().text
        return int(digits) if digits.lstrip("+-").isdigit() else value

    def _whole(self) -> int:
        token = self.token
        value = self._number() if token.kind == "number" else None
        if not isinstance(value, int) or abs(value) >= 1 << 63:
            _fail(token.start, "a whole number", token.text)
        return value

    def _took(self, word: str) -> bool:
        if self.token.word != word:
            return False
        self._next()
        return True

    def _want(self, word: str) -> None:
        if not self._took(word):
            self.fail(f"{word!r}" if word.isalpha() else word)

    def _next(self) -> _Token:
        token, self.token = self.token, next(self._tokens)
        return token


def _other_than(field: Field, values: tuple[Value, ...]) -> Where:
    return All((Exists(field), Not(Among(field, values))))


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while True:
        while text[at : at + 1].isspace():
            at += 1
        match = _TOKEN.match(text, at)
        if match is None:
            closing = {"'": "a closing '", '"': 'a closing "'}.get(text[at])
            _fail(at, closing or "a name, a value or an operator", text[at : at + 20])
        kind, at = str(match.lastgroup), match.end()
        word = match[0].lower() if kind in ("word", "sign") else ""
        yield _Token(kind, match[0], match.start(), word)


def _fail(start: int, expected: str, found: str) -> NoReturn:
    shown = ascii(found if len(found) <= 40 else found[:40] + "…") if found else "the end"
    raise InputError(f"where, character {start + 1}: expected {expected}, found {shown}")
