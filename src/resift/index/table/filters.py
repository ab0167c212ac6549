"""What a row must be like, and the SQL that says so to Lance. Knows nothing of how it was written.

Metadata is one column of JSON, where a name may hold a text in one row and a list in the next.
Every piece of SQL here is true or false for a row, never null and never an error: a value of
another kind does not match. (`json_get_int` and its sisters fail the whole scan there.)
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

Value = str | int | float | bool
Order = Literal["<", "<=", ">", ">="]
Kind = Literal["text", "number", "truth"]

# True of each value of a kind, and of no other.
_KINDS: dict[Kind, str] = {
    "text": r'@ < "\u0000" || @ >= "\u0000"',
    "number": "@ < 0 || @ >= 0",
    "truth": "@ == true || @ == false",
}

Compared = tuple["Field", tuple[Value, ...]]


class Where(Protocol):
    """A condition on a row."""

    def sql(self) -> str:
        """A filter for Lance, in DataFusion's SQL."""

    def compared(self) -> Iterator[Compared]:
        """What is compared with what; whether something exists is no comparison."""


class Field(Protocol):
    """Something that a row has, or has not; each answer is SQL."""

    def among(self, values: Sequence[Value]) -> str:
        """Its value, or one of them if it has several, is one of these."""

    def compare(self, order: Order, value: Value) -> str:
        """It comes before or after this value."""

    def starts_with(self, prefix: str) -> str:
        """It is a text that starts so."""

    def exists(self) -> str:
        """The row has it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the index's own; only one of numbers may be null."""

    name: str
    is_number: bool = False

    def among(self, values: Sequence[Value]) -> str:
        return self._known(f"{self.name} IN ({', '.join(map(_literal, values))})")

    def compare(self, order: Order, value: Value) -> str:
        return self._known(f"{self.name} {order} {_literal(value)}")

    def starts_with(self, prefix: str) -> str:
        return f"starts_with({self.name}, {_literal(prefix)})"

    def exists(self) -> str:
        return f"{self.name} IS NOT NULL" if self.is_number else f"{self.name} <> ''"

    def _known(self, condition: str) -> str:
        return f"({self.exists()} AND {condition})" if self.is_number else condition


@dataclass(frozen=True, slots=True)
class Metadata:
    """A value in the documents' metadata, by the names that lead to it.

    A list on the way, or at its end, stands for each of its values.
    """

    path: tuple[str, ...]

    def among(self, values: Sequence[Value]) -> str:
        texts = [value for value in values if isinstance(value, str)]
        truths = [value for value in values if isinstance(value, bool)]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        # Kinds apart: a path that compares with two kinds at once matches nothing.
        parts = [self._has(" || ".join(map(_equals, kind))) for kind in (truths, numbers) if kind]
        if texts:
            parts.append(self._among_texts(texts))
        return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"

    def compare(self, order: Order, value: Value) -> str:
        return self._has(f"@ {order} {_in_path(value)}")

    def starts_with(self, prefix: str) -> str:
        return self._has(f"@ starts with {_in_path(prefix)}")

    def exists(self) -> str:
        return f"{self._json} <> 'null'"

    def holds(self, kind: Kind) -> str:
        """It has a value of this kind."""
        return self._has(_KINDS[kind])

    def _among_texts(self, texts: Sequence[str]) -> str:
        # Lance parses a path anew for each row: a thousand texts in it took .8 ms a row. So single
        # values are compared as JSON, and the path is for lists only.
        written = ", ".join(_literal(json.dumps(text, ensure_ascii=False)) for text in texts)
        listed = self._has(" || ".join(map(_equals, texts)))
        return f"({self._json} IN ({written}) OR (starts_with({self._json}, '[') AND {listed}))"

    def _has(self, condition: str) -> str:
        return f"json_exists(metadata, {_literal(f'{self._steps}[*] ? ({condition})')})"

    @property
    def _json(self) -> str:
        """The value as JSON text: ``null`` where there is none."""
        return f"coalesce(json_extract(metadata, {_literal(self._steps)}), 'null')"

    @property
    def _steps(self) -> str:
        return "$." + "[*].".join(map(json.dumps, self.path))


@dataclass(frozen=True, slots=True)
class Among:
    """The field is one of these values."""

    field: Field
    values: tuple[Value, ...]

    def sql(self) -> str:
        return self.field.among(self.values)

    def compared(self) -> Iterator[Compared]:
        yield self.field, self.values


@dataclass(frozen=True, slots=True)
class Compare:
    """The field comes before or after this value; other kinds of values do neither."""

    field: Field
    order: Order
    value: Value

    def sql(self) -> str:
        return self.field.compare(self.order, self.value)

    def compared(self) -> Iterator[Compared]:
        yield self.field, (self.value,)


@dataclass(frozen=True, slots=True)
class StartsWith:
    """The field is a text that starts so."""

    field: Field
    prefix: str

    def sql(self) -> str:
        return self.field.starts_with(self.prefix)

    def compared(self) -> Iterator[Compared]:
        yield self.field, (self.prefix,)


@dataclass(frozen=True, slots=True)
class Exists:
    """The row has the field: null is none, and so is an empty text in a column."""

    field: Field

    def sql(self) -> str:
        return self.field.exists()

    def compared(self) -> Iterator[Compared]:
        yield from ()


@dataclass(frozen=True, slots=True)
class Not:
    """Everything else."""

    part: Where

    def sql(self) -> str:
        return f"NOT ({self.part.sql()})"

    def compared(self) -> Iterator[Compared]:
        yield from self.part.compared()


@dataclass(frozen=True, slots=True)
class All:
    """What every part says."""

    parts: tuple[Where, ...]

    def sql(self) -> str:
        return f"({' AND '.join(part.sql() for part in self.parts)})"

    def compared(self) -> Iterator[Compared]:
        for part in self.parts:
            yield from part.compared()


@dataclass(frozen=True, slots=True)
class Any:
    """What some part says."""

    parts: tuple[Where, ...]

    def sql(self) -> str:
        return f"({' OR '.join(part.sql() for part in self.parts)})"

    def compared(self) -> Iterator[Compared]:
        for part in self.parts:
            yield from part.compared()


def _literal(value: Value) -> str:
    """A value in SQL. A quote is doubled; nothing else has a meaning inside of quotes."""
    return str(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def _equals(value: Value) -> str:
    # Lance reads no empty text in a path; it is what comes before the first character.
    return '@ < "\\u0000"' if value == "" else f"@ == {_in_path(value)}"


def _in_path(value: Value) -> str:
    """A value in a JSON path."""
    if not isinstance(value, float):
        return json.dumps(value)
    # Lance takes the whole number from the front of 2.5 and stumbles over the rest: .25e1 it reads.
    sign, digits, _ = Decimal(repr(value)).as_tuple()
    exponent = Decimal(repr(value)).adjusted() + 1
    return f"{'-' * sign}.{''.join(map(str, digits))}e{exponent}"
