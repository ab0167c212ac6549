"""The table itself: where it is, what is written on it, how Lance opens it."""

import os
import uuid
from typing import Any

from resift.errors import IndexMismatch
from resift.extras import require
from resift.index import names
from resift.index.embed import Embedder
from resift.index.rows import schema
from resift.index.storage import local
from resift.index.storage.client import lance_options
from resift.index.storage.location import TABLE as TABLE
from resift.index.storage.location import Location
from resift.index.versions import FORMAT

_PARTS = ("data", "_versions", "_indices", "_transactions", "_deletions")
_FOLDERS = (TABLE, *(f"{TABLE}/{part}" for part in _PARTS))
# What Lance may keep in memory of indexes and file footers; its own defaults are gigabytes.
_WRITER_CACHE = {"index_cache_size_bytes": 64 << 20, "metadata_cache_size_bytes": 64 << 20}


def open_table(location: Location, *, patient: bool = False, **options: Any) -> Any:
    """The table below a place; what Lance raises is let through.

    `patient` once the store has answered: then a pause of it must not end the work.
    """
    # Lance logs to stderr what it will change in versions to come, as warnings.
    os.environ.setdefault("LANCE_LOG", "error")
    lance = require("lance", "index")
    uri = _uri(location)
    options.setdefault("session", lance.Session(**_WRITER_CACHE))
    return lance.dataset(uri, storage_options=lance_options(location, patient=patient), **options)


def create_table(location: Location, embedder: Embedder) -> Any:
    """Begin the table for vectors of this embedder, unless another writer has just done so."""
    lance = require("lance", "index")
    facts = {
        "format": str(FORMAT),
        "embedder": embedder.fingerprint,
        "table": uuid.uuid4().hex,
    }
    nothing = lance.LanceOperation.Overwrite(schema(embedder.dim, facts), [])
    options = lance_options(location, patient=True)
    try:
        # Not `write_dataset`: of two at once it lets the second overwrite what the first has made.
        lance.LanceDataset.commit(
            _uri(location), nothing, read_version=0, max_retries=0, storage_options=options
        )
    except OSError as error:  # another writer was first: theirs will do
        try:
            return open_table(location, patient=True)
        except ValueError:
            raise error from None
    return open_table(location, patient=True)


def check_table(location: Location, dataset: Any, embedder: Embedder) -> None:
    """Raise `IndexMismatch` for a table of another format, or of another embedder's vectors."""
    facts = dataset.schema.metadata or {}
    found = facts.get(b"format", b"none").decode()
    if found != str(FORMAT):
        newer = found.isdigit() and int(found) > FORMAT
        remedy = "update resift" if newer else "index into a new place"
        raise IndexMismatch(f"{location.uri}: index format {found}, expected {FORMAT}: {remedy}")
    own = facts.get(b"embedder", b"none").decode()
    if own != embedder.fingerprint:
        raise IndexMismatch(
            f"{location.uri}: made by embedder {own}, expected {embedder.fingerprint}: "
            "use that one, or index into a new place"
        )


def check_files(dataset: Any) -> None:
    """Raise `ValueError` for a table whose manifest names data that lie somewhere else."""
    for fragment in dataset.get_fragments():
        for file in fragment.metadata.files:
            names.path_inside(file.path)
            if file.base_id is not None:
                raise ValueError(f"{file.path}: lies outside of the index")


def _uri(location: Location) -> str:
    """The table's URI; `ValueError` where links in it would have Lance write somewhere else."""
    if location.bucket is None:
        local.refuse_links(location.folder, _FOLDERS)
    return location.child(TABLE)
