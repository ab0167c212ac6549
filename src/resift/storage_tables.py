"""Reads the settings of object stores from a file's ``[storage]`` table and the environment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resift.errors import SettingsError, shown
from resift.setting_values import from_environment, refuse_unknown
from resift.storage_settings import (
    AZ_ENVIRONMENT,
    ENVIRONMENT,
    GS_ENVIRONMENT,
    AzSettings,
    GsSettings,
    StorageSettings,
    kind_of_table,
    table_uri,
)

_STORES = {"gs": GsSettings, "az": AzSettings}


def read_storage(
    table: Mapping[str, Any], environ: Mapping[str, str], source: str
) -> StorageSettings:
    """Make the settings of a file's ``[storage]`` table and the environment, which wins.

    A table for a URI wins over the environment, which names no URI. `source` names the file in the
    message of a `SettingsError` for a value of the file; that for a variable names the variable.
    """
    with _named(source):
        values = dict(table)
        by_uri = {uri: values.pop(uri) for uri in table if "://" in uri}
        stores = {name: values.pop(name, {}) for name in _STORES}
        refuse_unknown(values, (*ENVIRONMENT, *_STORES), "storage.")
    read = _with_variables(values, f"{source}storage.", environ, ENVIRONMENT)
    for name, kind in _STORES.items():
        names = _names_of(kind)
        with _named(source):
            given = _checked_table(f"storage.{name}", stores[name], names)
        read[name] = kind(**_with_variables(given, f"{source}storage.{name}.", environ, names))
    tables = {}
    for uri, content in by_uri.items():
        with _named(source):
            kind_of_uri = kind_of_table(table_uri(uri))
            names = _names_of(kind_of_uri)
            given = _checked_table(f'storage."{uri}"', content, names)
        prefix = f'{source}storage."{uri}".'
        tables[uri] = kind_of_uri(**_with_variables(given, prefix, {}, names))
    return StorageSettings(**read, by_uri=tables)


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Begin the message of a `SettingsError` with the file's name."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{source}{error}") from None


def _names_of(kind: type) -> Mapping[str, tuple[str, ...]]:
    """The settings of a kind of table, with the variables of each."""
    return {GsSettings: GS_ENVIRONMENT, AzSettings: AZ_ENVIRONMENT}.get(kind, ENVIRONMENT)


def _checked_table(name: str, table: object, names: Mapping[str, object]) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise SettingsError(f"{name}={shown(table)}: expected a table [{name}]")
    refuse_unknown(table, names, f"{name}.")
    return table


def _with_variables(
    values: Mapping[str, Any],
    prefix: str,
    environ: Mapping[str, str],
    names: Mapping[str, tuple[str, ...]],
) -> dict[str, Any]:
    """Values of a table and of the environment, which wins, with their `origins`."""
    variables = from_environment(environ, names)
    origins = {name: f"{prefix}{name}" for name in values}
    origins |= {name: variable for name, (variable, _) in variables.items()}
    return {
        **values,
        **{name: value for name, (_, value) in variables.items()},
        "origins": origins,
    }
