"""Opens, creates and checks the Lance dataset of an index."""

import os
import uuid
from typing import Any

from resift.errors import IndexMismatch, StoreError
from resift.extras import require
from resift.files import reason
from resift.index.analysis.spec import ANY_ANALYSER, AnalyserChoice, check_rules, read_spec
from resift.index.embed import Embedder
from resift.index.storage import local
from resift.index.storage.client import lance_options
from resift.index.storage.location import TABLE, Location
from resift.index.table.rows import schema
from resift.index.versions.record import FORMAT, check_format, check_relative_path

_PARTS = ("data", "_versions", "_indices", "_transactions", "_deletions")
_FOLDERS = (TABLE, *(f"{TABLE}/{part}" for part in _PARTS))
# Lance's caches of indexes and file footers; its defaults are gigabytes.
_WRITER_CACHE_SIZES = {"index_cache_size_bytes": 64 << 20, "metadata_cache_size_bytes": 64 << 20}


def open_table(location: Location, *, patient: bool = False, **options: Any) -> Any:
    """Open the table of the index at `location`. Lance's errors are raised as they are.

    With `patient` wait longer, for a store that has answered before.
    """
    # Lance logs warnings about its later versions to stderr.
    os.environ.setdefault("LANCE_LOG", "error")
    lance = require("lance", "index")
    uri = _uri(location)
    options.setdefault("session", lance.Session(**_WRITER_CACHE_SIZES))
    return lance.dataset(uri, storage_options=lance_options(location, patient=patient), **options)


def open_or_create_table(
    location: Location, embedder: Embedder, choice: AnalyserChoice = ANY_ANALYSER
) -> Any:
    """Open the table for writing; create it if it does not exist.

    Raise `IndexMismatch` for a table of another format, with another embedder's vectors, or with
    the terms of an analyser that is not the chosen one.
    """
    if not location.bucket:
        _make_folder(location)
        local.check_tree(location.folder / TABLE)
    try:
        dataset = open_table(location, patient=True)
    except ValueError as error:
        if "was not found" not in str(error):
            raise
        dataset = create_table(location, embedder, choice)
    _check_metadata(location, dataset.schema.metadata or {}, embedder, choice)
    return dataset


def create_table(
    location: Location, embedder: Embedder, choice: AnalyserChoice = ANY_ANALYSER
) -> Any:
    """Create the table for vectors of this embedder, or open it if another writer was faster."""
    lance = require("lance", "index")
    metadata = {
        "format": str(FORMAT),
        "embedder": embedder.fingerprint,
        "analyser": str(choice.spec(None, location.uri)),
        "table": uuid.uuid4().hex,
    }
    empty = lance.LanceOperation.Overwrite(schema(embedder.dim, metadata), [])
    options = lance_options(location, patient=True)
    try:
        # `write_dataset` would overwrite the table of another writer at the same moment.
        lance.LanceDataset.commit(
            _uri(location), empty, read_version=0, max_retries=0, storage_options=options
        )
    except OSError as error:  # another writer was faster: use that table
        try:
            return open_table(location, patient=True)
        except ValueError:
            raise error from None
    return open_table(location, patient=True)


def check_files(dataset: Any) -> None:
    """Raise `ValueError` for a table whose manifest names data files outside the index."""
    for fragment in dataset.get_fragments():
        for file in fragment.metadata.files:
            check_relative_path(file.path)
            if file.base_id is not None:
                raise ValueError(f"{file.path}: lies outside of the index")


def _make_folder(location: Location) -> None:
    try:
        location.folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(f"{location.uri}: is a file; name a folder for the index") from error
    except OSError as error:
        raise StoreError(
            f"{location.uri}: no folder can be made there ({reason(error)}); name another one"
        ) from error


def _check_metadata(
    location: Location,
    metadata: dict[bytes, bytes],
    embedder: Embedder,
    choice: AnalyserChoice,
) -> None:
    number = metadata.get(b"format", b"")
    check_format(int(number) if number.isdigit() else None, location.uri)
    fingerprint = metadata.get(b"embedder", b"none").decode()
    if fingerprint != embedder.fingerprint:
        raise IndexMismatch(
            f"{location.uri}: made by embedder {fingerprint}, expected {embedder.fingerprint}: "
            "use that one, or build a new index"
        )
    try:
        spec = read_spec(metadata.get(b"analyser", b"").decode("utf-8", "replace"))
    except ValueError as error:
        raise IndexMismatch(
            f"{location.uri}: the analyser of its table is not known ({error}): build a new index"
        ) from error
    check_rules(spec, location.uri)
    choice.spec(spec, location.uri)


def _uri(location: Location) -> str:
    """Return the table's URI; raise `ValueError` if links in it lead out of the index."""
    if location.bucket is None:
        local.refuse_links(location.folder, _FOLDERS)
    return location.child(TABLE)
