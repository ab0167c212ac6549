"""A listing in the protocol of Azure Blob Storage: its query and its pages."""

from email.utils import parsedate_to_datetime
from urllib.parse import unquote
from xml.etree import ElementTree

from resift.index.storage.listing_page import (
    ListedObject,
    ListingError,
    Page,
    check_keys,
    not_a_listing,
    parse_xml,
    substitute_etag,
    tag,
)

TOKEN = "marker"


def first_query(prefix: str, page_size: int) -> dict[str, str]:
    """Make the query of the first page; later ones add `TOKEN`."""
    query = {"comp": "list", "maxresults": str(page_size), "restype": "container"}
    return {**query, "prefix": prefix} if prefix else query


def parse(body: bytes, prefix: str) -> Page:
    """Parse a page; raise `ListingError` if the response is anything else."""
    root = parse_xml(body, "EnumerationResults")
    children = {tag(child): child for child in root}
    if "Blobs" not in children or "NextMarker" not in children:
        raise ListingError("the listing is cut short: it does not name its next page")
    blobs = [blob for blob in children["Blobs"] if tag(blob) == "Blob"]
    objects = [item for blob in blobs if (item := _object(blob)) is not None]
    check_keys(objects, prefix)
    return Page(objects, children["NextMarker"].text or None)


def _object(blob: ElementTree.Element) -> ListedObject | None:
    """Read an object; None for the folder of an account with a hierarchical namespace."""
    children = {tag(child): child for child in blob}
    fields = {tag(child): child.text or "" for child in children.get("Properties", ())}
    if fields.get("ResourceType") == "directory":
        return None
    try:
        name, size = children["Name"], int(fields["Content-Length"])
        if not 0 <= size < 1 << 63:
            raise ValueError(size)
        modified = parsedate_to_datetime(fields["Last-Modified"])
    except (KeyError, ValueError, TypeError) as error:
        raise ListingError(not_a_listing("an object without key, size or time")) from error
    key = name.text or ""
    if name.get("Encoded") == "true":
        key = unquote(key, errors="surrogateescape")
    etag = fields.get("Etag", "").strip('"') or substitute_etag(modified, size)
    return ListedObject(key, etag, size, modified.timestamp())
