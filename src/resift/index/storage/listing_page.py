"""A page of a bucket's listing: exact keys, and errors for responses that are none."""

import re
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree

_WORD = re.compile(r"[\w.-]{1,60}", re.ASCII)


class ListingError(Exception):
    """A bucket cannot be listed; `storage.errors.describe` explains the message."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An entry of a listing. `key` is the whole key; `modified` is in Unix seconds."""

    key: str
    etag: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Page:
    """The objects of a page, and the token of the next one if there is one."""

    objects: list[ListedObject]
    next_token: str | None


def parse_xml(body: bytes, expected: str) -> ElementTree.Element:
    """Parse a response whose root is `expected`; raise `ListingError` for anything else."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        start = body[:40].decode("ascii", "backslashreplace").strip()
        raise ListingError(not_a_listing(repr(start) if start else "nothing")) from error
    if tag(root) != expected:
        raise ListingError(not_a_listing(error_fields(body).get("Code") or f"<{tag(root)[:40]}>"))
    return root


def check_keys(objects: list[ListedObject], prefix: str) -> None:
    """Raise `ListingError` if a key does not begin with the prefix."""
    if any(not item.key.startswith(prefix) for item in objects):
        raise ListingError(not_a_listing(f"keys that do not begin with {prefix!r}"))


def listed_object(key: str, etag: str, size: str, modified: datetime) -> ListedObject:
    """Make an entry; raise `ValueError` or `OverflowError` for an impossible size or time."""
    count = int(size)
    if not 0 <= count < 1 << 63:
        raise ValueError(size)
    etag = etag.strip('"') or substitute_etag(modified, count)
    return ListedObject(key, etag, count, modified.timestamp())


def substitute_etag(modified: datetime, size: int) -> str:
    """Make an ETag for a store without ETags, the same for a listing and a read."""
    return f"{int(modified.timestamp())}-{size}"


def error_fields(body: bytes) -> dict[str, str]:
    """Return the code and the region in an error's body."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError):
        return {}
    texts = {tag(child): child.text or "" for child in root.iter()}
    return {
        name: texts[name] for name in ("Code", "Region") if _WORD.fullmatch(texts.get(name, ""))
    }


def tag(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def not_a_listing(detail: str) -> str:
    """The message for a response that is not a listing."""
    remedy = "check AWS_ENDPOINT_URL and the bucket's name"
    return f"the response is not an S3 listing ({detail}): {remedy}"
