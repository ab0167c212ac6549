"""Proves that keys of a bucket are listed exactly, and that other answers are refused."""

from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from resift.errors import MassDeletion, SourceError, StoreError
from resift.index.sources.source import Listing, open_source
from resift.index.storage.location import locate
from resift.index.versions.published import Versions
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards
from storage.conftest import Server
from storage.fake_s3 import BUCKET, Answer, FakeS3, Query, fake_s3_server, listing, refusal

DOCS = f"s3://{BUCKET}/docs"
HTML = b"<!doctype html><html><head><title>Log in</title></head><body><p>Welcome</body></html>"


@pytest.fixture
def fake_s3() -> Iterator[FakeS3]:
    with fake_s3_server() as server:
        yield server


def listed(server: FakeS3, uri: str = DOCS) -> Listing:
    return open_source(uri, server.settings).list()


def odd(listing: Listing) -> dict[str, str]:
    return {uri.removeprefix(f"{DOCS}/"): reason for uri, reason in listing.unsupported}


def index_of(server: FakeS3, folder: Path) -> Index:
    return Index(
        str(folder / "index"),
        settings=Settings(storage=server.settings),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
    )


def test_every_key_is_listed_exactly_and_odd_keys_are_named(
    fake_s3: FakeS3, tmp_path: Path
) -> None:
    good = ["a.md", "100%.md", "sp ace+plus.md", "ü/e\u0301.md", "\u00e9.md", "A.md", "x/a..b.md"]
    strange = {
        "/a.md": "an empty part",
        "x//a.md": "an empty part",
        "b.md/": "an empty part",
        "x/../a.md": "the part '..'",
        "./a.md": "the part '.'",
        "tab\t.md": r"the control character '\t'",
        "cr\r.md": r"the control character '\r'",
        "lf\n.md": r"the control character '\n'",
        "nul\0.md": r"the control character '\x00'",
    }
    long = "y/" * 500 + "z" * (1024 - 5 - 1000 - 3) + ".md"
    for key in (*good, *strange, long):
        fake_s3.objects[f"docs/{key}"] = f"words of {key!r}".encode()
    fake_s3.objects |= {"docs/": b"", "docs/a.md/": b"", "docs/x/": b"", "docs2/a.md": b"other"}
    assert len(f"docs/{long}".encode()) == 1024
    seen = listed(fake_s3)
    assert [item.key for item in seen.objects] == sorted([*good, long])
    assert odd(seen) == {key: f"its name has {why}: rename it" for key, why in strange.items()}
    report = index_of(fake_s3, tmp_path).sync(DOCS)
    assert (report.added, report.unindexed, report.listed) == (8, 9, 17)
    again = index_of(fake_s3, tmp_path).sync(DOCS)
    assert (again.unchanged, again.version) == (8, report.version)
    assert again.skipped == report.skipped


def test_a_name_that_is_not_utf8_is_skipped_alone(fake_s3: FakeS3) -> None:
    page = listing({"docs/a.md": b"a", "docs/latin.md": b"x"}).replace(b"latin", b"latin%E9")
    fake_s3.listing = lambda query: (200, page)
    seen = listed(fake_s3)
    assert [item.key for item in seen.objects] == ["a.md"]
    assert odd(seen) == {r"latin\xe9.md": "its name is not UTF-8: rename it"}


