"""Proves that a public bucket is listed, read and searched without any keys.

Without keys and without that setting the error names the setting.
"""

from pathlib import Path

import obstore
import pytest

from index.fakes import HashingEmbedder
from resift.errors import ResiftError, StoreError
from resift.index.sources.source import open_source
from resift.index.storage.bucket_listing import BucketListing
from resift.index.storage.errors import describe
from resift.index.storage.location import locate
from resift.search.index import Index
from resift.settings import Settings, StorageSettings
from search.stand_ins import Backwards
from storage.conftest import DOCUMENTS, Server
from storage.corpus import Corpus
from storage.weed import PUBLIC

ODD = {"a b+c%.txt": "A document with an odd key.", "ü.txt": "Another."}


@pytest.fixture
def anybody(server: Server) -> StorageSettings:
    return StorageSettings(endpoint=server.endpoint, region="us-east-1", skip_signature=True)


@pytest.fixture
def corpus(server: Server, tmp_path: Path) -> Corpus:
    """An index in the public bucket, as its owner has made it."""
    corpus = Corpus(f"s3://{PUBLIC}/{tmp_path.name}", server.settings())
    corpus.write(DOCUMENTS | ODD)
    corpus.index().sync(corpus.docs)
    return corpus


def test_a_public_source_is_indexed_without_keys(
    corpus: Corpus, anybody: StorageSettings, tmp_path: Path
) -> None:
    index = Index(
        str(tmp_path / "index"),
        settings=Settings(storage=anybody),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
    )
    assert index.sync(corpus.docs).added == len(DOCUMENTS | ODD)
    assert index.sync(corpus.docs).unchanged == len(DOCUMENTS | ODD)


def test_a_public_index_is_searched_without_keys(
    corpus: Corpus, anybody: StorageSettings, tmp_path: Path
) -> None:
    corpus.write({"new.txt": "Something that is not indexed yet."})
    seen = Corpus(corpus.root, anybody)
    wanted = [hit.id for hit in corpus.index().search("words3 and things", rerank=False)]
    for index in (seen.index(), seen.index(cache_dir=str(tmp_path / "copies"))):
        assert [hit.id for hit in index.search("words3 and things", rerank=False)] == wanted
    with pytest.raises(ResiftError, match="access denied") as raised:
        seen.index().sync(corpus.docs, allow_deletes=True)
    assert "\n" not in str(raised.value)


def test_present_keys_are_not_used(corpus: Corpus, anybody: StorageSettings) -> None:
    """Wrong keys, and one of two, would be refused."""
    wrong = StorageSettings(
        anybody.endpoint, "us-east-1", "owner", session_token="x", skip_signature=True
    )
    assert len(open_source(corpus.docs, wrong).list().objects) == len(DOCUMENTS | ODD)


def test_a_listing_without_keys_goes_on_over_its_pages(
    corpus: Corpus, anybody: StorageSettings
) -> None:
    location = locate(corpus.docs, anybody)
    pages = list(BucketListing(location).pages(f"{location.path}/", page_size=5))
    assert len(pages) > 3
    assert sum(map(len, pages)) == len(DOCUMENTS | ODD)


def test_a_bucket_that_is_not_public_is_reported(
    server: Server, bucket: str, anybody: StorageSettings
) -> None:
    with pytest.raises(ResiftError, match="access denied"):
        open_source(f"s3://{bucket}/docs", anybody).list()
    with pytest.raises(StoreError, match="access denied"):
        Corpus(f"s3://{bucket}", anybody).index().search("words", rerank=False)


def test_it_is_a_setting_by_aws_own_name() -> None:
    assert Settings.load({"AWS_SKIP_SIGNATURE": "true"}).storage.skip_signature
    assert not Settings.load({"AWS_SKIP_SIGNATURE": "false"}).storage.skip_signature


def test_without_keys_and_without_that_setting_the_error_names_the_remedy() -> None:
    text = (
        "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 3.1s, "
        "after 4 retries - HTTP error: error sending request"
    )
    assert "AWS_SKIP_SIGNATURE=true" in describe(obstore.exceptions.GenericError(text))
