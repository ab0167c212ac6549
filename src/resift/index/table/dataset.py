"""The Lance dataset of an index: how it is opened, created, and checked."""

import os
import uuid
from typing import Any

from resift.errors import IndexMismatch, StoreError
from resift.extras import require
from resift.index.embed import Embedder
from resift.index.storage import local
from resift.index.storage.client import lance_options
from resift.index.storage.location import TABLE, Location
from resift.index.table.rows import schema
from resift.index.versions.record import FORMAT, check_format, path_inside

_PARTS = ("data", "_versions", "_indices", "_transactions", "_deletions")
_FOLDERS = (TABLE, *(f"{TABLE}/{part}" for part in _PARTS))
# What Lance may hold in memory of indexes and file footers; its own defaults are gigabytes.
_WRITER_CACHE_SIZES = {"index_cache_size_bytes": 64 << 20, "metadata_cache_size_bytes": 64 << 20}


def open_table(location: Location, *, patient: bool = False, **options: Any) -> Any:
    """The table of the index at `location`; what Lance raises is not converted.

    `patient` waits longer for a store that has answered before.
    """
    # Lance logs to stderr, as warnings, what it will change in later versions.
    os.environ.setdefault("LANCE_LOG", "error")
    lance = require("lance", "index")
    uri = _uri(location)
    options.setdefault("session", lance.Session(**_WRITER_CACHE_SIZES))
    return lance.dataset(uri, storage_options=lance_options(location, patient=patient), **options)


def open_or_create_table(location: Location, embedder: Embedder) -> Any:
    """The table opened for writing, made if there is none.

    Raise `IndexMismatch` for a table of another format, or of another embedder's vectors.
    """
    if not location.bucket:
        _make_folder(location)
        local.check_tree(location.folder / TABLE)
    try:
        dataset = open_table(location, patient=True)
    except ValueError as error:
        if "was not found" not in str(error):
            raise
        dataset = create_table(location, embedder)
    _check_metadata(location, dataset.schema.metadata or {}, embedder)
    return dataset


def create_table(location: Location, embedder: Embedder) -> Any:
    """Create the table for vectors of this embedder, unless another writer has just done so."""
    lance = require("lance", "index")
    metadata = {
        "format": str(FORMAT),
        "embedder": embedder.fingerprint,
        "table": uuid.uuid4().hex,
    }
    empty = lance.LanceOperation.Overwrite(schema(embedder.dim, metadata), [])
    options = lance_options(location, patient=True)
    try:
        # Not `write_dataset`: of two writers at once, the second overwrites the first one's table.
        lance.LanceDataset.commit(
            _uri(location), empty, read_version=0, max_retries=0, storage_options=options
        )
    except OSError as error:  # another writer was first: use that table
        try:
            return open_table(location, patient=True)
        except ValueError:
            raise error from None
    return open_table(location, patient=True)


def check_files(dataset: Any) -> None:
    """Raise `ValueError` for a table whose manifest names data files outside the index."""
    for fragment in dataset.get_fragments():
        for file in fragment.metadata.files:
            path_inside(file.path)
            if file.base_id is not None:
                raise ValueError(f"{file.path}: lies outside of the index")


def _make_folder(location: Location) -> None:
    try:
        location.folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(f"{location.uri}: is a file; name a folder for the index") from error
    except OSError as error:
        raise StoreError(
            f"{location.uri}: no folder can be made there ({error.strerror}); name another one"
        ) from error


def _check_metadata(location: Location, metadata: dict[bytes, bytes], embedder: Embedder) -> None:
    number = metadata.get(b"format", b"")
    check_format(int(number) if number.isdigit() else None, location.uri)
    fingerprint = metadata.get(b"embedder", b"none").decode()
    if fingerprint != embedder.fingerprint:
        raise IndexMismatch(
            f"{location.uri}: made by embedder {fingerprint}, expected {embedder.fingerprint}: "
            "use that one, or build a new index"
        )


def _uri(location: Location) -> str:
    """The table's URI; `ValueError` if links in it would make Lance write somewhere else."""
    if location.bucket is None:
        local.refuse_links(location.folder, _FOLDERS)
    return location.child(TABLE)
