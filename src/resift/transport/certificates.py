"""Certificates of authorities to trust beside the system's, for all clients of an index.

Python and obstore add a file to the system's. Google's and Azure's clients, and Lance, which reads
SSL_CERT_FILE, trust one file in place of the system's; so they get a file that holds both.
"""

import atexit
import os
import re
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from resift.errors import InputError, SettingsError
from resift.files import from_home, read_regular, reason

_MAX_BYTES = 16 << 20
_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----(.+?)-----END", re.DOTALL)
# OpenSSL reads only such names in a folder.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+")
# The system's certificates, where this Python was built for another system's folders.
_USUAL_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_LOCK = threading.Lock()
_BUNDLES: dict[tuple[bytes, ...], str] = {}
"""The files that this process wrote, by the certificates in each."""

_TRUSTED_BY_LANCE: dict[str, bytes] = {}
"""Certificates beside the system's, by the path of the user's file."""


def ssl_context(ca_file: str) -> ssl.SSLContext:
    """Make a context for clients; raise `SettingsError` if the file has no certificates."""
    read_authorities(ca_file)
    context = ssl.create_default_context()
    context.load_verify_locations(_path(ca_file, "ca_file"))
    return context


def read_authorities(ca_file: str, name: str = "ca_file") -> bytes:
    """Read a PEM file; raise `SettingsError` if it has no certificates that can be used.

    `name` is the setting that the error names.
    """
    path = _path(ca_file, name)
    try:
        state = os.stat(path)
        return _read(path, state.st_mtime_ns, state.st_size)
    except OSError as error:  # also of a file that is no PEM
        problem = "no certificates" if isinstance(error, ssl.SSLError) else reason(error)
        raise _unusable(ca_file, problem, name) from error


@lru_cache(maxsize=4)
def _read(path: str, _changed: int, _size: int) -> bytes:
    content = read_regular(path, _MAX_BYTES)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    return content


def bundle(ca_file: str) -> str:
    """Return the path of a private file with the system's certificates and those in `ca_file`.

    The process removes it at its end. Raise `SettingsError` if there is no certificate in
    `ca_file`, or no folder for temporary files.
    """
    authorities = read_authorities(ca_file)
    with _LOCK:
        return _write_bundle((_system_authorities(), authorities))


def trust_in_lance(ca_file: str) -> None:
    """Make Lance trust the file's authorities beside the system's, from its next client on.

    So SSL_CERT_FILE names a file like that of `bundle`, with the authorities of all calls. If the
    user has set it, it is not replaced: raise `SettingsError` if that file lacks one of them.
    """
    authorities = read_authorities(ca_file)
    path = _path(ca_file, "ca_file")
    with _LOCK:
        present = os.environ.get("SSL_CERT_FILE")
        if not present or present in _BUNDLES.values():
            _TRUSTED_BY_LANCE[path] = authorities
            contents = tuple(dict.fromkeys(_TRUSTED_BY_LANCE.values()))
            os.environ["SSL_CERT_FILE"] = _write_bundle((_system_authorities(), *contents))
        elif not _has_all(present, authorities):
            raise SettingsError(
                f"ca_file={path!r}: SSL_CERT_FILE names {present!r}, and Lance reads that: unset "
                "it, or write both files' certificates into the one that it names"
            )


def _has_all(path: str, authorities: bytes) -> bool:
    try:
        present = read_regular(path, _MAX_BYTES)
    except OSError:
        return False
    return _encoded(authorities) <= _encoded(present)


def _encoded(content: bytes) -> set[bytes]:
    """Return the certificates of a PEM file in base64, without line breaks."""
    return {b"".join(text.split()) for text in _PEM.findall(content)}


def _write_bundle(contents: tuple[bytes, ...]) -> str:
    """Write certificates into a new file, unless this process wrote the same, and return its path.

    A file is written again if a program that cleans up has removed it.
    """
    path = _BUNDLES.get(contents)
    if path and os.path.isfile(path):
        return path
    try:
        number, path = tempfile.mkstemp(prefix="resift-authorities-", suffix=".pem")
        atexit.register(_remove, path, os.getpid())
        with os.fdopen(number, "wb") as stream:
            stream.write(b"\n".join(contents))
    except OSError as error:
        raise SettingsError(
            f"ca_file: no temporary file can hold its certificates and the system's "
            f"({reason(error)}): set TMPDIR to a folder that can be written"
        ) from error
    _BUNDLES[contents] = path
    return path


def _remove(path: str, process: int) -> None:
    if os.getpid() == process:  # not a fork, which uses the file of its parent
        with suppress(OSError):
            os.unlink(path)


def _system_authorities() -> bytes:
    """Return the certificates that Python trusts without further settings, as PEM."""
    paths = ssl.get_default_verify_paths()
    file = os.environ.get(paths.openssl_cafile_env)
    is_set = file and file not in _BUNDLES.values()
    folders = os.environ.get(paths.openssl_capath_env) or paths.openssl_capath
    return _read_system(str(file) if is_set else paths.openssl_cafile, folders)


@lru_cache(maxsize=4)
def _read_system(file: str, folders: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.platform == "win32":
        context.load_default_certs()
    for path in (file, *_hashed_files(folders)):
        _load(context, path)
    for path in (*_USUAL_FILES, *_certifi()):
        if not context.get_ca_certs():
            _load(context, path)
    return "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True))).encode()


def _load(context: ssl.SSLContext, path: str) -> None:
    with suppress(OSError):  # a file that is not there, or without certificates, as in OpenSSL
        context.load_verify_locations(path)


def _hashed_files(folders: str) -> Iterator[str]:
    for folder in filter(None, folders.split(os.pathsep)):
        with suppress(OSError):
            names = sorted(filter(_HASHED_NAME.fullmatch, os.listdir(folder)))
            yield from (os.path.join(folder, name) for name in names)


def _certifi() -> list[str]:
    """Return the file of the package certifi, if that is installed."""
    spec = find_spec("certifi")
    return [str(Path(spec.origin).with_name("cacert.pem"))] if spec and spec.origin else []


def _path(ca_file: str, name: str) -> str:
    try:
        return os.path.abspath(from_home(ca_file))
    except InputError as error:
        raise _unusable(ca_file, str(error), name) from error


def _unusable(ca_file: str, problem: str, name: str) -> SettingsError:
    return SettingsError(f"{name}={ca_file!r}: {problem}; expected a file of PEM certificates")
