"""An ``s3://`` prefix through obstore, set up to fail in seconds."""

from datetime import timedelta
from typing import Any

from resift.extras import require
from resift.index.location import Location
from resift.settings import StorageSettings

# object_store's own patience is three minutes; whoever mistyped an endpoint has less.
_CLIENT = {"connect_timeout": "5s", "timeout": "10s"}
_RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}


def open_bucket(location: Location, storage: StorageSettings) -> Any:
    """An obstore store rooted at the prefix. Does no I/O."""
    stores = require("obstore.store", "index")
    options = storage.options()
    client = _CLIENT | {"allow_http": options.pop("allow_http", "false") == "true"}
    return stores.S3Store(
        location.bucket,
        prefix=location.path or None,
        config=options,
        client_options=client,
        retry_config=_RETRIES,
    )


def probe(location: Location, storage: StorageSettings) -> None:
    """List a little of the prefix: raise what obstore raises if that is not possible."""
    obstore = require("obstore", "index")
    next(iter(obstore.list(open_bucket(location, storage), chunk_size=1)), None)


def lance_options(location: Location, storage: StorageSettings) -> dict[str, str] | None:
    """The same for Lance."""
    if location.bucket is None:
        return None
    return storage.options() | {"connect_timeout": "5s", "timeout": "30s"}
