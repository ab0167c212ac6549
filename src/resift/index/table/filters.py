"""A filter as SQL for Lance, and the check that an index has the keys that it compares. Pure.

Metadata is one column of JSON, where a key may hold a text in one row and a list in the next.
Every piece of SQL here is true or false for a row, never null and never an error: a value of
another type does not match. (`json_get_int` and its like fail the whole scan there.)
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, NoReturn

from resift.errors import InputError
from resift.index.table.where import COLUMNS, Combination, Comparison, Field, Value, Where

Kind = Literal["text", "number", "truth"]
Path = tuple[str, ...]

# A JSON path that is true of each value of a kind, and of no other.
_KIND_PATHS: dict[Kind, str] = {
    "text": r'@ < "\u0000" || @ >= "\u0000"',
    "number": "@ < 0 || @ >= 0",
    "truth": "@ == true || @ == false",
}
_PLURALS: dict[Kind, str] = {"text": "texts", "number": "numbers", "truth": "true or false"}
_MAX_KEYS, _MAX_DEPTH, _MAX_SHOWN = 1_000, 4, 20


def to_sql(where: Where) -> str:
    """The condition in DataFusion's SQL."""
    if isinstance(where, Combination):
        parts = [to_sql(part) for part in where.parts]
        if where.operator == "not":
            return f"NOT ({parts[0]})"
        return f"({f' {where.operator.upper()} '.join(parts)})"
    return _column_sql(where) if where.field.column else _metadata_sql(where)


def exists_sql(field: Field) -> str:
    """The rows that have the field; null does not count, nor does an empty text in a column."""
    if not field.column:
        return f"{_json(field.path)} <> 'null'"
    return f"{field.column} IS NOT NULL" if field.is_number else f"{field.column} <> ''"


def kind_sql(field: Field, kind: Kind) -> str:
    """The rows in which a key has a value of this kind."""
    return _matches(field.path, _KIND_PATHS[kind])


def _column_sql(comparison: Comparison) -> str:
    field, values = comparison.field, [sql_literal(value) for value in comparison.values]
    match comparison.operator:
        case "exists":
            return exists_sql(field)
        case "starts with":
            return f"starts_with({field.column}, {values[0]})"
        case "in":
            condition = f"{field.column} IN ({', '.join(values)})"
        case order:
            condition = f"{field.column} {order} {values[0]}"
    return f"({exists_sql(field)} AND {condition})" if field.is_number else condition


def _metadata_sql(comparison: Comparison) -> str:
    """A list on the way to the value, or as the value, stands for each of its values."""
    path, values = comparison.field.path, comparison.values
    match comparison.operator:
        case "exists":
            return exists_sql(comparison.field)
        case "in":  # kinds apart: a JSON path that compares with two kinds matches nothing
            by_kind = {kind: [v for v in values if _kind(v) == kind] for kind in _KIND_PATHS}
            texts = by_kind.pop("text")
            parts = [_matches(path, _equals_any(group)) for group in by_kind.values() if group]
            parts += [_text_in(path, texts)] if texts else []
            return f"({' OR '.join(parts)})"
        case operator:
            return _matches(path, f"@ {operator} {_path_literal(values[0])}")


def _text_in(path: Path, texts: Sequence[Value]) -> str:
    # Lance parses a JSON path again for each row: 1,000 texts in one took .8 ms a row. So single
    # values are compared as JSON text, and the path is used for lists only.
    listed = ", ".join(sql_literal(json.dumps(text, ensure_ascii=False)) for text in texts)
    in_list = f"starts_with({_json(path)}, '[') AND {_matches(path, _equals_any(texts))}"
    return f"({_json(path)} IN ({listed}) OR ({in_list}))"


def _matches(path: Path, condition: str) -> str:
    return f"json_exists(metadata, {sql_literal(f'{_json_path(path)}[*] ? ({condition})')})"


def _json(path: Path) -> str:
    """The value as JSON text: ``null`` if there is none."""
    return f"coalesce(json_extract(metadata, {sql_literal(_json_path(path))}), 'null')"


