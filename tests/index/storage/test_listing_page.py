"""Proves that an entry with an impossible size or time is an error in each protocol."""

import pytest

from resift.index.storage import az_listing, s3_listing
from resift.index.storage.listing_page import ListingError, Page

S3_TIME, AZ_TIME = "2026-01-02T03:04:05Z", "Fri, 02 Jan 2026 03:04:05 GMT"


def s3_page(size: str, time: str, etag: str = "") -> Page:
    body = (
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a.md</Key>"
        f"<Size>{size}</Size><LastModified>{time}</LastModified>{etag}</Contents></ListBucketResult>"
    )
    return s3_listing.parse(body.encode(), "")


def az_page(size: str, time: str, etag: str = "") -> Page:
    body = (
        "<EnumerationResults><Blobs><Blob><Name>a.md</Name><Properties>"
        f"<Content-Length>{size}</Content-Length><Last-Modified>{time}</Last-Modified>{etag}"
        "</Properties></Blob></Blobs><NextMarker/></EnumerationResults>"
    )
    return az_listing.parse(body.encode(), "")


@pytest.mark.parametrize("size", ["", "x", "-1", str(1 << 63)])
def test_an_impossible_size_is_an_error(size: str) -> None:
    for parse, time in ((s3_page, S3_TIME), (az_page, AZ_TIME)):
        with pytest.raises(ListingError, match="an object without key, size or time"):
            parse(size, time)


@pytest.mark.parametrize("time", ["", "x", "9999999-01-01T00:00:00Z"])
def test_an_impossible_time_is_an_error_in_s3s_protocol(time: str) -> None:
    with pytest.raises(ListingError, match="an object without key, size or time"):
        s3_page("1", time)


@pytest.mark.parametrize("time", ["", "x", f"Mon, 01 Jan 2024 00:00:00 +{'9' * 20}"])
def test_an_impossible_time_is_an_error_in_azures_protocol(time: str) -> None:
    with pytest.raises(ListingError, match="an object without key, size or time"):
        az_page("1", time)


def test_an_etag_has_no_quotes_and_is_made_of_time_and_size_if_there_is_none() -> None:
    pages = (
        s3_page("7", S3_TIME, '<ETag>"e1"</ETag>'),
        az_page("7", AZ_TIME, '<Etag>"e1"</Etag>'),
        s3_page("7", S3_TIME),
        az_page("7", AZ_TIME),
    )
    etags = [page.objects[0].etag for page in pages]
    assert etags == ["e1", "e1", "1767323045-7", "1767323045-7"]
    assert {page.objects[0].modified for page in pages} == {1767323045.0}
