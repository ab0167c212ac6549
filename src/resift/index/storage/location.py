"""Where documents and indexes live: a local path or ``s3://bucket/prefix``. Does no I/O there."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from urllib.parse import unquote_to_bytes

from resift.errors import InputError
from resift.files import from_home
from resift.settings import StorageSettings

TABLE = "passages.lance"
"""The folder of an index's Lance table, below the index's location."""

DEFAULT = StorageSettings()
_EXPECTED = "expected a folder or s3://bucket/prefix"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
# A URI with one slash or none: it would be read as a relative path.
_MISTYPED_SCHEME = re.compile(r"(s3a?|s3n|gs|gcs|az|abfss?|https?|ftp):", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
# What AWS and other stores allow now or have allowed; a URL can hold all of it.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_MAX_NAME = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Location:
    """A folder or a bucket's prefix in canonical form, and the settings to reach it with.

    `bucket` is None for the local disk, where `path` is absolute. In a bucket `path` is the
    prefix without slashes around it, and may be empty.
    """

    bucket: str | None
    path: str
    storage: StorageSettings = field(default=DEFAULT, repr=False, compare=False)

    @property
    def uri(self) -> str:
        """The canonical URI without a trailing slash; an absolute path for the local disk."""
        if self.bucket is None:
            return self.path
        return f"s3://{self.bucket}/{self.path}".rstrip("/")

    @property
    def prefix(self) -> str:
        """The beginning that all keys below a bucket's prefix have."""
        return f"{self.path}/" if self.path else ""

    @property
    def folder(self) -> Path:
        """The folder on the local disk, as Python's functions expect it under this locale."""
        return Path(os.fsdecode(on_disk(self.path)))

    def child(self, key: str) -> str:
        """The URI of something below this location."""
        return f"{self.uri.rstrip('/')}/{key}"


def on_disk(path: str) -> bytes:
    """Encode a canonical path, or a key below one, as UTF-8 whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def from_disk(name: bytes) -> str:
    """Decode what `on_disk` encodes; bytes that are not UTF-8 become lone surrogates."""
    return name.decode("utf-8", "surrogateescape")


def locate(uri: str | os.PathLike[str], storage: StorageSettings = DEFAULT) -> Location:
    """Parse a path or a URI; raise `InputError` if it is neither.

    A path (in this locale's encoding) and the key in ``s3://bucket/key`` are taken literally. In a
    ``file://`` URI ``%20`` is a blank. A path may begin with ``~``.
    """
    return replace(_locate(uri, _as_typed), storage=storage)


def _locate(uri: object, encode: Callable[[str], bytes]) -> Location:
    """Parse a path or a URI; `encode` gives a path's bytes on the disk."""
    if isinstance(uri, os.PathLike):
        path = os.fspath(uri)
        return _folder(path, path, encode)
    if not isinstance(uri, str):
        raise InputError(f"{type(uri).__name__}: {_EXPECTED}, as text or as a path")
    if not uri.strip():
        raise InputError(f"{uri!r}: {_EXPECTED}")
    if match := _SCHEME.fullmatch(uri):
        scheme, rest = match[1].lower(), match[2]
        if scheme == "s3":
            return _bucket(rest)
        if scheme == "file":
            return _folder(_decoded(uri, rest), uri, on_disk)
        raise InputError(
            f"{_shown(uri)}: {_EXPECTED}; stores that speak S3 are reached by AWS_ENDPOINT_URL"
        )
    if uri[:5].lower() == "file:":
        path = _decoded(uri, f"//{uri[5:]}" if uri[5:6] != "/" else uri[5:])
        return _folder(path, uri, on_disk)
    if _MISTYPED_SCHEME.match(uri):
        raise InputError(f"{_shown(uri)}: {_EXPECTED}, with two slashes after the colon")
    return _folder(uri, uri, encode)


def locate_object(uri: str, storage: StorageSettings = DEFAULT) -> tuple[Location, str]:
    """Split an object's URI, as a hit names it, into the location that holds it and its key there.

    In a bucket the location is the whole bucket, as any key is valid: dots, blanks, double slashes.
    """
    if uri.startswith("s3://"):
        bucket, _, key = uri[5:].partition("/")
        return replace(_bucket(bucket), storage=storage), key
    path = PurePath(_locate(uri, on_disk).path)
    return Location(None, str(path.parent), storage), path.name


def _as_typed(path: str) -> bytes:
    """Encode a path that was typed, or made by a program, under this locale."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # this locale lacks some of its characters
        return on_disk(path)


def _folder(path: object, given: object, encode: Callable[[str], bytes]) -> Location:
    if not isinstance(path, str):
        raise InputError(f"{given!r}: {_EXPECTED}, as text and not as bytes")
    if os.name == "posix" and _WINDOWS.match(path):
        raise InputError(f"{path!r}: a path of Windows; {_EXPECTED} of this machine")
    try:
        real = os.path.realpath(encode(str(from_home(path))))
        if any(len(part) > _MAX_NAME for part in real.split(os.fsencode(os.sep))):
            raise ValueError("a name in it is too long")
        if os.path.islink(real):
            raise InputError(f"{path!r}: a link that leads in a circle; {_EXPECTED}")
        text = real.decode()
    except UnicodeError:
        raise InputError(f"{path!r}: not UTF-8; {_EXPECTED} whose name is") from None
    except InputError:  # a link, or an unknown home folder
        raise
    except (ValueError, OSError) as error:  # a NUL in it, or too long a name
        raise InputError(f"{_shown(path)}: no path ({error}); {_EXPECTED}") from None
    if _CONTROL.search(text):
        raise InputError(f"{_shown(text)}: a path with control characters; {_EXPECTED} without")
    return Location(None, text)


def _decoded(uri: str, rest: str) -> str:
    """Get the path of a file URI, as in RFC 8089."""
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise InputError(
            f"{_shown(uri)}: a file on {host!r}; expected file:///path, of this machine"
        )
    if not slash:
        raise InputError(f"{_shown(uri)}: expected file:///path")
    try:
        return "/" + unquote_to_bytes(path.encode()).decode()
    except UnicodeError:
        raise InputError(f"{_shown(uri)}: not UTF-8; {_EXPECTED} whose name is") from None


def _bucket(rest: str) -> Location:
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        shown = _shown(f"s3://{bucket.rpartition('@')[2]}")  # a secret may precede the @
        raise InputError(
            f"{shown}: no name of a bucket; {_EXPECTED}: letters, digits, dots and dashes"
        )
    path = prefix.strip("/")
    has_odd_part = path and any(part in ("", ".", "..") for part in path.split("/"))
    if has_odd_part or _CONTROL.search(path):
        raise InputError(
            f"{_shown(f's3://{rest}')}: a prefix with control characters or an empty or dotted "
            f"part; {_EXPECTED} without"
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"{_shown(f's3://{rest}')}: not UTF-8; {_EXPECTED} that is") from None
    return Location(bucket, path)


def _shown(uri: str) -> str:
    """Format a URI in one line, without a user and password before an @ in it."""
    scheme, separator, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    whole = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}" if separator else uri
    text = whole if whole.isprintable() else ascii(whole)
    return text if len(text) <= 200 else f"{text[:200]}…"
