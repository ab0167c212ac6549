"""Checks of single settings: each takes a name and a value, and returns the value to store."""

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
    value_or_word = value.strip().lower() if isinstance(value, str) else value
    if type(value_or_word) in (bool, int, str) and value_or_word in (
        *(True, False),
        *("true", "false", "1", "0"),
    ):
        return value_or_word in (True, "true", "1")
    raise SettingsError(f"{name}={shown(value)}: expected true or false")
