"""Checks of single settings and of their names, and their variables in the environment.

A check of a setting takes a name and a value, and returns the value to store.
"""

from collections.abc import Collection, Mapping
from typing import Any

from resift.errors import SettingsError, shown


def text(name: str, value: Any, *, is_secret: bool = False) -> str | None:
    """Text or None; empty text becomes None. An error does not show a secret."""
    if value is None or isinstance(value, str):
        return value if value and value.strip() else None
    if is_secret:
        raise SettingsError(f"{name}: expected text, got {type(value).__name__}")
    raise SettingsError(f"{name}={shown(value)}: expected text")


def secret(name: str, value: Any) -> str | None:
    """The same for a value that no message shows."""
    return text(name, value, is_secret=True)


def flag(name: str, value: Any) -> bool:
    """A boolean, 0 or 1, or one of these as text."""
    word = str(value).strip().lower() if type(value) in (bool, int, str) else ""
    if word not in ("true", "false", "1", "0"):
        raise SettingsError(f"{name}={shown(value)}: expected true or false")
    return word in ("true", "1")


def refuse_unknown(values: Mapping[str, Any], known: Collection[str], prefix: str) -> None:
    """Raise `SettingsError` for a name that is not `known`, with `prefix` before it."""
    for name in sorted(values.keys() - set(known)):
        raise SettingsError(
            f"{prefix}{name}: no such setting; there are {', '.join(sorted(known))}"
        )


def from_environment(
    environ: Mapping[str, str], names: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, str]]:
    """Return (variable, value) of each setting in the environment.

    `names` has the variables of each setting; the first one that is not blank holds.
    """
    variables = {
        setting: next((name for name in names[setting] if environ.get(name, "").strip()), None)
        for setting in names
    }
    return {setting: (name, environ[name]) for setting, name in variables.items() if name}
