"""Certificates of authorities to trust beside the system's, for all clients of an index.

Python and obstore take a file. Lance takes none: it reads SSL_CERT_FILE and SSL_CERT_DIR, so these
are set for this process before its first client is made.
"""

import os
import ssl
from functools import lru_cache

from resift.errors import InputError, SettingsError
from resift.files import from_home, read_regular, reason

_MAX_BYTES = 16 << 20


def ssl_context(ca_file: str) -> ssl.SSLContext:
    """Make a context for clients; raise `SettingsError` if the file has no certificates."""
    read_authorities(ca_file)
    context = ssl.create_default_context()
    context.load_verify_locations(_path(ca_file))
    return context


def read_authorities(ca_file: str) -> bytes:
    """Read a PEM file; raise `SettingsError` if it has no certificates that can be used."""
    path = _path(ca_file)
    try:
        state = os.stat(path)
        return _read(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise _unusable(ca_file, reason(error)) from error


@lru_cache(maxsize=4)
def _read(path: str, _changed: int, _size: int) -> bytes:
    content = read_regular(path, _MAX_BYTES)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise _unusable(path, "no certificates") from error
    return content


def trust_in_lance(ca_file: str) -> None:
    """Make Lance trust the file's authorities beside the system's, from its next client on.

    Raise `SettingsError` if SSL_CERT_FILE names another file: it is the user's, and not replaced.
    """
    read_authorities(ca_file)
    path = _path(ca_file)
    present = os.environ.get("SSL_CERT_FILE")
    if present == path:
        return
    if present and not _is_same_file(present, path):
        raise SettingsError(
            f"ca_file={path!r}: SSL_CERT_FILE names {present!r}, and Lance reads that: unset it, "
            "or write both files' certificates into the one that it names"
        )
    if not present:
        os.environ["SSL_CERT_FILE"] = path
        if folder := ssl.get_default_verify_paths().capath:
            os.environ.setdefault("SSL_CERT_DIR", folder)


def _path(ca_file: str) -> str:
    try:
        return os.path.abspath(from_home(ca_file))
    except InputError as error:
        raise _unusable(ca_file, str(error)) from error


def _is_same_file(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _unusable(ca_file: str, problem: str) -> SettingsError:
    return SettingsError(f"ca_file={ca_file!r}: {problem}; expected a file of PEM certificates")
