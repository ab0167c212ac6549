"""Proves that an index of shards in a bucket is read in place, copied, and read from its copies."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import StoreError
from resift.index.storage.copies import CopyCache, delete_copy
from resift.search.index import Index
from resift.settings import Settings
from resift.types import Ranking
from storage.conftest import DOCUMENTS, Server
from storage.corpus import Corpus
from storage.faulty import Faults, FaultyProxy, Seen

SHARDS = 3


@pytest.fixture
def sharded(proxy: FaultyProxy, bucket: str) -> Corpus:
    """A published index of `DOCUMENTS` in three shards, reached through the proxy."""
    corpus = Corpus(f"s3://{bucket}", Server(proxy.endpoint).settings())
    corpus.write(DOCUMENTS)
    index_of(corpus, shards=SHARDS).sync(corpus.docs)
    proxy.restart()
    return corpus


def index_of(corpus: Corpus, shards: int | None = None, **settings: Any) -> Index:
    return Index(
        corpus.index_uri,
        settings=Settings(storage=corpus.storage, **settings),
        embedder=HashingEmbedder(),
        shards=shards,
    )


def search(index: Index) -> Ranking:
    return index.search("words3 and things", rerank=False)


def test_it_is_read_in_place_and_every_request_is_counted(
    sharded: Corpus, proxy: FaultyProxy
) -> None:
    index = index_of(sharded)
    for extra in (1 + 1 + SHARDS, 0):  # a listing, the record of the whole, and of each shard
        proxy.restart()
        receipt = search(index).receipt
        assert receipt.requests == len(proxy.seen) - extra
        assert receipt.bytes > 0 and receipt.notes == () and not receipt.partial


def test_each_shard_is_copied_once(sharded: Corpus, proxy: FaultyProxy, tmp_path: Path) -> None:
    wanted = [(hit.id, hit.first_stage_score) for hit in search(index_of(sharded))]
    for fetched in (True, False):
        proxy.restart()
        ranking = search(index_of(sharded, cache_dir=str(tmp_path)))
        assert [(hit.id, hit.first_stage_score) for hit in ranking] == wanted
        assert (ranking.receipt.requests, ranking.receipt.notes) == (0, ())
        assert bool(proxy.count("GET", "passages.lance")) == fetched
    assert len(list(tmp_path.glob("resift-copies/*/*/1.version"))) == SHARDS + 1


def test_copies_over_the_limit_are_not_made(
    sharded: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although each shard alone is below it."""
    sizes = [size for _, size in sharded.newest().files]
    assert max(sizes) < sum(sizes) - 1
    monkeypatch.setattr("resift.index.table.open.GIGABYTE", sum(sizes) - 1)
    assert search(index_of(sharded, cache_dir=str(tmp_path), cache_gb=1)).receipt.requests > 0
    assert not list(tmp_path.rglob("*.lance"))
    monkeypatch.setattr("resift.index.table.open.GIGABYTE", sum(sizes))
    assert search(index_of(sharded, cache_dir=str(tmp_path), cache_gb=1)).receipt.requests == 0


def test_if_the_store_is_down_the_copies_are_searched_and_reported(
    sharded: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    wanted = [hit.id for hit in search(index_of(sharded, cache_dir=str(tmp_path)))]
    proxy.restart(Faults(refusal=("503 Service Unavailable", "ServiceDown")))
    ranking = search(index_of(sharded, cache_dir=str(tmp_path)))
    assert [hit.id for hit in ranking] == wanted
    [note] = ranking.receipt.notes
    assert "version 1 was read from its copy on this disk" in note
    marker = CopyCache(tmp_path, 1 << 30).markers()[0]
    shutil.rmtree(marker.parent)  # of one shard, or of the whole
    with pytest.raises(StoreError):
        search(index_of(sharded, cache_dir=str(tmp_path)))


def test_if_the_store_goes_down_while_shards_are_opened_their_copies_are_searched(
    sharded: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    wanted = [hit.id for hit in search(index_of(sharded, cache_dir=str(tmp_path)))]

    def cut(request: Seen) -> None:
        if "shards/" in request.path:
            proxy.faults.reset_every = 1

    proxy.restart(Faults(before=cut))
    ranking = search(index_of(sharded, cache_dir=str(tmp_path)))
    assert [hit.id for hit in ranking] == wanted


def test_a_copy_of_the_whole_has_no_files_of_its_own(sharded: Corpus, tmp_path: Path) -> None:
    cache = CopyCache(tmp_path, 1 << 30)
    local = cache.hydrate(sharded.location, sharded.newest())
    assert local is not None and not list(tmp_path.rglob("*.lance"))
    assert cache.newest(sharded.location, None) is None  # without copies of the shards
    local.lock.close()
    [marker] = cache.markers()
    delete_copy(marker)
    assert cache.markers() == []


def test_a_version_that_was_cleaned_up_is_replaced_by_the_newest(
    sharded: Corpus, tmp_path: Path
) -> None:
    index = index_of(sharded)
    search(index)
    writer = index_of(sharded)
    sharded.write({name: f"{text} More of it." for name, text in DOCUMENTS.items()})
    writer.sync(sharded.docs)
    writer.clean(keep=1, older_than_days=0)
    ranking = search(index)
    assert ranking.receipt.version == 2
    assert ranking.receipt.notes == ("version 1 was gone: the newest was read",)
