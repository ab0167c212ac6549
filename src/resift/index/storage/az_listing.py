"""A listing in the protocol of Azure Blob Storage: its query and its pages."""

from email.utils import parsedate_to_datetime
from urllib.parse import unquote
from xml.etree import ElementTree

from resift.index.storage.listing_page import (
    ListedObject,
    ListingError,
    Page,
    check_keys,
    listed_object,
    not_a_listing,
    parse_xml,
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
        name, size, modified = children["Name"], fields["Content-Length"], fields["Last-Modified"]
        key = name.text or ""
        return listed_object(
            unquote(key, errors="surrogateescape") if name.get("Encoded") == "true" else key,
            fields.get("Etag", ""),
            size,
            parsedate_to_datetime(modified),
        )
    except (KeyError, ValueError, OverflowError) as error:
        raise ListingError(not_a_listing("an object without key, size or time")) from error
