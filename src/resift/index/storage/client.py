"""Opens a bucket's prefix, with the same options for obstore and for Lance, and reads objects."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from resift.extras import require
from resift.index.storage.access import Access, SignListing
from resift.index.storage.az_access import az_access, az_list_signer
from resift.index.storage.gs_access import gs_access, gs_list_signer
from resift.index.storage.location import Location
from resift.index.storage.s3_access import s3_access, s3_list_signer
from resift.transport.certificates import read_authorities, trust_in_lance

_STORES: Mapping[str, tuple[Callable[[Location], Access], Callable[[Location], SignListing]]] = {
    "gs": (gs_access, gs_list_signer),
    "az": (az_access, az_list_signer),
}
# Also for public buckets by their URLs: all of them speak S3's protocol.
_S3 = (s3_access, s3_list_signer)


class _Retry(NamedTuple):
    """The timeout of one try, and the limits of retries in number and in seconds."""

    timeout: str
    retries: int
    seconds: int


# Reports a mistyped endpoint within seconds; object_store's defaults take three minutes.
_CONNECT_TIMEOUT = "5s"
# Waits are .1 s to twice the last one, so they hardly grow: the seconds limit the retries.
_IMPATIENT, _PATIENT = _Retry("10s", 4, 10), _Retry("60s", 300, 30)
# Lance must not retry again after its client has already retried for this long.
_LANCE_PATIENT_TIMEOUT, _LANCE_DOWNLOAD_RETRIES = "45s", "0"
_RATE_WINDOW_S, _RATE_MIN_BYTES = 10.0, 5_000


def open_bucket(location: Location, *, patient: bool = False) -> Any:
    """Open an obstore store rooted at the prefix. Sends no request.

    With `patient` wait longer, for a store that has responded before.
    """
    timeout, retries, seconds = _PATIENT if patient else _IMPATIENT
    return _access(location).store(
        client={"connect_timeout": _CONNECT_TIMEOUT, "timeout": timeout},
        prefix=location.path or None,
        retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=seconds)},
    )


def lance_options(location: Location, *, patient: bool = False) -> dict[str, str]:
    """Make ``storage_options`` of Lance for the same bucket; empty for the local disk.

    They contain the current keys of a profile or an identity, so a table must be reopened before
    these expire.
    """
    if location.bucket is None:
        return {}
    access = _access(location)
    if access.ca_file:
        trust_in_lance(access.ca_file)
    timeout, retries, seconds = _PATIENT if patient else _IMPATIENT
    return {
        **access.options,
        **access.lance_keys(),
        "connect_timeout": _CONNECT_TIMEOUT,
        "timeout": _LANCE_PATIENT_TIMEOUT if patient else timeout,
        "download_retry_count": _LANCE_DOWNLOAD_RETRIES,
        "client_max_retries": str(retries),
        "client_retry_timeout": str(seconds),
    }


def list_signer(location: Location) -> SignListing:
    """Make a function from query parameters to a request that lists the bucket."""
    _check_authorities(location)
    return _STORES.get(location.scheme, _S3)[1](location)


def _access(location: Location) -> Access:
    _check_authorities(location)
    return _STORES.get(location.scheme, _S3)[0](location)


def _check_authorities(location: Location) -> None:
    """Raise a `SettingsError` that names the variable or file of `ca_file`, if that is unusable."""
    storage = location.storage
    if storage.ca_file:
        read_authorities(storage.ca_file, storage.name_of("ca_file"))


class TooSlow(OSError):
    """Bytes arrive too slowly to wait for the rest; `storage.errors` recognises the message."""


class TransferRate:
    """Measures the rate of a response, from its first bytes on.

    A timeout for each read would not notice a store that sends a byte a second.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._bytes = 0

    def add(self, count: int) -> None:
        """Count bytes that have arrived; raise `TooSlow` if a whole window had too few."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        self._bytes += count
        if now - self._since < _RATE_WINDOW_S:
            return
        if self._bytes < _RATE_MIN_BYTES:
            raise TooSlow(
                f"transfer too slow: {self._bytes:,} bytes in {now - self._since:.0f} s, expected "
                f"at least {_RATE_MIN_BYTES:,}"
            )
        self._since, self._bytes = now, 0


def fetch(
    store: Any,
    key: str,
    check: Callable[[Mapping[str, Any]], None],
    options: Mapping[str, Any] | None = None,
) -> tuple[bytes, Mapping[str, Any]]:
    """Read an object, or a part of it; return its bytes and its metadata.

    `check` gets the metadata and may raise before any byte is read. A transfer that is too slow is
    tried once more. Raise `TooSlow` after that, and obstore's errors.
    """
    get = require("obstore", "index").get

    def read() -> tuple[bytes, Mapping[str, Any]]:
        response = get(store, key, options=options)
        check(response.meta)
        rate = TransferRate()
        blocks = []
        for block in response.stream(min_chunk_size=1):  # each as it arrives
            rate.add(len(block))
            blocks.append(bytes(block))
        return b"".join(blocks), response.meta

    try:
        return read()
    except TooSlow:
        return read()
