"""A bucket's listing as the store gives it: every key as it is, and nothing that is no listing.

obstore makes paths of keys. A single ``a//b`` or tab ends its whole listing, ``a`` and ``/a`` are
the same to it, and what is no listing at all has no keys. So the pages are asked for here, by URLs
that obstore signs, and each is looked at before it is believed.
"""

import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from io import BufferedReader, RawIOBase
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote_plus
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
)
from xml.etree import ElementTree

from resift.index.bucket import list_signer
from resift.index.location import Location
from resift.index.transfer import TooSlow, TransferRate
from resift.settings import StorageSettings

_AGAIN = {429, 500, 502, 503, 504}
_TIMEOUT_S = 10.0
_LONGEST_WAIT_S = 5.0
# A store that has answered once is worth waiting for.
_TRIES, _SECONDS = 4, 10.0
_PATIENT_TRIES, _PATIENT_SECONDS = 10, 60.0
_LARGEST_PAGE = 32 << 20
_WORD = re.compile(r"[\w.-]{1,60}", re.ASCII)
# As object_store begins: what follows is no name of anything.
_TRIED = "Error performing GET listing in 0s - "


class Refusal(Exception):
    """An answer that is no listing; the text is for `faults.meaning`."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object as it is listed. `key` is whole, from the bucket's root; `changed` Unix seconds."""

    key: str
    etag: str
    size: int
    changed: float


@dataclass(frozen=True, slots=True)
class _ListingPage:
    objects: list[Object]
    following: str | None


class _NoRedirect(HTTPRedirectHandler):
    """A signature holds for one host: a redirect is an answer like any other."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Counted(RawIOBase):
    """What comes from a socket; each read is counted, so that a header that drips is seen too."""

    def __init__(self, raw: RawIOBase) -> None:
        self._raw = raw
        self._pace = TransferRate()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._pace.note(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _HttpResponse(HTTPResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp = BufferedReader(_Counted(self.fp.detach()))


class _Plain(HTTPConnection):
    response_class = _HttpResponse


class _Secure(HTTPSConnection):
    response_class = _HttpResponse


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> Any:
        return self.do_open(_Plain, req)


class _Https(HTTPSHandler):
    def https_open(self, req: Request) -> Any:
        return self.do_open(_Secure, req)


class Pages:
    """Asks for pages of one bucket's listing. Threads may share it."""

    def __init__(self, location: Location, storage: StorageSettings) -> None:
        """Name the bucket; credentials are looked up now, and the bucket is asked nothing."""
        self._sign = list_signer(location, storage)
        self._opener = build_opener(_NoRedirect, _Http, _Https)

    def all(self, prefix: str, at_once: int = 1000) -> Iterator[list[Object]]:
        """Each page of what lies below `prefix`; raise `Refusal` for an answer that is no page."""
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(at_once)}
        query["prefix"] = prefix
        page = _parse(self._get(query, _TRIES, _SECONDS), prefix)
        seen: set[str] = set()
        while True:
            yield page.objects
            if page.following is None:
                return
            if page.following in seen:
                raise Refusal("the listing goes round in a circle: check AWS_ENDPOINT_URL")
            seen.add(page.following)
            query["continuation-token"] = page.following
            page = _parse(self._get(query, _PATIENT_TRIES, _PATIENT_SECONDS), prefix)

    def _get(self, query: Mapping[str, str], tries: int, seconds: float) -> bytes:
        """One answer's body, after another try or two."""
        until = time.monotonic() + seconds
        for tried in range(1, tries + 1):
            try:
                status, body = self._once(self._sign(query))
                if status == 200:
                    return body
                problem = _refused(status, body)
                if status not in _AGAIN:
                    raise problem
            except TooSlow as error:
                problem = Refusal(f"{_TRIED}{error}")
            except (OSError, HTTPException) as error:
                # Never the error's own text: the URL in it is signed.
                broke = isinstance(error, ConnectionResetError | HTTPException)
                reason = error.reason if isinstance(error, URLError) else error
                problem = Refusal(
                    _TRIED + ("Connection reset" if broke else f"HttpError: {reason}")
                )
            wait = min(_LONGEST_WAIT_S, random.uniform(0.1, 0.2) * 2**tried)
            if tried == tries or time.monotonic() + wait > until:
                break
            time.sleep(wait)
        raise problem

    def _once(self, url: str) -> tuple[int, bytes]:
        """An answer's status and its body, or the beginning of an error's."""
        try:
            with self._opener.open(url, timeout=_TIMEOUT_S) as answer:
                body: bytes = answer.read(_LARGEST_PAGE + 1)
                status = int(answer.status)
                if answer.length and len(body) <= _LARGEST_PAGE:  # cut off: `read` says nothing
                    raise IncompleteRead(body, answer.length)
        except HTTPError as error:
            with error:
                return error.code, error.read(1 << 16)
        if status != 200 or len(body) > _LARGEST_PAGE:
            raise Refusal(_no_listing(f"status {status}, {len(body):,} bytes"))
        return status, body


