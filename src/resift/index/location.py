"""Where documents and indexes live: a local path or ``s3://bucket/prefix``. Does no I/O."""

from dataclasses import dataclass
from pathlib import Path

from resift.errors import InputError
from resift.files import from_home


@dataclass(frozen=True, slots=True)
class Location:
    """A place in its one canonical spelling: `bucket` is None for the local disk.

    `path` is absolute on the local disk. In a bucket it is the prefix, without slashes around
    it, and may be empty.
    """

    bucket: str | None
    path: str

    @property
    def uri(self) -> str:
        """The canonical URI: no trailing slash, a plain absolute path for the local disk."""
        if self.bucket is None:
            return self.path
        return f"s3://{self.bucket}/{self.path}".rstrip("/")

    def child(self, key: str) -> str:
        """The URI of something below this place."""
        return f"{self.uri.rstrip('/')}/{key}"


def locate(uri: str) -> Location:
    """Read a URI; raise `InputError` for one that is neither a path nor ``s3://bucket/…``."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri.strip():
            raise InputError(f"{uri!r}: expected a folder or s3://bucket/prefix")
        return Location(None, str(from_home(uri).resolve()))
    if scheme == "file":
        return Location(None, str(Path(rest).resolve()))
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise InputError(f"{uri}: expected a folder or s3://bucket/prefix")
    return Location(bucket, prefix.strip("/"))
