"""Names of models and indexes, as a server is given them: ``NAME`` or ``ALIAS=NAME``."""

from collections.abc import Callable, Iterable

from resift.errors import InputError, shortened, shown


def named(option: str, names: Iterable[str], default: Callable[[str], str]) -> dict[str, str]:
    """Alias → name, in order; `default` makes the alias of a name without one.

    Raises `InputError`, which names the `option`, for no name and for an alias given twice.
    """
    by_alias: dict[str, str] = {}
    for entry in names:
        alias, equals, name = entry.partition("=")
        if not equals or "/" in alias:  # a URI may have an equals sign
            alias, name = default(entry), entry
        if not alias or not name:
            raise InputError(f"{option}={shown(entry)}: expected a name, or ALIAS=NAME")
        if alias in by_alias:
            raise InputError(
                f"{option}={shortened(alias)}: given twice; name one of them, as ALIAS={name}"
            )
        by_alias[alias] = name
    return by_alias


def last_part(uri: str) -> str:
    """The last part of a path or URI."""
    return uri.rstrip("/").rpartition("/")[2] or uri
