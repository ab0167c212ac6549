"""API keys of the server's callers, from a file that may change while the server runs."""

import hashlib
import hmac
from pathlib import Path

from resift.errors import InputError
from resift.files import read_regular, reason

MAX_BYTES = 1 << 20
MIN_CHARACTERS = 16


class Keys:
    """The keys in a file, one a line; blank lines and lines that begin with ``#`` do not count.

    Only hashes are kept. The file is read again when it has changed, so keys are added and revoked
    without a restart. Raises `InputError` for a file that cannot be read or has no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = self._stamp()
        self._hashes = self._read()

    def accepts(self, key: str | None) -> bool:
        """Whether the key is one of the file's; compares in constant time."""
        self._refresh()
        digest = _digest(key or "")
        known = [hmac.compare_digest(digest, known) for known in self._hashes]
        return any(known) and bool(key)

    def _refresh(self) -> None:
        """Read a changed file; a damaged one changes nothing, so that no caller is locked out."""
        try:
            stamp = self._stamp()
            if stamp != self._changed:
                self._hashes, self._changed = self._read(), stamp
        except InputError:
            return

    def _stamp(self) -> tuple[int, int]:
        try:
            state = self._path.stat()
        except OSError as error:
            raise InputError(f"{self._path}: the keys cannot be read ({reason(error)})") from error
        return state.st_mtime_ns, state.st_size

    def _read(self) -> list[bytes]:
        try:
            text = read_regular(self._path, MAX_BYTES).decode()
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path}: the keys cannot be read ({error})") from error
        lines = [line.strip() for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise InputError(f"{self._path}: no key in it; expected one a line")
        for number, line in enumerate(lines, start=1):
            if line in keys and len(line) < MIN_CHARACTERS:
                raise InputError(
                    f"{self._path}: line {number}: a key of {len(line)} characters; expected at "
                    f"least {MIN_CHARACTERS}"
                )
        return [_digest(key) for key in keys]


def bearer(authorization: str | None) -> str | None:
    """The key of an ``Authorization: Bearer`` header."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
