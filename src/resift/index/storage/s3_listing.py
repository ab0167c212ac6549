"""A listing in S3's protocol, which Google Cloud Storage speaks too: its query and its pages."""

from datetime import datetime
from urllib.parse import unquote_plus
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

TOKEN = "continuation-token"


def first_query(prefix: str, page_size: int) -> dict[str, str]:
    """Make the query of the first page; later ones add `TOKEN`."""
    return {
        "list-type": "2",
        "encoding-type": "url",
        "max-keys": str(page_size),
        "prefix": prefix,
    }


def parse(body: bytes, prefix: str) -> Page:
    """Parse a page; raise `ListingError` if the response is anything else."""
    root = parse_xml(body, "ListBucketResult")
    fields = {tag(child): child.text or "" for child in root}
    is_encoded = fields.get("EncodingType") == "url"
    objects = [_object(child, is_encoded) for child in root if tag(child) == "Contents"]
    truncated, next_token = fields.get("IsTruncated"), fields.get("NextContinuationToken")
    if truncated not in ("true", "false") or (truncated == "true") != bool(next_token):
        raise ListingError("the listing is cut short: it does not name its next page")
    count = fields.get("KeyCount")
    if count is not None and count != str(len(objects)):
        raise ListingError(
            f"the listing is cut short: {len(objects)} keys where it says {count[:20]}"
        )
    check_keys(objects, prefix)
    return Page(objects, next_token if truncated == "true" else None)


def _object(element: ElementTree.Element, is_encoded: bool) -> ListedObject:
    fields = {tag(child): child.text or "" for child in element}
    try:
        key, size, modified = fields["Key"], fields["Size"], fields["LastModified"]
        return listed_object(
            unquote_plus(key, errors="surrogateescape") if is_encoded else key,
            fields.get("ETag", ""),
            size,
            datetime.fromisoformat(modified),
        )
    except (KeyError, ValueError, OverflowError) as error:
        raise ListingError(not_a_listing("an object without key, size or time")) from error
