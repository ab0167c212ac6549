"""Proves that a bucket serves as source and as index, and that refusals are reported in a line."""

import socket
import time
from pathlib import Path

import obstore
import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexNotFound, ResiftError, SourceError, StoreError
from resift.search.index import Index
from resift.settings import Settings, StorageSettings
from resift.types import Hit
from search.stand_ins import Backwards
from storage.conftest import Server

DOCS = {
    "docs/cat.txt": b"The cat is an animal that purrs.",
    "docs/deep/er/dog ü #1.md": b"# Dogs\n\nThe dog barks at llamas.",
    "docs/rows.jsonl": b'{"_id": "r1", "text": "A bird sings."}\nbroken\n',
    "docs/.hidden/x.txt": b"hidden",
    "docs/image.png": b"\x89PNG",
    "docs2/other.txt": b"not below docs",
}


def index_at(uri: str, storage: StorageSettings) -> Index:
    settings = Settings(storage=storage)
    return Index(uri, settings=settings, embedder=HashingEmbedder(), reranker=Backwards())


def uri_of(hit: Hit) -> str:
    """The URI of a hit's object."""
    return hit.citation.uri if hit.citation else ""


@pytest.fixture
def documents(server: Server, bucket: str) -> str:
    for key, data in DOCS.items():
        obstore.put(server.bucket(bucket), key, data)
    return f"s3://{bucket}/docs"


def test_a_bucket_is_indexed_into_a_bucket_and_searched(
    server: Server, bucket: str, documents: str
) -> None:
    index = index_at(f"s3://{bucket}/index", server.settings())
    report = index.sync(documents)
    assert (report.added, report.passages_embedded, report.passed_over) == (3, 3, {".png": 1})
    assert [(Path(uri).name, reason[:6]) for uri, reason in report.skipped] == [
        ("rows.jsonl", "line 2")
    ]
    ranking = index.search("a dog and llamas", rerank=False)
    assert uri_of(ranking[0]) == f"{documents}/deep/er/dog ü #1.md"
    assert ranking[0].id == f"{documents}/deep/er/dog ü #1.md#0"
    assert index.search("a dog and llamas", top_n=9)[len(ranking) - 1].id == ranking[0].id


def test_a_bucket_is_followed_by_its_etags(server: Server, bucket: str, documents: str) -> None:
    index = index_at(f"s3://{bucket}/index", server.settings())
    first = index.sync(documents)
    again = index.sync(documents)
    assert (again.unchanged, again.passages_embedded, again.version) == (3, 0, first.version)
    store = server.bucket(bucket)
    obstore.put(store, "docs/cat.txt", b"The cat is an animal that sleeps")
    obstore.put(store, "docs/new.html", b"<p>A whale sings")
    obstore.delete(store, "docs/rows.jsonl")
    third = index.sync(documents)
    assert (third.added, third.changed, third.deleted, third.unchanged) == (1, 1, 1, 1)
    reader = index_at(f"s3://{bucket}/index", server.settings("reader"))
    assert len(reader.search("purrs bird", mode="lexical", rerank=False)) == 0
    assert len(reader.search("sleeps whale", mode="lexical", rerank=False)) == 2


def test_one_object_is_a_source(server: Server, bucket: str, documents: str) -> None:
    index = index_at(f"s3://{bucket}/index", server.settings())
    assert index.sync(f"{documents}/cat.txt").added == 1
    assert uri_of(index.search("cat", rerank=False)[0]) == f"{documents}/cat.txt"
    assert index.sync(documents).added == 2


@pytest.mark.parametrize(
    ("person", "secret", "reason"),
    [
        ("nobody", None, "the access key is not known there"),
        ("owner", "wrong-secret", "the secret key does not match"),
        ("stranger", None, "access denied"),
    ],
)
def test_missing_access_is_reported(
    server: Server, documents: str, tmp_path: Path, person: str, secret: str | None, reason: str
) -> None:
    settings = server.settings(person, secret)
    with pytest.raises(SourceError, match=reason) as as_source:
        index_at(str(tmp_path / "index"), settings).sync(documents)
    with pytest.raises(StoreError, match=reason) as as_index:
        index_at(documents, settings).search("cat", rerank=False)
    for raised in (as_source, as_index):
        one_clear_line(raised.value, naming=documents)
        assert str(settings.secret_access_key) not in str(raised.value)


def test_who_may_only_read_cannot_make_an_index(
    server: Server, bucket: str, documents: str
) -> None:
    uri = f"s3://{bucket}/index"
    with pytest.raises(StoreError, match="access denied") as raised:
        index_at(uri, server.settings("reader")).sync(documents)
    one_clear_line(raised.value, naming=uri)


def test_a_missing_bucket_is_reported(server: Server, documents: str, tmp_path: Path) -> None:
    missing = "s3://no-such-bucket/docs"
    index = index_at(str(tmp_path / "index"), server.settings())
    with pytest.raises(SourceError, match="no such bucket") as raised:
        index.sync(missing)
    one_clear_line(raised.value, naming=missing)
    index = index_at(missing, server.settings())
    with pytest.raises(StoreError, match="no such bucket") as searched:
        index.search("cat", rerank=False)
    one_clear_line(searched.value, naming=missing)
    with pytest.raises(StoreError, match="no such bucket") as synced:
        index.sync(documents)
    one_clear_line(synced.value, naming=missing)


def test_a_prefix_without_an_index_is_reported(server: Server, bucket: str) -> None:
    with pytest.raises(IndexNotFound, match="no index there"):
        index_at(f"s3://{bucket}/index", server.settings()).search("cat", rerank=False)


def test_a_prefix_without_documents_is_reported(server: Server, bucket: str) -> None:
    index = index_at(f"s3://{bucket}/index", server.settings())
    with pytest.raises(SourceError, match="no documents there"):
        index.sync(f"s3://{bucket}/typo")
    with pytest.raises(SourceError, match=r"no-such\.txt"):
        index.sync(f"s3://{bucket}/no-such.txt")


def test_a_server_that_does_not_answer_is_given_up_in_seconds(tmp_path: Path) -> None:
    nowhere = StorageSettings("http://127.0.0.1:9", "us-east-1", "a-key", "a-secret")
    started = time.monotonic()
    with pytest.raises(SourceError, match="does not answer") as as_source:
        index_at(str(tmp_path / "index"), nowhere).sync("s3://bucket/docs")
    with pytest.raises(StoreError, match="does not answer") as as_index:
        index_at("s3://bucket/index", nowhere).search("cat", rerank=False)
    assert time.monotonic() - started < 20
    one_clear_line(as_source.value, naming="s3://bucket/docs")
    one_clear_line(as_index.value, naming="s3://bucket/index")


def test_a_server_that_is_silent_is_given_up_too(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        index = index_at(
            "s3://bucket/index", StorageSettings(endpoint, "us-east-1", "a-key", "a-secret")
        )
        started = time.monotonic()
        with pytest.raises(StoreError, match="does not answer"):
            index.search("cat", rerank=False)
        assert time.monotonic() - started < 20


def one_clear_line(error: ResiftError, naming: str) -> None:
    message = str(error)
    assert message.startswith(f"{naming}: ")
    assert "\n" not in message
    assert len(message) < 250
