"""Proves that a local copy equals the version, and that only new files are fetched, unchanged.

The proxy counts the requests.
"""

import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from resift.errors import StoreError
from resift.index.storage.copies import CopyCache, LocalCopy
from resift.index.storage.location import TABLE
from resift.index.table import open as opening
from resift.types import Ranking
from storage.conftest import DOCUMENTS, Server
from storage.corpus import Corpus, children
from storage.faulty import Faults, FaultyProxy

MUCH = 1 << 30


def test_a_copy_gives_the_same_results_as_the_index(published: Corpus, tmp_path: Path) -> None:
    copy = published.index(cache_dir=str(tmp_path))
    for mode in ("dense", "lexical", "hybrid"):
        in_place = search(published.index(), mode=mode)
        ranking = search(copy, mode=mode)
        assert ids_and_scores(ranking) == ids_and_scores(in_place)
        assert in_place.receipt.requests and not ranking.receipt.requests


def test_a_second_opening_fetches_nothing(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    search(published.index(cache_dir=str(tmp_path)))
    assert moved(proxy) == {path for path, _ in published.newest().files}
    proxy.restart()
    search(published.index(cache_dir=str(tmp_path)))
    assert not moved(proxy)
    assert len(proxy.seen) == 2  # the list of versions, and the newest one's record


def test_a_new_version_fetches_only_its_new_files(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    cache = CopyCache(tmp_path, MUCH)
    hydrate(cache, published)
    before = {path for path, _ in published.newest().files}
    published.write({"new.txt": "Something new about words."})
    published.index().sync(published.docs)
    after = {path for path, _ in published.newest().files}
    proxy.restart()
    hydrate(cache, published)
    assert moved(proxy) == after - before
    assert before & after


def test_an_interrupted_fetch_is_continued(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    files = {path for path, _ in published.newest().files}
    broken_off = 2 + len(files) // 2
    proxy.restart(Faults(expired_from=broken_off))
    with pytest.raises(StoreError, match="the session token has expired") as raised:
        search(published.index(cache_dir=str(tmp_path)))
    assert "\n" not in str(raised.value)
    there = on_disk(tmp_path)
    assert there and not [path for path in there if path.endswith(".part")]
    proxy.restart()
    search(published.index(cache_dir=str(tmp_path)))
    assert moved(proxy) == files - there


def test_a_truncated_file_on_disk_is_fetched_again(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    hydrate(CopyCache(tmp_path, MUCH), published)
    [data] = [path for path in tmp_path.rglob("data/*.lance")]
    whole = data.read_bytes()
    data.write_bytes(whole[:-100])
    proxy.restart()
    search(published.index(cache_dir=str(tmp_path)))
    assert data.read_bytes() == whole
    assert len(moved(proxy)) == 1


def test_a_corrupted_byte_is_noticed(published: Corpus, proxy: FaultyProxy, tmp_path: Path) -> None:
    files = len(published.newest().files)
    for number in range(3, 3 + files):
        proxy.restart(Faults(spoil=number))
        folder = tmp_path / str(number)
        assert ids_and_scores(search(published.index(cache_dir=str(folder)))) == ids_and_scores(
            search(published.index())
        )
        assert sum(unquote(request.path).count(TABLE) for request in proxy.seen) > files
        right = {path.name: path.read_bytes() for path in data_files(tmp_path / "3")}
        assert {path.name: path.read_bytes() for path in data_files(folder)} == right


def test_a_version_that_does_not_fit_is_read_in_place(
    published: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "GIGABYTE", 1)
    ranking = search(published.index(cache_dir=str(tmp_path), cache_gb=1))
    assert ranking.receipt.requests
    assert not on_disk(tmp_path)


def test_the_version_unopened_for_longest_is_deleted_unless_it_is_open(
    published: Corpus, server: Server, tmp_path: Path
) -> None:
    others = [Corpus(f"s3://{server.new_bucket()}", published.storage) for _ in range(3)]
    for other in others:
        other.write(DOCUMENTS)
        other.index().sync(other.docs)
    size = max(sum(size for _, size in corpus.newest().files) for corpus in (published, *others))
    cache = CopyCache(tmp_path, int(2.5 * size))
    first, second = hydrate(cache, published), hydrate(cache, others[0])
    third = hydrate(cache, others[1])
    assert all(Path(copy.path).is_dir() for copy in (first, second, third))
    second.lock.close()
    third.lock.close()
    last = hydrate(cache, others[2])
    there = [Path(copy.path).is_dir() for copy in (first, second, third, last)]
    assert there == [True, False, False, True]
    first.lock.close()
    last.lock.close()


def test_processes_and_threads_may_fetch_at_once(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    wanted = ids_and_scores(search(published.index()))
    proxy.restart(Faults(delay_s=0.03))
    ranking: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: ranking.append(
                ids_and_scores(search(published.index(cache_dir=str(tmp_path))))
            )
        )
        for _ in range(2)
    ]
    with children(published.storage) as start:
        running = [start(), start()]
        for child in running:
            order = {"query": "words3 and things", "cache_dir": str(tmp_path)}
            child.order(published.docs, published.index_uri, **order)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        results = [child.result() for child in running]
    assert ranking == [wanted, wanted]
    for result in results:
        assert result == {"ids": [own_id for own_id, _ in wanted], "requests": 0}
    assert on_disk(tmp_path) == {path for path, _ in published.newest().files}


def search(index: Any, **options: Any) -> Ranking:
    ranking: Ranking = index.search("words3 and things", rerank=False, **options)
    return ranking


def ids_and_scores(ranking: Ranking) -> list[tuple[str | None, float | None]]:
    return [(hit.id, hit.first_stage_score) for hit in ranking]


def hydrate(cache: CopyCache, published: Corpus) -> LocalCopy:
    local = cache.hydrate(published.location, published.newest())
    assert local is not None
    return local


def moved(proxy: FaultyProxy) -> set[str]:
    """The table's files that were requested."""
    paths = (unquote(request.path) for request in proxy.seen)
    return {path.partition(f"{TABLE}/")[2] for path in paths if f"{TABLE}/" in path}


def data_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and TABLE in path.parts]


def on_disk(folder: Path) -> set[str]:
    """The table's files that are in a cache."""
    return {path.as_posix().partition(f"{TABLE}/")[2] for path in data_files(folder)}
