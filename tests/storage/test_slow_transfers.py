"""Proves that a store that sends a byte at a time is given up, like one that sends none.

The time limits are half a second and one second here.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resift.errors import SourceError, StoreError
from resift.index.sources.source import open_source
from resift.index.storage.client import TooSlow, TransferRate
from resift.index.storage.copies import CopyCache
from storage.conftest import Server
from storage.corpus import Corpus
from storage.faulty import Faults, FaultyProxy

SLOW = "it sends too slowly, or is cut off: check the network, or try again later"
SOON_S = 6.0


def set_minimum_rate(monkeypatch: pytest.MonkeyPatch, seconds: float, count: int) -> None:
    """Expect so many bytes in so many seconds."""
    monkeypatch.setattr("resift.index.storage.client._RATE_WINDOW_S", seconds)
    monkeypatch.setattr("resift.index.storage.client._RATE_MIN_BYTES", count)


@pytest.fixture(autouse=True)
def _short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    set_minimum_rate(monkeypatch, 0.5, 2_000)
    monkeypatch.setattr("resift.index.storage.bucket_listing._SECONDS", 1.0)
    monkeypatch.setattr("resift.index.storage.client._IMPATIENT", ("1s", 4, 1))


@pytest.fixture
def soon() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON_S


def assert_too_slow(error: BaseException) -> None:
    assert SLOW in str(error) and "\n" not in str(error) and len(str(error)) < 200


@pytest.mark.parametrize("drips_head", [False, True])
def test_a_listing(published: Corpus, proxy: FaultyProxy, soon: None, drips_head: bool) -> None:
    proxy.restart(Faults(drip="list-type", drips_head=drips_head))
    with pytest.raises(SourceError) as raised:
        open_source(published.docs, published.storage).list()
    assert_too_slow(raised.value)
    assert proxy.count("GET") > 1  # it was tried again


def test_a_refusal(published: Corpus, proxy: FaultyProxy, soon: None) -> None:
    """A slow error body is not waited for either."""
    wrong = Server(proxy.endpoint).settings("owner", "wrong")
    proxy.restart(Faults(drip="list-type"))
    with pytest.raises(SourceError) as raised:
        open_source(published.docs, wrong).list()
    assert_too_slow(raised.value)


def test_a_record_of_a_version(published: Corpus, proxy: FaultyProxy, soon: None) -> None:
    proxy.restart(Faults(drip="versions/0"))
    with pytest.raises(StoreError) as raised:
        published.versions.newest()
    assert_too_slow(raised.value)
    assert proxy.count("GET", "versions/0") == 2


def test_a_table(published: Corpus, proxy: FaultyProxy, soon: None) -> None:
    proxy.restart(Faults(drip="passages.lance/"))
    with pytest.raises(StoreError) as raised:
        published.index().search("words", rerank=False)
    assert_too_slow(raised.value)


def test_a_copy(published: Corpus, proxy: FaultyProxy, tmp_path: Path, soon: None) -> None:
    proxy.restart(Faults(drip="passages.lance/data"))
    cache = CopyCache(tmp_path, 1 << 30)
    with pytest.raises(StoreError) as raised:
        cache.hydrate(published.location, published.newest())
    assert_too_slow(raised.value)
    assert not list(tmp_path.rglob("*.part"))


def test_an_existing_copy_is_searched_instead(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path, soon: None
) -> None:
    published.index(cache_dir=str(tmp_path)).search("words", rerank=False)
    proxy.restart(Faults(drip="versions/0"))
    ranking = published.index(cache_dir=str(tmp_path)).search("words", rerank=False)
    assert "version 1 was read from its copy on this disk" in ranking.receipt.notes[0]


def test_a_slow_object_is_skipped_alone(published: Corpus, proxy: FaultyProxy, soon: None) -> None:
    published.write({"slow.txt": "words " * 2_000, "new.txt": "Something new."})
    proxy.restart(Faults(drip="docs/slow"))
    report = published.index().sync(published.docs)
    assert report.added == 1
    [(uri, reason)] = report.skipped
    assert uri.endswith("slow.txt") and SLOW in reason


def test_a_search_with_a_budget_is_not_late(published: Corpus, proxy: FaultyProxy) -> None:
    index = published.index()
    proxy.restart(Faults(drip="", drips_head=True))
    started = time.monotonic()
    ranking = index.search("words", rerank=False, budget_ms=200)
    assert time.monotonic() - started < 0.5
    assert ranking.receipt.partial and "time was up" in str(ranking.receipt.reason)


def test_a_slow_and_steady_transfer_is_waited_for(
    published: Corpus, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_minimum_rate(monkeypatch, 0.1, 10)
    proxy.restart(Faults(drip="versions/0", drip_s=0.0002))
    assert published.versions.newest() is not None


def test_the_clock_starts_with_the_first_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("resift.index.storage.client.time.monotonic", lambda: now[0])
    pace = TransferRate()
    now[0] = 100.0
    pace.add(1)
    now[0] = 100.4
    pace.add(1_998)
    now[0] = 100.6
    pace.add(1)
    now[0] = 101.2
    with pytest.raises(TooSlow, match="transfer too slow: 1 bytes in 1 s"):
        pace.add(1)
