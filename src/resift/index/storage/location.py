"""The location of documents or an index: a local path or a bucket's prefix. Reads no files."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from urllib.parse import unquote_to_bytes

from resift.errors import InputError
from resift.files import from_home
from resift.index.storage.bucket_uris import (
    CONTROL,
    EXPECTED,
    SCHEMES,
    is_in_host,
    parse_bucket_uri,
    region_of,
    shown,
    split_key,
)
from resift.settings import StorageSettings

TABLE = "passages.lance"
"""The folder of an index's Lance table, below the index's location."""

DEFAULT = StorageSettings()
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
# A URI with one slash or none: it would be read as a relative path.
_MISTYPED_SCHEME = re.compile(r"(s3a?|s3n|gs|gcs|az|abfss?|https?|ftp):", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Location:
    """A folder or a bucket's prefix in canonical form, with the settings to reach it.

    `bucket` is None for the local disk, where `path` is absolute. In a bucket `path` is the
    prefix without slashes around it, and may be empty. `scheme` is ``s3``, ``gs`` or ``az``, or
    ``https`` (on this machine ``http``) for a public bucket of the server `host`; for ``az``,
    `host` is the account's, or "" for the account of the settings.
    """

    bucket: str | None
    path: str
    storage: StorageSettings = field(default=DEFAULT, repr=False, compare=False)
    scheme: str = "s3"
    host: str = ""

    @property
    def uri(self) -> str:
        """The canonical URI without a trailing slash; an absolute path for the local disk."""
        return self.path if self.bucket is None else f"{self._root}/{self.path}".rstrip("/")

    @property
    def _root(self) -> str:
        """The URI of the bucket."""
        if self.scheme == "az" and self.host:
            return f"abfss://{self.bucket}@{self.host}"
        if not self.host:
            return f"{self.scheme}://{self.bucket}"
        root = f"{self.scheme}://{self.host}"
        return root if is_in_host(self.host, str(self.bucket)) else f"{root}/{self.bucket}"

    @property
    def is_read_only(self) -> bool:
        """Whether this is a public bucket by its URL, which is only read."""
        return self.scheme in ("http", "https")

    @property
    def access(self) -> StorageSettings:
        """The settings for this URI."""
        if not self.is_read_only:
            return self.storage.of(self.uri)
        return StorageSettings(
            endpoint=f"{self.scheme}://{self.host}",
            region=region_of(self.host) or "us-east-1",
            virtual_hosted=is_in_host(self.host, str(self.bucket)),
            skip_signature=True,
            ca_file=self.storage.ca_file,
        )

    @property
    def label(self) -> str:
        """The URI for a message, with the table of settings for it if it has one."""
        table = None if self.bucket is None else self.storage.table_of(self.uri)
        return f'{self.uri} (by storage."{table}")' if table else self.uri

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
        raise InputError(f"{type(uri).__name__}: {EXPECTED}, as text or as a path")
    if not uri.strip():
        raise InputError(f"{uri!r}: {EXPECTED}")
    if match := _SCHEME.fullmatch(uri):
        scheme, rest = match[1].lower(), match[2]
        if scheme in SCHEMES:
            parts = parse_bucket_uri(uri)
            return Location(parts.bucket, parts.path, scheme=parts.scheme, host=parts.host)
        if scheme == "file":
            return _locate_folder(_file_path(uri, rest), on_disk)
        raise InputError(
            f"{shown(uri)}: {EXPECTED}, gs://bucket/prefix, az://container/prefix or a public "
            "bucket's https:// URL; stores that speak S3 are reached by AWS_ENDPOINT_URL"
        )
    if uri[:5].lower() == "file:":
        path = _file_path(uri, f"//{uri[5:]}" if uri[5:6] != "/" else uri[5:])
        return _locate_folder(path, on_disk)
    if _MISTYPED_SCHEME.match(uri):
        raise InputError(f"{shown(uri)}: {EXPECTED}, with two slashes after the colon")
    return _locate_folder(uri, encode)


def locate_index(uri: str | os.PathLike[str], storage: StorageSettings = DEFAULT) -> Location:
    """Parse the path or the URI of an index; raise `InputError` if no index can be there."""
    location = locate(uri, storage)
    if location.is_read_only:
        raise InputError(
            f"{location.uri}: a public bucket's URL is a source and is only read; for an index "
            "expected a folder, s3://, gs:// or az://"
        )
    return location


def locate_object(uri: str, storage: StorageSettings = DEFAULT) -> tuple[Location, str]:
    """Split the URI of an object, as in a citation, into a location and the object's key there.

    In a bucket the location is the whole bucket, because a key may hold dots and double slashes.
    """
    match = _SCHEME.fullmatch(uri)
    if match and match[1] in SCHEMES:
        parts = split_key(uri)
        bucket = Location(parts.bucket, "", storage, parts.scheme, parts.host)
        table = storage.table_of(bucket.child(parts.path))  # a table may hold for a part of it
        of_object = replace(storage, by_uri={bucket.uri: storage.by_uri[table]}) if table else None
        return (replace(bucket, storage=of_object) if of_object else bucket), parts.path
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
        raise InputError(f"{path!r}: {EXPECTED}, as text and not as bytes")
    if os.name == "posix" and _WINDOWS.match(path):
        raise InputError(f"{path!r}: a path of Windows; {EXPECTED} of this machine")
    try:
        real = os.path.realpath(encode(str(from_home(path))))
        if any(len(part) > _MAX_NAME for part in real.split(os.fsencode(os.sep))):
            raise ValueError("a name in it is too long")
        if os.path.islink(real):
            raise InputError(f"{path!r}: a link that leads in a circle; {EXPECTED}")
        text = real.decode()
    except UnicodeError:
        raise InputError(f"{path!r}: not UTF-8; {EXPECTED} whose name is") from None
    except InputError:  # a link, or an unknown home folder
        raise
    except (ValueError, OSError) as error:  # a NUL in it, or too long a name
        raise InputError(f"{shown(path)}: not a path ({error}); {EXPECTED}") from None
    if CONTROL.search(text):
        raise InputError(f"{shown(text)}: a path with control characters; {EXPECTED} without")
    return Location(None, text)


def _file_path(uri: str, rest: str) -> str:
    """Return the path of a file URI, as in RFC 8089."""
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise InputError(
            f"{shown(uri)}: a file on {host!r}; expected file:///path, of this machine"
        )
    if not slash:
        raise InputError(f"{shown(uri)}: expected file:///path")
    try:
        return "/" + unquote_to_bytes(path.encode()).decode()
    except UnicodeError:
        raise InputError(f"{shown(uri)}: not UTF-8; {EXPECTED} whose name is") from None
