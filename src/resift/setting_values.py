"""Values of settings, each checked for kind and range; `SettingsError` for what cannot be.

A check takes a setting's name and what was given for it, and gives what it means.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resift.errors import SettingsError, shown

RUNTIMES = ("openvino", "onnxruntime")
MOST = 1_000_000_000
"""No count is larger: it is a slip, and beyond what runtimes take."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with its ``~``, or ``~user``, as a folder; as it is where there is no such home."""
    homeless = os.environ.get("HOME") == ""
    return Path(path if homeless else os.path.expanduser(path))


def runtime(name: str, value: Any) -> str | None:
    """One of `RUNTIMES`; None where nothing is said."""
    named = text(name, value) if isinstance(value, str) else value
    if named is None or (isinstance(named, str) and named in RUNTIMES):
        return named
    raise SettingsError(f"{name}={shown(value)}: expected one of {', '.join(RUNTIMES)}")


def text(name: str, value: Any) -> str | None:
    """Text; an empty one is none."""
    if value is None or isinstance(value, str):
        return value if value and value.strip() else None
    raise SettingsError(f"{name}={shown(value)}: expected text")


def path(name: str, value: Any) -> str | None:
    """The name of a file or folder, `expanded`; an empty one is none."""
    named = text(name, os.fspath(value) if isinstance(value, os.PathLike) else value)
    if named is not None and "\0" in named:
        raise SettingsError(f"{name}={shown(named)}: no name that a file can have")
    return None if named is None else os.fspath(expanded(named))


def secret(name: str, value: Any) -> str | None:
    """Text that no message shows."""
    if value is None or isinstance(value, str):
        return value if value and value.strip() else None
    raise SettingsError(f"{name}: expected text, got {type(value).__name__}")


def flag(name: str, value: Any) -> bool:
    """True or false, as themselves or in words."""
    said = value.strip().lower() if isinstance(value, str) else value
    if type(said) in (bool, int, str) and said in (True, False, "true", "false", "1", "0"):
        return said in (True, "true", "1")
    raise SettingsError(f"{name}={shown(value)}: expected true or false")


def count(least: int, meaning: str = "") -> Callable[[str, Any], int]:
    """A check for whole numbers, as themselves or as digits."""

    def check(name: str, value: Any) -> int:
        digits = value.strip() if isinstance(value, str) else ""
        readable = type(value) is int or (digits.isdecimal() and len(digits) < 1000)
        given = int(value) if readable else -1
        if given > MOST:
            raise SettingsError(f"{name}: expected a whole number up to {MOST:,}, got a larger one")
        if given < least:
            more = f", {meaning}" if meaning else f" from {least}"
            said = shown(value) if type(value) is not int or abs(value) < MOST else "under zero"
            raise SettingsError(f"{name}={said[:40]}: expected a whole number{more}")
        return given

    return check
