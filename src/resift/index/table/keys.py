"""Which keys the documents' metadata has, and what a filter that names another one is told. Pure.

A key that no passage has can only be a slip: silently, it would find nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from resift.errors import InputError
from resift.index.table.filters import Kind, Metadata, Value, Where

_MOST, _DEEPEST, _SHOWN = 1_000, 4, 20
_PLURALS: dict[Kind, str] = {"text": "texts", "number": "numbers", "truth": "true or false"}

Keys = Mapping[tuple[str, ...], set[Kind]]
"""The kinds of the values below each key."""


def keys_of(metadata: Iterable[str]) -> Keys:
    """The keys in documents' metadata, each document as JSON, down to keys inside of some."""
    keys: dict[tuple[str, ...], set[Kind]] = {}
    seen: set[str] = set()  # passages of a document share its metadata
    for text in metadata:
        if text not in seen:
            seen = {text} if len(seen) > _MOST else seen | {text}
            for path, kind in _values(json.loads(text), ()):
                if path in keys or len(keys) < _MOST:
                    keys.setdefault(path, set()).add(kind)
    return keys


def compared_keys(where: Where) -> list[Metadata]:
    """The keys that a filter compares, each once."""
    return list(dict.fromkeys(f for f, _ in where.compared() if isinstance(f, Metadata)))


def compared_kinds(where: Where) -> list[tuple[Metadata, Kind]]:
    """The keys that a filter compares, with each kind of value that they are compared with."""
    kinds = (
        (field, _kind(value))
        for field, values in where.compared()
        for value in values
        if isinstance(field, Metadata)
    )
    return list(dict.fromkeys(kinds))


def refuse_unknown(field: Metadata, keys: Keys, columns: Iterable[str]) -> NoReturn:
    """Raise `InputError` for a key that no passage has: with the nearest one, and all there are."""
    names = {_written(path): path for path in keys}
    near = _nearest(_written(field.path), [*names, *columns])
    hint = f"; did you mean {near}?" if near else ";"
    there = sorted(names)[:_SHOWN]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    known = f"there are {', '.join(there)}{more}" if there else "the documents have no metadata"
    raise InputError(
        f"where: no passage has {_written(field.path)}{hint} {known}, beside {', '.join(columns)}"
    )


def refuse_mixed(where: Where, keys: Keys) -> None:
    """Raise `InputError` where a key is compared with any value of a kind that it never has."""
    for field, values in where.compared():
        if not isinstance(field, Metadata):
            continue
        there = keys.get(field.path, set())
        odd = [value for value in values if _kind(value) not in there]
        if there and odd:
            kinds = " and ".join(sorted(_PLURALS[kind] for kind in there))
            raise InputError(
                f"where: {_written(field.path)} holds {kinds}, and "
                f"{json.dumps(odd[0], ensure_ascii=False)} is a {_kind(odd[0])}: "
                "texts stand in single quotes, numbers and true or false in none"
            )


def _nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was meant: one that differs in capitals alone, or else a slip of the pen."""
    folded: dict[str, str] = {}
    for known in names:
        folded.setdefault(known.casefold(), known)
    near = get_close_matches(name.casefold(), folded, 1)
    return folded[near[0]] if near else None


def _values(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Kind]]:
    if isinstance(value, dict):
        for key, inner in value.items() if len(path) < _DEEPEST else ():
            yield from _values(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, path)
    elif value is not None and path:
        yield path, _kind(value)


def _kind(value: Value) -> Kind:
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number"


def _written(path: tuple[str, ...]) -> str:
    """A key as a filter names it."""
    return ".".join(key if _is_plain(key) else f'"{key}"' for key in path)


def _is_plain(key: str) -> bool:
    return key.replace("-", "_").isidentifier() and not key.startswith("-")
