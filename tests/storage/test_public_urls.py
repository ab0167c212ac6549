"""Proves that a public bucket is a source by its URL, and that other pages are not."""

from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from resift.errors import InputError, SourceError
from resift.index.sources.source import open_source
from resift.index.storage.doctor import examine
from resift.search.index import Index
from resift.settings import Settings, StorageSettings
from search.stand_ins import Backwards
from storage.conftest import DOCUMENTS, Server
from storage.corpus import Corpus
from storage.peer import Answer, Peer, Request, running
from storage.weed import PUBLIC

ODD = {"a b+c%.txt": "A document with an odd key.", "ü.txt": "Another."}


class Site(Peer):
    """A web site, which answers everything with a page."""

    def answer(self, request: Request) -> Answer:
        return Answer(200, {"Content-Type": "text/html"}, b"<!doctype html><p>Hello<br>you</p>")


@pytest.fixture
def url(server: Server, tmp_path: Path) -> str:
    """The URL of documents in the public bucket."""
    corpus = Corpus(f"s3://{PUBLIC}/{tmp_path.name}", server.settings())
    corpus.write(DOCUMENTS | ODD)
    return f"{server.endpoint}/{PUBLIC}/{tmp_path.name}/docs"


def test_a_public_bucket_is_indexed_and_cited_by_its_url(
    url: str, server: Server, bucket: str
) -> None:
    index = Index(
        f"s3://{bucket}/index",  # with keys, which are not sent to the public bucket
        settings=Settings(storage=server.settings()),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
    )
    assert index.sync(url).added == len(DOCUMENTS | ODD)
    assert index.sync(f"{url}/").unchanged == len(DOCUMENTS | ODD)
    hits = index.search("odd key document", rerank=False)
    assert f"{url}/a b+c%.txt#0" in [hit.id for hit in hits]
    assert {index.verify_citation(hit).status for hit in hits} == {"verified"}


def test_a_document_is_a_source_by_its_url_as_a_browser_shows_it(url: str) -> None:
    [listed] = open_source(f"{url}/a%20b+c%25.txt", StorageSettings()).list().objects
    assert listed.uri == f"{url}/a b+c%.txt"


def test_a_private_bucket_is_refused_with_the_remedy(server: Server, bucket: str) -> None:
    with pytest.raises(SourceError, match="access denied: the bucket is not open to all: name it"):
        open_source(f"{server.endpoint}/{bucket}/docs", server.settings()).list()


def test_a_page_is_not_a_listing() -> None:
    with running(site := Site()):
        with pytest.raises(SourceError) as refused:
            open_source(f"{site.url}/docs/page", StorageSettings()).list()
    message = str(refused.value)
    assert message.startswith(f"{site.url}/docs/page: the response is not a listing of a bucket")
    assert "not of a web page" in message and "AWS" not in message


def test_a_public_url_is_no_place_for_an_index(url: str) -> None:
    for make in (Index, lambda uri: examine(uri, StorageSettings())):
        with pytest.raises(InputError, match="is a source and is only read"):
            make(url)