def test_a_listing_of_many_pages_is_complete(fake_s3: FakeS3) -> None:
    fake_s3.page = 7
    fake_s3.objects = {f"docs/{n:03}.md": b"x" for n in range(50)}
    seen = listed(fake_s3)
    assert (len(seen.objects), seen.requests) == (50, 8)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, HTML), "not an S3 listing"),
        ((200, b"<html><body/></html>"), "not an S3 listing (<html>)"),
        ((200, b""), "not an S3 listing (nothing)"),
        ((204, b""), "not an S3 listing"),
        ((200, b"[]"), "not an S3 listing"),
        ((200, b"\xff\xfe\x00"), "not an S3 listing"),
        (
            (200, b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"),
            "not an S3 listing",
        ),
        ((200, b"<ListBucketResult/>"), "cut short"),
        ((200, refusal("InternalError")), "not an S3 listing (InternalError)"),
        ((200, listing({"docs/a.md": b"a"})[:-40]), "not an S3 listing"),
        ((200, listing({"docs/a.md": b"a"}, count=2)), "1 keys where it says 2"),
        ((200, listing({"docs/a.md": b"a"}, "x").replace(b"NextC", b"C")), "cut short"),
        ((200, listing({"docs/a.md": b"a"}).replace(b"Size", b"Sise")), "without key, size"),
        ((200, listing({"other/a.md": b"a"})), "do not begin with 'docs/'"),
        ((200, listing({"docs/a.md": b"a"}, "same")), "round in a circle"),
        ((403, refusal("AccessDenied", Message="docs/ExpiredToken.html")), "access denied"),
        ((404, refusal("NoSuchBucket")), "there is no such bucket"),
        ((301, refusal("PermanentRedirect")), "AWS_REGION"),
        ((400, refusal("ExpiredToken")), "the session token has expired"),
    ],
)
def test_an_answer_that_is_no_listing_deletes_nothing(
    fake_s3: FakeS3, tmp_path: Path, answer: Answer, reason: str
) -> None:
    fake_s3.objects = {"docs/a.md": b"alpha", "docs/b.md": b"beta"}
    index = index_of(fake_s3, tmp_path)
    first = index.sync(DOCS)
    fake_s3.listing = lambda query: answer
    with pytest.raises(SourceError) as raised:
        index.sync(DOCS, allow_deletes=True)
    message = str(raised.value)
    assert message.startswith(f"{DOCS}: ") and reason in message and len(message) < 250
    assert "X-Amz" not in message and "\n" not in message
    fake_s3.listing = lambda query: None
    again = index.sync(DOCS)
    assert (again.unchanged, again.version) == (2, first.version)


def test_a_listing_that_ends_with_its_first_page_is_refused(fake_s3: FakeS3) -> None:
    def cut(query: Query) -> Answer | None:
        return (200, HTML) if "continuation-token" in query else None

    fake_s3.page = 5
    fake_s3.objects = {f"docs/{n}.md": b"x" for n in range(9)}
    fake_s3.listing = cut
    with pytest.raises(SourceError, match="not an S3 listing"):
        listed(fake_s3)


def test_a_pause_of_the_store_is_waited_for(fake_s3: FakeS3) -> None:
    fake_s3.objects = {"docs/a.md": b"x"}
    fake_s3.listing = lambda query: (503, refusal("SlowDown")) if fake_s3.listings < 3 else None
    assert len(listed(fake_s3).objects) == 1
    assert fake_s3.listings == 3


def test_a_bucket_that_is_suddenly_empty_needs_consent(fake_s3: FakeS3, tmp_path: Path) -> None:
    fake_s3.objects = {"docs/a.md": b"alpha", "docs/b.md": b"beta"}
    index = index_of(fake_s3, tmp_path)
    index.sync(DOCS)
    fake_s3.objects = {}
    with pytest.raises(MassDeletion, match="2 of 2 indexed documents would leave the index"):
        index.sync(DOCS)
    assert index.sync(DOCS, allow_deletes=True).deleted == 2


def test_archived_objects_are_skipped_alone(fake_s3: FakeS3, tmp_path: Path) -> None:
    fake_s3.objects = {f"docs/{n:02}.md": f"text {n}".encode() for n in range(30)}
    fake_s3.archived = {f"docs/{n:02}.md" for n in range(5, 25)}
    index = index_of(fake_s3, tmp_path)
    report = index.sync(DOCS)
    assert (report.added, report.unindexed) == (10, 20)
    assert {reason for _, reason in report.skipped} == {
        "cannot be read: the object is archived: restore it first"
    }
    # What was indexed stays when it is archived, and when it cannot be read for a change.
    fake_s3.archived = {f"docs/{n:02}.md" for n in range(3)}
    fake_s3.objects["docs/00.md"] = b"another text"
    after = index.sync(DOCS)
    assert (after.added, after.unchanged, after.changed, after.emptied) == (20, 9, 0, 0)
    assert after.unread == 1  # what it says now is not known


