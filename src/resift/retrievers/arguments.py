"""The arguments of first stages, checked alike in all adapters, and the question of a call."""

from collections.abc import Mapping, Sequence
from typing import Any

from resift.errors import InputError, QueryError, shown
from resift.rerank.values import number, string, whole, without_surrogates


class Unopened:
    """In place of a client: it is opened once the other arguments are checked."""


UNOPENED = Unopened()


def checked_client(client: Any, method: str, expected: str) -> None:
    """Raise `InputError` for a client without this method: a URL, a class or None."""
    if not isinstance(client, Unopened) and (
        isinstance(client, type) or not hasattr(client, method)
    ):
        value = "None" if client is None else f"a {type(client).__name__}"  # a URL has secrets
        raise InputError(f"the first argument is {value}: expected {expected}")


def checked_field(argument: str, name: object) -> str:
    """The name of a field, column, table, index or collection. Raises `InputError` for others.

    No engine can have an empty name, or one with a NUL.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{argument}={shown(name)}: expected a name, got no text or an empty one")
    return name


def optional_field(argument: str, name: object) -> str | None:
    """The name of a field, or None. Raises `InputError`."""
    return None if name is None else checked_field(argument, name)


def checked_names(argument: str, names: object) -> tuple[str, ...]:
    """A list of names. Raises `InputError`, also for a string, which is no list."""
    if isinstance(names, str):
        raise InputError(f"{argument}={shown(names)}: expected a list of names, got a string")
    if not isinstance(names, Sequence | set | frozenset) or isinstance(names, bytes):
        raise InputError(f"{argument}={shown(names)}: expected a list of names")
    return tuple(checked_field(f"{argument}[{index}]", name) for index, name in enumerate(names))


def optional_names(argument: str, names: object) -> tuple[str, ...] | None:
    """A list of names, or None. Raises `InputError`."""
    return None if names is None else checked_names(argument, names)


def checked_choice_of(argument: str, value: object, choices: Sequence[str]) -> str:
    """One of the choices. Raises `InputError`."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{argument}={shown(value)}: expected {', '.join(choices)}")
    return value


def optional_count(argument: str, value: object) -> int | None:
    """A whole number from 1, or None. Raises `InputError`."""
    count = whole(value)
    if value is not None and (count is None or count < 1):
        raise InputError(f"{argument}={shown(value)}: expected a whole number from 1, or None")
    return count


def optional_number(argument: str, value: object) -> float | None:
    """A finite number, or None. Raises `InputError`."""
    result = number(value)
    if value is not None and result is None:
        raise InputError(f"{argument}={shown(value)}: expected a number, or None")
    return result


def checked_filter(where: Any, *, several: bool = False) -> Any:
    """A filter as a mapping, with `several` also a list of them, or None. Raises `InputError`."""
    filters = where if several and isinstance(where, list | tuple) else [where]
    if where is not None and not all(isinstance(part, Mapping) for part in filters):
        kinds = "a mapping, or a list of them" if several else "a mapping"
        raise InputError(f"where={shown(where)}: expected a filter: {kinds}")
    return where


def question(query: object) -> str:
    """The query as plain text that every client can encode, without lone surrogates.

    Raises `QueryError` for what is not text.
    """
    text = string(query)
    if text is None:
        raise QueryError(f"query: expected text, got {type(query).__name__}")
    return without_surrogates(text)
