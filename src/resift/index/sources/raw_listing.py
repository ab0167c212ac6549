"""What a place holds, as a look at it gives: files, and what lies between them. Does no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from resift.errors import SourceError

_NOT_IN_A_KEY = {"": "an empty part", ".": "the part '.'", "..": "the part '..'"}


@dataclass(frozen=True, slots=True)
class File:
    """A file that can be read. `key` is its path below the place."""

    key: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Odd:
    """Something that is there and is not read, and why; of a folder nothing below it is.

    `is_folder` is None where nobody can say.
    """

    key: str
    reason: str
    is_folder: bool | None = False


@dataclass(frozen=True, slots=True)
class RawListing:
    """A look at a place.

    `unseen` is what is there and could not be looked at this time: folders that could not be
    listed, files of which nothing was said. Nothing is known of it, so nothing of it is gone.

    `indexes` are folders that hold an index: what lies in them was made out of documents.
    """

    files: Sequence[File] = ()
    odd: Sequence[Odd] = ()
    unseen: Sequence[Odd] = ()
    indexes: Sequence[str] = field(default=())
    requests: int = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes, and the ETag (and the version, where the store keeps some) they have.

    It is the answer's own ETag: an object may have changed since it was listed.
    """

    data: bytes
    etag: str
    version: str | None


def why_odd(key: str) -> str | None:
    """Why an object of this key is not read; None for a key that names one file everywhere.

    Stores take any bytes for a key. One with an empty part or a dot for one cannot be told from
    another once it is a path, and control characters break lines, tables and terminals.
    """
    if any("\ud800" <= sign <= "\udfff" for sign in key):
        return "its name is not UTF-8: rename it"
    for sign in key:
        if sign < " " or "\x7f" <= sign <= "\x9f":
            return f"its name has the control character {sign!r}: rename it"
    parts = [part for part in key.split("/") if part in _NOT_IN_A_KEY]
    return f"its name has {_NOT_IN_A_KEY[parts[0]]}: rename it" if parts else None


def shown(key: str) -> str:
    """A key as text that can be stored: each byte of it that is no UTF-8 in hexadecimal digits."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def refuse_large(size: int, max_bytes: int | None) -> None:
    """Raise `SourceError` if a file has too many bytes."""
    if max_bytes is not None and size > max_bytes:
        raise SourceError(f"{size:,} bytes, over the limit of {max_bytes:,} (max_bytes)")
