"""``where``: a small filter language for metadata, parsed to a `Where`. Does not know SQL.

::

    lang = 'en' and year >= 2020
    tags in ('howto', 'faq') and not exists(archived)
    source starts with 's3://bucket/handbook/' or author.name = 'O''Brien'

- A name is a key of the metadata; ``author.name`` is a nested key. A name in double quotes may be
  any text: ``"content type"``. Four names are columns of the index: ``source`` (the object's URI),
  ``doc_id``, ``title`` and ``page``; in double quotes they are keys of the metadata.
- A value is a text in single quotes (a quote inside is doubled), a number, ``true`` or ``false``.
- ``=``, ``!=``, ``in (…)`` and ``not in (…)`` take any value; ``<``, ``<=``, ``>`` and ``>=`` take
  numbers and texts. Texts are compared by code point, so ISO dates are in order of time.
  ``starts with`` takes a text.
- Types are never mixed: ``year = 2020`` does not match the text ``'2020'``. A list matches if one
  of its values does: ``tags = 'faq'``.
- ``!=`` and ``not in`` match only documents that have the key. ``not (lang = 'en')`` also matches
  documents without it, and ``exists(lang)`` matches documents where it is not null.
- It is an error to compare a key that no passage of the index has, or to compare a key with a value
  of a type that it never has. The message names a similar key.
- ``and`` binds closer than ``or``, ``not`` closer than both. Words may be in capitals.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias, cast

from resift.errors import InputError

Value = str | int | float | bool
Operator = Literal["in", "<", "<=", ">", ">=", "starts with", "exists"]

COLUMNS = {"source": "uri", "doc_id": "doc_id", "title": "title", "page": "page"}
"""Names that are columns of the table, not keys of the metadata."""

_KEYWORDS = frozenset(
    {"and", "or", "not", "in", "exists", "starts", "with", "true", "false", "null"}
)
_MAX_CHARACTERS, _MAX_DEPTH = 100_000, 12
_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[^\W\d][\w-]*)
      | (?P<sign><=|>=|!=|[=<>(),.])
      | (?P<end>\Z)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Field:
    """A key of the metadata, by the names that lead to it, or a column of the table."""

    path: tuple[str, ...]
    column: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it is ``page``, the only column that holds numbers and may be null."""
        return self.column == "page"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compared with values: ``in`` takes several, ``exists`` none, others one."""

    field: Field
    operator: Operator
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions joined by ``and`` or ``or``, or one condition negated by ``not``."""

    operator: Literal["and", "or", "not"]
    parts: "tuple[Where, ...]"


Where: TypeAlias = Comparison | Combination
"""A condition on a row."""


def parse_where(text: str) -> Where:
    """Parse an expression; raise `InputError` with the position of the first mistake."""
    if len(text) > _MAX_CHARACTERS:
        raise InputError(f"where: {len(text):,} characters, expected at most {_MAX_CHARACTERS:,}")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError("where: a lone surrogate, expected text that can be encoded as UTF-8")
    parser = _Parser(text)
    where = parser.disjunction()
    if parser.token.kind != "end":
        parser.fail("'and', 'or' or the end")
    return where


@dataclass(frozen=True, slots=True)
class _Token:
    """A token that begins at character `start`; `word` is its text in lower case."""

    kind: str
    text: str
    start: int
    word: str


class _Parser:
    """Recursive descent, with one token of lookahead."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._depth = 0
        self.token = next(self._tokens)

    def disjunction(self) -> Where:
        return self._joined("or", self._conjunction)

    def fail(self, expected: str) -> NoReturn:
        _fail(self.token.start, expected, self.token.text)

    def _conjunction(self) -> Where:
        return self._joined("and", self._condition)

    def _joined(self, operator: Literal["and", "or"], parse: Callable[[], Where]) -> Where:
        parts = [parse()]
        while self._accept(operator):
            parts.append(parse())
        return parts[0] if len(parts) == 1 else Combination(operator, tuple(parts))

    def _condition(self) -> Where:
        if self._accept("not"):
            return Combination("not", (self._nested(self._condition),))
        if self._accept("("):
            where = self._nested(self.disjunction)
            self._expect(")")
            return where
        if self._accept("exists"):
            self._expect("(")
            field = self._field()
            self._expect(")")
            return Comparison(field, "exists")
        return self._comparison(self._field())

    def _nested(self, parse: Callable[[], Where]) -> Where:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} brackets and 'not' inside each other")
        where = parse()
        self._depth -= 1
        return where

    def _comparison(self, field: Field) -> Where:
        if self._accept("="):
            return Comparison(field, "in", (self._value(field),))
        if self._accept("!="):
            return _not_in(field, (self._value(field),))
        if self._accept("in"):
            return Comparison(field, "in", self._values(field))
        if self._accept("not"):
            self._expect("in")
            return _not_in(field, self._values(field))
        if self._accept("starts"):
            self._expect("with")
            return Comparison(field, "starts with", (self._prefix(field),))
        if self.token.text not in ("<", "<=", ">", ">="):
            self.fail("=, !=, <, <=, >, >=, 'in', 'not in' or 'starts with'")
        operator = cast(Operator, self._next().text)
        if self.token.word in ("true", "false") or self.token.text == "''":
            self.fail("a number or a text to compare with")
        return Comparison(field, operator, (self._value(field),))

    def _field(self) -> Field:
        first = self.token
        names = [self._name()]
        while self._accept("."):
            names.append(self._name())
        if first.kind != "word" or first.text not in COLUMNS:
            return Field(tuple(names))
        if len(names) > 1:
            _fail(first.start, f'"{first.text}" in double quotes for a key', first.text)
        return Field((first.text,), COLUMNS[first.text])

    def _name(self) -> str:
        if self.token.kind == "quoted" and self.token.text != '""':
            return self._next().text[1:-1].replace('""', '"')
        if self.token.kind == "word" and self.token.word not in _KEYWORDS:
            return self._next().text
        self.fail("a name")

    def _values(self, field: Field) -> tuple[Value, ...]:
        self._expect("(")
        values = [self._value(field)]
        while self._accept(","):
            values.append(self._value(field))
        self._expect(")")
        return tuple(values)

    def _value(self, field: Field) -> Value:
        if field.column:
            return self._integer() if field.is_number else self._text()
        if self.token.kind == "number":
            return self._number()
        if self.token.word in ("true", "false"):
            return self._next().word == "true"
        if self.token.kind == "text":
            return self._text()
        self.fail("a text in single quotes, a number, true or false")

    def _prefix(self, field: Field) -> str:
        if field.is_number:
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

    def _integer(self) -> int:
        token = self.token
        value = self._number() if token.kind == "number" else None
        if not isinstance(value, int) or abs(value) >= 1 << 63:
            _fail(token.start, "a whole number", token.text)
        return value

    def _accept(self, word: str) -> bool:
        if self.token.word != word:
            return False
        self._next()
        return True

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            self.fail(f"{word!r}" if word.isalpha() else word)

    def _next(self) -> _Token:
        token, self.token = self.token, next(self._tokens)
        return token


def _not_in(field: Field, values: tuple[Value, ...]) -> Where:
    is_in = Comparison(field, "in", values)
    return Combination("and", (Comparison(field, "exists"), Combination("not", (is_in,))))


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


def _fail(start: int, expected: str, actual: str) -> NoReturn:
    shown = ascii(actual if len(actual) <= 40 else actual[:40] + "…") if actual else "the end"
    raise InputError(f"where, character {start + 1}: expected {expected}, found {shown}")
