"""Converts filters to SQL for Lance, and checks that the index has the keys they compare. No I/O.

Metadata is one column of JSON, where a key may have a text in one row and a list in the next. The
SQL made here is true or false for each row, never null and never an error: a value of another type
does not match. (`json_get_int` and similar functions fail the whole scan at such a value.)
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, NoReturn

from resift.errors import InputError
from resift.index.table.where import COLUMNS, Combination, Comparison, Field, Value, Where

Kind = Literal["text", "number", "boolean"]
Path = tuple[str, ...]

# JSON path conditions that are true for all values of a kind, and for no others.
_KIND_PATHS: dict[Kind, str] = {
    "text": r'@ < "\u0000" || @ >= "\u0000"',
    "number": "@ < 0 || @ >= 0",
    "boolean": "@ == true || @ == false",
}
_PLURALS: dict[Kind, str] = {"text": "texts", "number": "numbers", "boolean": "booleans"}
_MAX_KEYS, _MAX_DEPTH, _MAX_SHOWN = 1_000, 4, 20


def to_sql(where: Where) -> str:
    """Convert a condition to DataFusion's SQL."""
    if isinstance(where, Combination):
        parts = [to_sql(part) for part in where.parts]
        if where.operator == "not":
            return f"NOT ({parts[0]})"
        return f"({f' {where.operator.upper()} '.join(parts)})"
    return _column_sql(where) if where.field.column else _metadata_sql(where)


def exists_sql(field: Field) -> str:
    """SQL for the rows that have the field; null and, in a column, an empty text do not count."""
    if not field.column:
        return f"{_json(field.path)} <> 'null'"
    return f"{field.column} IS NOT NULL" if field.is_number else f"{field.column} <> ''"


def kind_sql(field: Field, kind: Kind) -> str:
    """SQL for the rows in which a key has a value of this kind."""
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
    """A list on the path or as the value matches if one of its items does."""
    path, values = comparison.field.path, comparison.values
    match comparison.operator:
        case "exists":
            return exists_sql(comparison.field)
        case "in":  # one path for each kind: a JSON path with values of two kinds matches nothing
            by_kind = {kind: [v for v in values if _kind(v) == kind] for kind in _KIND_PATHS}
            texts = by_kind.pop("text")
            parts = [_matches(path, _equals_any(group)) for group in by_kind.values() if group]
            parts += [_text_in(path, texts)] if texts else []
            return f"({' OR '.join(parts)})"
        case operator:
            return _matches(path, f"@ {operator} {_path_literal(values[0])}")


def _text_in(path: Path, texts: Sequence[Value]) -> str:
    # Lance parses a JSON path for each row: with 1,000 texts that took 0.8 ms a row. So single
    # values are compared as JSON text, and the path is used for lists only.
    literals = ", ".join(sql_literal(json.dumps(text, ensure_ascii=False)) for text in texts)
    in_list = f"starts_with({_json(path)}, '[') AND {_matches(path, _equals_any(texts))}"
    return f"({_json(path)} IN ({literals}) OR ({in_list}))"


def _matches(path: Path, condition: str) -> str:
    return f"json_exists(metadata, {sql_literal(f'{_json_path(path)}[*] ? ({condition})')})"


def _json(path: Path) -> str:
    """SQL for the value as JSON text; ``null`` if there is none."""
    return f"coalesce(json_extract(metadata, {sql_literal(_json_path(path))}), 'null')"


def _json_path(path: Path) -> str:
    return "$." + "[*].".join(map(json.dumps, path))


def sql_literal(value: Value) -> str:
    """Write a value in SQL: quotes are doubled, nothing else is special inside quotes."""
    return str(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def _equals_any(values: Sequence[Value]) -> str:
    # Lance cannot parse an empty text in a path, but only that sorts before the first character.
    return " || ".join(
        '@ < "\\u0000"' if value == "" else f"@ == {_path_literal(value)}" for value in values
    )


def _path_literal(value: Value) -> str:
    """Write a value in a JSON path."""
    if not isinstance(value, float):
        return json.dumps(value)
    # Lance reads the 2 of 2.5 as a whole number and fails at the rest; it can parse .25e1.
    sign, digits, _ = Decimal(repr(value)).as_tuple()
    exponent = Decimal(repr(value)).adjusted() + 1
    return f"{'-' * sign}.{''.join(map(str, digits))}e{exponent}"


def _kind(value: Value) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


Keys = Mapping[Path, set[Kind]]
"""The keys of an index's metadata, with the kinds of their values."""


def keys_of(metadata: Iterable[str]) -> Keys:
    """Collect the keys of many documents' metadata (as JSON), including nested keys."""
    keys: dict[Path, set[Kind]] = {}
    seen: set[str] = set()  # passages of a document share its metadata
    for text in metadata:
        if text not in seen:
            seen = {text} if len(seen) > _MAX_KEYS else seen | {text}
            for path, kind in _key_kinds(json.loads(text), ()):
                if path in keys or len(keys) < _MAX_KEYS:
                    keys.setdefault(path, set()).add(kind)
    return keys


def merged_keys(parts: Iterable[Keys]) -> Keys:
    """The keys of several tables together."""
    keys: dict[Path, set[Kind]] = {}
    for part in parts:
        for path, kinds in part.items():
            if path in keys or len(keys) < _MAX_KEYS:
                keys[path] = keys.get(path, set()) | kinds
    return keys


def compared_kinds(where: Where) -> dict[Field, dict[Kind, Value]]:
    """Collect the metadata keys that a filter compares, with the first value of each kind."""
    compared: dict[Field, dict[Kind, Value]] = {}
    for comparison in _comparisons(where):
        if comparison.values and not comparison.field.column:
            for value in comparison.values:
                compared.setdefault(comparison.field, {}).setdefault(_kind(value), value)
    return compared


def refuse_unknown(field: Field, keys: Keys) -> NoReturn:
    """Raise `InputError` for a key that no passage has; the message lists the existing keys."""
    names = [_format_key(path) for path in keys]
    # The hint is a name with other capitals or a similar spelling.
    folded = {name.casefold(): name for name in reversed([*names, *COLUMNS])}
    similar = get_close_matches(_format_key(field.path).casefold(), folded, 1)
    hint = f"; did you mean {folded[similar[0]]}?" if similar else ";"
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    listed = f"there are {', '.join(sorted(names)[:_MAX_SHOWN])}{more}"
    raise InputError(
        f"where: no passage has {_format_key(field.path)}{hint} "
        f"{listed if names else 'the documents have no metadata'}, beside {', '.join(COLUMNS)}"
    )


def refuse_kind(field: Field, value: Value, keys: Keys) -> None:
    """Raise `InputError` if a key has values of other kinds only."""
    kinds = keys.get(field.path, set())
    if kinds and _kind(value) not in kinds:
        raise InputError(
            f"where: {_format_key(field.path)} holds "
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


def _key_kinds(value: Any, path: Path) -> Iterator[tuple[Path, Kind]]:
    if isinstance(value, dict):
        for key, inner in value.items() if len(path) < _MAX_DEPTH else ():
            yield from _key_kinds(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _key_kinds(inner, path)
    elif value is not None and path:
        yield path, _kind(value)


def _format_key(path: Path) -> str:
    """Write a key as in an expression, in double quotes where needed."""
    return ".".join(
        key if key.replace("-", "_").isidentifier() and key[0] != "-" else f'"{key}"'
        for key in path
    )