def test_an_objects_name_never_ends_a_sync(fake_s3: FakeS3, tmp_path: Path) -> None:
    """The store's error code counts, not words in the key that its message quotes."""
    names = ("ExpiredToken", "InvalidAccessKeyId", "169.254.169.254", "NoSuchBucket")
    fake_s3.objects = {f"docs/{name}.html": b"<p>words" for name in names}
    fake_s3.objects["docs/good.md"] = b"good"
    fake_s3.archived = {f"docs/{name}.html" for name in names}
    report = index_of(fake_s3, tmp_path).sync(DOCS)
    assert (report.added, report.unindexed) == (1, 4)
    assert {reason.rpartition(": ")[2] for _, reason in report.skipped} == {"restore it first"}


def test_an_index_in_its_own_bucket_is_no_source(fake_s3: FakeS3) -> None:
    fake_s3.objects = {
        "docs/a.md": b"alpha",
        "docs/index/passages.lance/data/x.md": b"",
        "docs/index/manifests/00000001-aa.parquet": b"x",
        "docs/index/versions/00000001.json": b"{}",
        "docs/manifests/b.md": b"beta",
    }
    seen = listed(fake_s3)
    assert [item.key for item in seen.objects] == ["a.md", "manifests/b.md"]
    assert seen.passed_over == {"index": 3}
    for part in ("index/passages.lance", "index/manifests"):
        with pytest.raises(SourceError, match="part of"):
            open_source(f"{DOCS}/{part}", fake_s3.settings)


def test_an_object_with_a_folders_marker_beside_it_is_a_source(fake_s3: FakeS3) -> None:
    fake_s3.objects = {"docs/a.md": b"alpha", "docs/a.md/": b""}
    assert [item.uri for item in listed(fake_s3, f"{DOCS}/a.md").objects] == [f"{DOCS}/a.md"]


def test_odd_keys_of_a_real_store(server: Server, bucket: str) -> None:
    """SeaweedFS accepts some of them, under other names: those that it lists stay distinct."""
    store = server.bucket(bucket)
    for key in ("docs/a.md", "docs/sp ace+%.md", "docs/ü.md"):
        store.put(key, b"words")
    source = open_source(f"s3://{bucket}/docs", server.settings())
    seen = source.list()
    assert [item.key for item in seen.objects] == ["a.md", "sp ace+%.md", "ü.md"]
    assert {source.read(item.key).etag == item.etag for item in seen.objects} == {True}


@pytest.mark.parametrize("size", ["-1", "9" * 30, "9" * 5_000])
def test_a_size_that_no_object_has_is_no_listing(fake_s3: FakeS3, size: str) -> None:
    """It would end a run where its manifest is written."""
    page = listing({"docs/a.md": b"x"}).replace(b"<Size>1<", f"<Size>{size}<".encode())
    fake_s3.listing = lambda query: (200, page)
    with pytest.raises(SourceError, match="an object without key, size or time"):
        listed(fake_s3)


def test_a_truncated_page_is_requested_again(
    fake_s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_s3.objects["docs/a.md"] = b"words"
    read = HTTPResponse.read
    cut = iter([100])

    def read_less(answer: HTTPResponse, most: int | None = None) -> bytes:
        return read(answer, next(cut, most))

    monkeypatch.setattr(HTTPResponse, "read", read_less)
    assert [item.key for item in listed(fake_s3).objects] == ["a.md"]
    assert fake_s3.listings == 2


@pytest.mark.parametrize("body", [HTML, b"", b"{}", b"<ListBucketResult></ListBucketResult>"])
def test_an_answer_that_is_no_listing_is_not_an_empty_index(fake_s3: FakeS3, body: bytes) -> None:
    fake_s3.listing = lambda query: (200, body)
    with pytest.raises(StoreError, match="listing"):
        Versions(locate(f"s3://{BUCKET}/index", fake_s3.settings)).newest()
