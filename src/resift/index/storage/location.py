"""Where documents and indexes live: a local path or ``s3://bucket/prefix``. Reads nothing there."""

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
"""Where an index has its table, below its own place."""

DEFAULT = StorageSettings()

_EXPECTED = "expected a folder or s3://bucket/prefix"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
# What other programs take for a URI and a path would be made of: one slash too few, or none.
_HALF = re.compile(r"(s3a?|s3n|gs|gcs|az|abfss?|https?|ftp):", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
# What AWS allows now and has allowed, and what other stores do; a URL can hold all of it.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_LONGEST_NAME = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Location:
    """A place in its one canonical spelling: `bucket` is None for the local disk.

    `path` is absolute on the local disk. In a bucket it is the prefix, without slashes around
    it, and may be empty.
    """

    bucket: str | None
    path: str
    storage: StorageSettings = field(default=DEFAULT, repr=False, compare=False)

    @property
    def uri(self) -> str:
        """The canonical URI: no trailing slash, a plain absolute path for the local disk."""
        if self.bucket is None:
            return self.path
        return f"s3://{self.bucket}/{self.path}".rstrip("/")

    @property
    def folder(self) -> Path:
        """The place on the local disk, as Python's own functions want it under this locale."""
        return Path(os.fsdecode(on_disk(self.path)))

    def child(self, key: str) -> str:
        """The URI of something below this place."""
        return f"{self.uri.rstrip('/')}/{key}"


def on_disk(path: str) -> bytes:
    """A canonical path, or a key below one, as the disk has it: UTF-8, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def from_disk(name: bytes) -> str:
    """The name that `on_disk` gives back; what is not UTF-8 in it becomes half surrogate pairs."""
    return name.decode("utf-8", "surrogateescape")


def locate(uri: str | os.PathLike[str], storage: StorageSettings = DEFAULT) -> Location:
    """Read a path or a URI; raise `InputError` for one that is neither.

    A path, which is what the system takes it for under this locale, and the key in
    ``s3://bucket/key`` are taken as they are. ``file://`` is a URI: in it ``%20`` is a blank. The
    user's home may be written ``~`` in a path.
    """
    return replace(_locate(uri, _typed), storage=storage)


def _locate(uri: object, encode: Callable[[str], bytes]) -> Location:
    """The same, with a path's characters as bytes by `encode`."""
    if isinstance(uri, os.PathLike):
        path = os.fspath(uri)
        return _folder(path, path, encode)
    if not isinstance(uri, str):
        raise InputError(f"{type(uri).__name__}: {_EXPECTED}, as text or as a path")
    if not uri.strip():
        raise InputError(f"{uri!r}: {_EXPECTED}")
    if found := _SCHEME.fullmatch(uri):
        scheme, rest = found[1].lower(), found[2]
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
    if _HALF.match(uri):
        raise InputError(f"{_shown(uri)}: {_EXPECTED}, with two slashes behind the colon")
    return _folder(uri, uri, encode)


def locate_object(uri: str, storage: StorageSettings = DEFAULT) -> tuple[Location, str]:
    """The place that holds one object, as a hit names it, and the object's key below that place.

    In a bucket that is the whole bucket: any key is a key, dots, blanks and double slashes too.
    """
    if uri.startswith("s3://"):
        bucket, _, key = uri[5:].partition("/")
        return replace(_bucket(bucket), storage=storage), key
    path = PurePath(_locate(uri, on_disk).path)
    return Location(None, str(path.parent), storage), path.name


def _typed(path: str) -> bytes:
    """What a path that somebody has typed, or a program has made, is on the disk."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # text that this locale has no letters for
        return on_disk(path)


def _folder(path: object, given: object, encode: Callable[[str], bytes]) -> Location:
    if not isinstance(path, str):
        raise InputError(f"{given!r}: {_EXPECTED}, as text and not as bytes")
    if os.name == "posix" and _WINDOWS.match(path):
        raise InputError(f"{path!r}: a path of Windows; {_EXPECTED} of this machine")
    try:
        place = os.path.realpath(encode(str(from_home(path))))
        if any(len(part) > _LONGEST_NAME for part in place.split(os.fsencode(os.sep))):
            raise ValueError("a name in it is too long")
        if os.path.islink(place):
            raise InputError(f"{path!r}: a link that leads in a circle; {_EXPECTED}")
        text = place.decode()
    except UnicodeError:
        raise InputError(f"{path!r}: not UTF-8; {_EXPECTED} whose name is") from None
    except InputError:  # nobody's home
        raise
    except (ValueError, OSError) as error:  # a NUL in it, or more than a name can have
        raise InputError(f"{_shown(path)}: no path ({error}); {_EXPECTED}") from None
    if _CONTROL.search(text):
        raise InputError(f"{_shown(text)}: a path with control characters; {_EXPECTED} without")
    return Location(None, text)


def _decoded(uri: str, rest: str) -> str:
    """The path of a file URI, as RFC 8089 has it: this machine's, with its escapes resolved."""
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
        shown = _shown(f"s3://{bucket.rpartition('@')[2]}")  # what stands before an @ is a secret
        raise InputError(
            f"{shown}: no name of a bucket; {_EXPECTED}: letters, digits, dots and dashes"
        )
    path = prefix.strip("/")
    odd = [part for part in path.split("/") if part in (".", "..") or (not part and path)]
    if odd or _CONTROL.search(path):
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
    """The URI in a line, without what a user may have put in front of an @ in it."""
    scheme, separator, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    whole = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}" if separator else uri
    text = whole if whole.isprintable() else ascii(whole)
    return text if len(text) <= 200 else f"{text[:200]}…"
