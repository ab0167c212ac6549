"""Lists a bucket with the exact keys, and reports responses that are not listings.

obstore cannot do that because it parses keys as paths: one ``a//b`` or tab ends its listing, ``a``
and ``/a`` are the same to it, and it reads a response that is not a listing as an empty listing. So
this module requests the pages itself, with URLs that obstore signs, and checks each page.
"""

import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from urllib.parse import unquote_plus
from urllib.request import Request
from xml.etree import ElementTree

from resift.index.http import HttpClient, TooLarge
from resift.index.storage.client import TooSlow, TransferRate, list_signer
from resift.index.storage.location import Location

_RETRIED = {429, 500, 502, 503, 504}
_TIMEOUT_S = 10.0
_MAX_WAIT_S = 5.0
_TRIES, _SECONDS = 4, 10.0
# For later pages: a store that has answered once is worth waiting for.
_PATIENT_TRIES, _PATIENT_SECONDS = 10, 60.0
_MAX_PAGE_BYTES = 32 << 20
_WORD = re.compile(r"[\w.-]{1,60}", re.ASCII)
# The start of object_store's messages, after which `storage.errors` expects no object names.
_FAILED = "Error performing GET listing in 0s - "


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
class _Page:
    objects: list[ListedObject]
    next_token: str | None


class BucketListing:
    """Requests the pages of a bucket's listing. Threads may share it."""

    def __init__(self, location: Location) -> None:
        """Look up credentials; send no request."""
        self._sign = list_signer(location)
        self._client = HttpClient()

    def pages(self, prefix: str, page_size: int = 1000) -> Iterator[list[ListedObject]]:
        """Yield the objects below `prefix`, page by page.

        Raise `ListingError` for a response that is not a page, and obstore's errors of signing.
        """
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(page_size)}
        query["prefix"] = prefix
        page = _parse(self._get(query, _TRIES, _SECONDS), prefix)
        seen: set[str] = set()
        while True:
            yield page.objects
            if page.next_token is None:
                return
            if page.next_token in seen:
                raise ListingError("the listing goes round in a circle: check AWS_ENDPOINT_URL")
            seen.add(page.next_token)
            query["continuation-token"] = page.next_token
            page = _parse(self._get(query, _PATIENT_TRIES, _PATIENT_SECONDS), prefix)

    def _get(self, query: Mapping[str, str], tries: int, seconds: float) -> bytes:
        """Request a page; try again after a temporary failure."""
        until = time.monotonic() + seconds
        for number in range(1, tries + 1):
            try:
                return self._get_once(query)
            except _Temporary as error:
                failure = ListingError(str(error))
            wait = min(_MAX_WAIT_S, random.uniform(0.1, 0.2) * 2**number)
            if number == tries or time.monotonic() + wait > until:
                break
            time.sleep(wait)
        raise failure

    def _get_once(self, query: Mapping[str, str]) -> bytes:
        request = Request(self._sign(query))
        try:
            response = self._client.send(request, _TIMEOUT_S, _MAX_PAGE_BYTES, TransferRate().add)
            if response.failure:
                raise response.failure
        except TooLarge as error:
            raise ListingError(_not_a_listing(str(error))) from error
        except TooSlow as error:
            raise _Temporary(f"{_FAILED}{error}") from error
        except (ConnectionResetError, HTTPException):
            raise _Temporary(f"{_FAILED}Connection reset") from None
        except OSError as error:
            raise _Temporary(f"{_FAILED}HttpError: {error}") from error
        if response.status == 200:
            return response.body
        if 200 <= response.status < 300:
            raise ListingError(_not_a_listing(f"status {response.status}"))
        kind = _Temporary if response.status in _RETRIED else ListingError
        raise kind(_describe(response.status, response.body))


class _Temporary(Exception):
    """A failure after which another try may succeed."""


def _parse(body: bytes, prefix: str) -> _Page:
    """Parse a page; raise `ListingError` if the response is anything else."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        start = body[:40].decode("ascii", "backslashreplace").strip()
        raise ListingError(_not_a_listing(repr(start) if start else "nothing")) from error
    if _name(root) != "ListBucketResult":
        raise ListingError(
            _not_a_listing(_error_fields(body).get("Code") or f"<{_name(root)[:40]}>")
        )
    fields = {_name(child): child.text or "" for child in root}
    is_encoded = fields.get("EncodingType") == "url"
    objects = [_object(child, is_encoded) for child in root if _name(child) == "Contents"]
    truncated, next_token = fields.get("IsTruncated"), fields.get("NextContinuationToken")
    if truncated not in ("true", "false") or (truncated == "true") != bool(next_token):
        raise ListingError("the listing is cut short: it does not name its next page")
    count = fields.get("KeyCount")
    if count is not None and count != str(len(objects)):
        raise ListingError(
            f"the listing is cut short: {len(objects)} keys where it says {count[:20]}"
        )
    outside = [item.key for item in objects if not item.key.startswith(prefix)]
    if outside:
        raise ListingError(_not_a_listing(f"keys that do not begin with {prefix!r}"))
    return _Page(objects, next_token if truncated == "true" else None)


def _object(element: ElementTree.Element, is_encoded: bool) -> ListedObject:
    fields = {_name(child): child.text or "" for child in element}
    try:
        key, size = fields["Key"], int(fields["Size"])
        if not 0 <= size < 1 << 63:
            raise ValueError(size)
        modified = datetime.fromisoformat(fields["LastModified"])
        seconds = modified.timestamp()
        etag = fields.get("ETag", "").strip('"') or substitute_etag(modified, size)
    except (KeyError, ValueError, OverflowError) as error:
        raise ListingError(_not_a_listing("an object without key, size or time")) from error
    return ListedObject(
        unquote_plus(key, errors="surrogateescape") if is_encoded else key, etag, size, seconds
    )


def substitute_etag(modified: datetime, size: int) -> str:
    """Make an ETag for a store without ETags, the same for a listing and a read."""
    return f"{int(modified.timestamp())}-{size}"


def _describe(status: int, body: bytes) -> str:
    """Describe an error by S3's words only, because the rest of the response may quote a key."""
    fields = "".join(f"<{name}>{text}</{name}>" for name, text in _error_fields(body).items())
    return f"{_FAILED}Server returned non-2xx status code: {status}: {fields}"


def _error_fields(body: bytes) -> dict[str, str]:
    """Return the code and the region in an error's body."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError):
        return {}
    texts = {_name(child): child.text or "" for child in root.iter()}
    return {
        name: texts[name] for name in ("Code", "Region") if _WORD.fullmatch(texts.get(name, ""))
    }


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _not_a_listing(detail: str) -> str:
    return (
        f"the answer is not an S3 listing ({detail}): check AWS_ENDPOINT_URL and the bucket's name"
    )
