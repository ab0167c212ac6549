"""Proves that an index of shards in a bucket follows its source, also past a killed sync."""

import pytest

from index.fakes import HashingEmbedder, InProcessParsers
from resift.errors import StoreError
from resift.index.shards import sync as syncing
from resift.index.sources.source import open_source
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards
from storage.conftest import Server
from storage.corpus import Corpus


@pytest.fixture
def corpus(server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    corpus = Corpus(f"s3://{bucket}", server.settings())
    corpus.write({f"{number}.txt": f"text number{number}" for number in range(9)})
    return corpus


def open_index(corpus: Corpus) -> Index:
    settings = Settings(storage=corpus.storage)
    return Index(
        corpus.index_uri,
        settings=settings,
        embedder=HashingEmbedder(),
        reranker=Backwards(),
        shards=3,
    )


def test_it_follows_its_source_and_is_no_source(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(corpus)
    assert index.sync(corpus.docs).added == 9
    assert index.sync(corpus.docs).unchanged == 9
    corpus.write({"1.txt": "changed", "new.txt": "text of a new one"})
    corpus.delete("2.txt")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(syncing, "publish_whole", interrupt)
        index.sync(corpus.docs)
    assert [version.passages for version in index.versions()] == [9]
    report = index.sync(corpus.docs)
    assert (report.added, report.changed, report.deleted, report.unchanged) == (1, 1, 1, 7)
    assert report.passages_embedded == 0
    rank = index.search("number2 changed", mode="lexical", rerank=False)
    assert [hit.text for hit in rank][:1] == ["changed"]
    assert index.rollback(1).passages == 9
    assert index.clean(keep=1, older_than_days=0)[0] == [1, 2]
    listing = open_source(corpus.root, corpus.storage).list()
    assert (len(listing.objects), listing.passed_over["index"]) == (9, 2)


def test_a_shard_whose_record_is_gone_is_named(corpus: Corpus) -> None:
    index = open_index(corpus)
    index.sync(corpus.docs)
    shard = corpus.versions.shard(1)
    shard.remove(shard.get(1))
    with pytest.raises(StoreError, match="index: version 1 has lost shards/001: restore it"):
        index.sync(corpus.docs)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