def _json_path(path: Path) -> str:
    return "$." + "[*].".join(map(json.dumps, path))


def sql_literal(value: Value) -> str:
    """A value in SQL. A quote is doubled; nothing else is special inside quotes."""
    return str(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def _equals_any(values: Sequence[Value]) -> str:
    # Lance cannot parse an empty text in a path; it is what sorts before the first character.
    return " || ".join(
        '@ < "\\u0000"' if value == "" else f"@ == {_path_literal(value)}" for value in values
    )


def _path_literal(value: Value) -> str:
    """A value in a JSON path."""
    if not isinstance(value, float):
        return json.dumps(value)
    # Lance takes the whole number from the front of 2.5 and fails at the rest; it parses .25e1.
    sign, digits, _ = Decimal(repr(value)).as_tuple()
    exponent = Decimal(repr(value)).adjusted() + 1
    return f"{'-' * sign}.{''.join(map(str, digits))}e{exponent}"


def _kind(value: Value) -> Kind:
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number"


Keys = Mapping[Path, set[Kind]]
"""The keys of an index's metadata, with the kinds of their values."""


def keys_of(metadata: Iterable[str]) -> Keys:
    """The keys of many documents' metadata, each as JSON, nested keys included."""
    keys: dict[Path, set[Kind]] = {}
    seen: set[str] = set()  # passages of a document share its metadata
    for text in metadata:
        if text not in seen:
            seen = {text} if len(seen) > _MAX_KEYS else seen | {text}
            for path, kind in _values(json.loads(text), ()):
                if path in keys or len(keys) < _MAX_KEYS:
                    keys.setdefault(path, set()).add(kind)
    return keys


def compared_kinds(where: Where) -> dict[Field, dict[Kind, Value]]:
    """The metadata keys that a filter compares, with the first value of each kind."""
    compared: dict[Field, dict[Kind, Value]] = {}
    for comparison in _comparisons(where):
        if comparison.values and not comparison.field.column:
            for value in comparison.values:
                compared.setdefault(comparison.field, {}).setdefault(_kind(value), value)
    return compared


def refuse_unknown(field: Field, keys: Keys) -> NoReturn:
    """Raise `InputError` for a key that no passage has; the message lists those that exist."""
    names = [_written(path) for path in keys]
    # A name that differs in case only, or else one with a typing error.
    folded = {name.casefold(): name for name in reversed([*names, *COLUMNS])}
    similar = get_close_matches(_written(field.path).casefold(), folded, 1)
    hint = f"; did you mean {folded[similar[0]]}?" if similar else ";"
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    listed = f"there are {', '.join(sorted(names)[:_MAX_SHOWN])}{more}"
    raise InputError(
        f"where: no passage has {_written(field.path)}{hint} "
        f"{listed if names else 'the documents have no metadata'}, beside {', '.join(COLUMNS)}"
    )


def refuse_kind(field: Field, value: Value, keys: Keys) -> None:
    """Raise `InputError` if a key never has values of this one's kind, but of others."""
    kinds = keys.get(field.path, set())
    if kinds and _kind(value) not in kinds:
        raise InputError(
            f"where: {_written(field.path)} holds "
            f"{' and '.join(sorted(_PLURALS[kind] for kind in kinds))}, and "
            f"{json.dumps(value, ensure_ascii=False)} is a {_kind(value)}: "
            "texts stand in single quotes, numbers and true or false in none"
        )


def _comparisons(where: Where) -> Iterator[Comparison]:
    if isinstance(where, Comparison):
        yield where
    else:
        for part in where.parts:
            yield from _comparisons(part)


def _values(value: Any, path: Path) -> Iterator[tuple[Path, Kind]]:
    if isinstance(value, dict):
        for key, inner in value.items() if len(path) < _MAX_DEPTH else ():
            yield from _values(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, path)
    elif value is not None and path:
        yield path, _kind(value)


def _written(path: Path) -> str:
    """A key as an expression writes it."""
    return ".".join(key if _is_plain(key) else f'"{key}"' for key in path)


def _is_plain(key: str) -> bool:
    return key.replace("-", "_").isidentifier() and not key.startswith("-")