def _parse(body: bytes, prefix: str) -> _ListingPage:
    """A page, if the answer is one from its first to its last byte."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        begin = body[:40].decode("ascii", "backslashreplace").strip()
        raise Refusal(_no_listing(repr(begin) if begin else "nothing")) from error
    if _name(root) != "ListBucketResult":
        raise Refusal(_no_listing(_words(body).get("Code") or f"<{_name(root)[:40]}>"))
    fields = {_name(child): child.text or "" for child in root}
    is_encoded = fields.get("EncodingType") == "url"
    objects = [_object(child, is_encoded) for child in root if _name(child) == "Contents"]
    truncated, following = fields.get("IsTruncated"), fields.get("NextContinuationToken")
    if truncated not in ("true", "false") or (truncated == "true") != bool(following):
        raise Refusal("the listing is cut short: it does not say how it goes on")
    count = fields.get("KeyCount")
    if count is not None and count != str(len(objects)):
        raise Refusal(f"the listing is cut short: {len(objects)} keys where it says {count[:20]}")
    strange = [item.key for item in objects if not item.key.startswith(prefix)]
    if strange:
        raise Refusal(_no_listing(f"keys that do not begin with {prefix!r}"))
    return _ListingPage(objects, following if truncated == "true" else None)


def _object(element: ElementTree.Element, is_encoded: bool) -> Object:
    fields = {_name(child): child.text or "" for child in element}
    try:
        key, size = fields["Key"], int(fields["Size"])
        if not 0 <= size < 1 << 63:
            raise ValueError(size)
        changed = datetime.fromisoformat(fields["LastModified"])
        seconds = changed.timestamp()
        # A store without ETags still tells time and size.
        etag = fields.get("ETag", "").strip('"') or without_etag(changed, size)
    except (KeyError, ValueError, OverflowError) as error:
        raise Refusal(_no_listing("an object without key, size or time")) from error
    return Object(
        unquote_plus(key, errors="surrogateescape") if is_encoded else key, etag, size, seconds
    )


def without_etag(changed: datetime, size: int) -> str:
    """What stands for an ETag where a store gives none; a listing and an answer agree in it."""
    return f"{int(changed.timestamp())}-{size}"


def _refused(status: int, body: bytes) -> Refusal:
    """S3's own words for an error, and nothing else of the answer: the rest may quote a key."""
    said = "".join(f"<{name}>{text}</{name}>" for name, text in _words(body).items())
    return Refusal(f"{_TRIED}Server returned non-2xx status code: {status}: {said}")


def _words(body: bytes) -> dict[str, str]:
    """The code and the region that an error names."""
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


def _no_listing(what: str) -> str:
    return f"the answer is no S3 listing ({what}): check AWS_ENDPOINT_URL and the bucket's name"
