"""Lists a bucket with the exact keys, and reports responses that are not listings.

obstore cannot do that because it parses keys as paths: one ``a//b`` or tab ends its listing, ``a``
and ``/a`` are the same to it, and it reads a response that is not a listing as an empty listing. So
this module requests the pages itself, with signed requests, and checks each page.
"""

import random
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException

from resift.index.storage import az_listing, s3_listing
from resift.index.storage.client import TooSlow, TransferRate, list_signer
from resift.index.storage.listing_page import (
    ListedObject,
    ListingError,
    Page,
    error_fields,
    not_a_listing,
)
from resift.index.storage.location import Location
from resift.transport.client import HttpClient, TooLarge

_RETRIED = {429, 500, 502, 503, 504}
_TIMEOUT_S = 10.0
_MAX_WAIT_S = 5.0
_TRIES, _SECONDS = 4, 10.0
# For later pages, and for writers: a store that has responded once is worth waiting for.
_PATIENT_TRIES, _PATIENT_SECONDS = 10, 60.0
_MAX_PAGE_BYTES = 32 << 20
# The start of object_store's messages, after which `storage.errors` expects no object names.
_FAILED = "Error performing GET listing in 0s - "


class BucketListing:
    """Requests the pages of a bucket's listing. Threads may share it."""

    def __init__(self, location: Location, *, patient: bool = False) -> None:
        """Look up credentials; send no request.

        With `patient` wait longer for the first page too, for a store that has responded before.
        """
        self._sign = list_signer(location)
        self._client = HttpClient(ca_file=location.access.ca_file)
        self._patient = patient
        self._dialect = az_listing if location.scheme == "az" else s3_listing

    def pages(self, prefix: str, page_size: int = 1000) -> Iterator[list[ListedObject]]:
        """Yield the objects below `prefix`, page by page.

        Raise `ListingError` for a response that is not a page, and obstore's errors of signing.
        """
        query = self._dialect.first_query(prefix, page_size)
        first = (_PATIENT_TRIES, _PATIENT_SECONDS) if self._patient else (_TRIES, _SECONDS)
        page = self._page(query, prefix, *first)
        seen: set[str] = set()
        while True:
            yield page.objects
            if page.next_token is None:
                return
            if page.next_token in seen:
                raise ListingError("the listing goes round in a circle: check AWS_ENDPOINT_URL")
            seen.add(page.next_token)
            query[self._dialect.TOKEN] = page.next_token
            page = self._page(query, prefix, _PATIENT_TRIES, _PATIENT_SECONDS)

    def _page(self, query: Mapping[str, str], prefix: str, tries: int, seconds: float) -> Page:
        page: Page = self._dialect.parse(self._get(query, tries, seconds), prefix)
        return page

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
        try:
            response = self._client.send(
                self._sign(query), _TIMEOUT_S, _MAX_PAGE_BYTES, TransferRate().add
            )
            if response.failure:
                raise response.failure
        except TooLarge as error:
            raise ListingError(not_a_listing(str(error))) from error
        except TooSlow as error:
            raise _Temporary(f"{_FAILED}{error}") from error
        except (ConnectionResetError, HTTPException):
            raise _Temporary(f"{_FAILED}Connection reset") from None
        except OSError as error:
            raise _Temporary(f"{_FAILED}HttpError: {error}") from error
        if response.status == 200:
            return response.body
        if 200 <= response.status < 300:
            raise ListingError(not_a_listing(f"status {response.status}"))
        kind = _Temporary if response.status in _RETRIED else ListingError
        raise kind(_describe(response.status, response.body))


class _Temporary(Exception):
    """A failure after which another try may succeed."""


def _describe(status: int, body: bytes) -> str:
    """Describe an error by S3's words only, because the rest of the response may quote a key."""
    fields = "".join(f"<{name}>{text}</{name}>" for name, text in error_fields(body).items())
    return f"{_FAILED}Server returned non-2xx status code: {status}: {fields}"
