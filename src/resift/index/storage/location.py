"""The location of documents or an index: a local path or ``s3://bucket/prefix``. Reads no files."""

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
# The names that AWS and other stores allow or have allowed; all are valid in a URL.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_MAX_NAME = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Location:
    """A folder or a bucket's prefix in canonical form, with the settings to reach it.

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
        """The path with a slash, with which all keys below it begin; "" for a whole bucket."""
        return f"{self.path}/" if self.path else ""

    @property
    def folder(self) -> Path:
        """The folder on the local disk, in the form that Python expects under this locale."""
        return Path(os.fsdecode(on_disk(self.path)))

    def child(self, key: str) -> str:
        """Return the URI of `key` below this location."""
        return f"{self.uri.rstrip('/')}/{key}"


def on_disk(path: str) -> bytes:
    """Encode a canonical path, or a key below one, as UTF-8, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def from_disk(name: bytes) -> str:
    """Invert `on_disk`; bytes that are not UTF-8 become lone surrogates."""
    return name.decode("utf-8", "surrogateescape")


def locate(uri: str | os.PathLike[str], storage: StorageSettings = DEFAULT) -> Location:
    """Parse a path or a URI; raise `InputError` if it is neither.

    Paths (in this locale's encoding) and the key in ``s3://bucket/key`` are literal; in a
    ``file://`` URI ``%20`` is a blank. A path may begin with ``~``.
    """
    return replace(_locate(uri, _encode_typed), storage=storage)


def _locate(uri: object, encode: Callable[[str], bytes]) -> Location:
    """Parse a path or a URI; `encode` returns a path's bytes on the disk."""
    if isinstance(uri, os.PathLike):
        return _locate_folder(os.fspath(uri), encode)
    if not isinstance(uri, str):
        raise InputError(f"{type(uri).__name__}: {_EXPECTED}, as text or as a path")
    if not uri.strip():
        raise InputError(f"{uri!r}: {_EXPECTED}")
    if match := _SCHEME.fullmatch(uri):
        scheme, rest = match[1].lower(), match[2]
        if scheme == "s3":
            return _locate_prefix(rest)
        if scheme == "file":
            return _locate_folder(_file_path(uri, rest), on_disk)
        raise InputError(
            f"{_shown(uri)}: {_EXPECTED}; stores that speak S3 are reached by AWS_ENDPOINT_URL"
        )
    if uri[:5].lower() == "file:":
        path = _file_path(uri, f"//{uri[5:]}" if uri[5:6] != "/" else uri[5:])
        return _locate_folder(path, on_disk)
    if _MISTYPED_SCHEME.match(uri):
        raise InputError(f"{_shown(uri)}: {_EXPECTED}, with two slashes after the colon")
    return _locate_folder(uri, encode)


def locate_object(uri: str, storage: StorageSettings = DEFAULT) -> tuple[Location, str]:
    """Split the URI of an object, as in a citation, into a location and the object's key there.

    In a bucket the location is the whole bucket, because a key may hold dots and double slashes.
    """
    if uri.startswith("s3://"):
        bucket, _, key = uri[5:].partition("/")
        return replace(_locate_prefix(bucket), storage=storage), key
    path = PurePath(_locate(uri, on_disk).path)
    return Location(None, str(path.parent), storage), path.name


def _encode_typed(path: str) -> bytes:
    """Encode a path that was typed, or made by a program, under this locale."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # this locale lacks some of its characters
        return on_disk(path)


def _locate_folder(path: object, encode: Callable[[str], bytes]) -> Location:
    if not isinstance(path, str):
        raise InputError(f"{path!r}: {_EXPECTED}, as text and not as bytes")
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
        raise InputError(f"{_shown(path)}: not a path ({error}); {_EXPECTED}") from None
    if _CONTROL.search(text):
        raise InputError(f"{_shown(text)}: a path with control characters; {_EXPECTED} without")
    return Location(None, text)


def _file_path(uri: str, rest: str) -> str:
    """Return the path of a file URI, as in RFC 8089."""
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


def _locate_prefix(rest: str) -> Location:
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        shown = _shown(f"s3://{bucket.rpartition('@')[2]}")  # a secret may precede the @
        raise InputError(
            f"{shown}: not the name of a bucket; {_EXPECTED}: letters, digits, dots and dashes"
        )
    path = prefix.strip("/")
    has_invalid_part = path and any(part in ("", ".", "..") for part in path.split("/"))
    if has_invalid_part or _CONTROL.search(path):
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
