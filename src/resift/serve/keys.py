"""API keys of the server's callers, from a file that may change while the server runs."""

import hashlib
import hmac
import logging
from pathlib import Path

from resift.errors import InputError
from resift.files import read_regular, reason

MAX_BYTES = 1 << 20
MIN_CHARACTERS = 16

_log = logging.getLogger("resift")


class Keys:
    """The keys in a file, one a line; blank lines and lines that begin with ``#`` do not count.

    Only hashes are kept. The file is read again when it has changed, so keys are added and revoked
    without a restart. A file that cannot be used is logged: the keys before it stay, and without
    any no caller is accepted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._hashes: list[bytes] = []
        self._refresh()

    @staticmethod
    def check(path: Path) -> None:
        """Raise `InputError` for a file that cannot be read or has no key."""
        _read(path)

    def accepts(self, key: str | None) -> bool:
        """Whether the key is one of the file's; compares in constant time."""
        self._refresh()
        digest = _digest(key or "")
        known = [hmac.compare_digest(digest, known) for known in self._hashes]
        return any(known) and bool(key)

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._hashes = _read(self._path)
        except InputError as error:
            _log.error("the keys stay as they were: %s", error)


def _stamp(path: Path) -> tuple[int, int]:
    """Time and size of a file; of one that is not there, zeros."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


def _read(path: Path) -> list[bytes]:
    """The hashes of the keys in a file."""
    try:
        text = read_regular(path, MAX_BYTES).decode()
    except OSError as error:
        raise InputError(f"{path}: the keys cannot be read ({reason(error)})") from error
    except ValueError as error:
        raise InputError(f"{path}: the keys are not UTF-8 text") from error
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InputError(f"{path}: no key in it; expected one a line")
    for number, line in enumerate(lines, start=1):
        if line in keys and len(line) < MIN_CHARACTERS:
            raise InputError(
                f"{path}: line {number}: a key of {len(line)} characters; expected at least "
                f"{MIN_CHARACTERS}"
            )
    return [_digest(key) for key in keys]


def bearer(authorization: str | None) -> str | None:
    """The key of an ``Authorization: Bearer`` header."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
