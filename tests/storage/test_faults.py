"""Proves that whatever a store or a network does to a sync, readers keep what was published.

The failure is reported in one line, and the next sync does what is left and nothing twice.
"""

import json
import threading
from pathlib import Path
from typing import Any

import obstore
import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexMismatch, ResiftError, SourceError, StoreError
from resift.index.parsing.options import ParseLimits
from resift.index.parsing.pool import ParserPool
from resift.index.source_options import SourceOptions
from resift.index.storage.client import open_bucket
from resift.index.table.dataset import open_table
from resift.index.versions.record import FORMAT, SHARDED_FORMAT
from storage.conftest import Server
from storage.corpus import Corpus
from storage.faulty import Faults, FaultyProxy, Seen

OLD = {f"old {n}.txt": f"An old document, {n}." for n in range(4)}
NEW = {f"new {n}.txt": f"A new document, {n}." for n in range(24)}


@pytest.fixture
def corpus(server: Server, bucket: str) -> Corpus:
    """The corpus without the proxy."""
    return Corpus(f"s3://{bucket}", server.settings())


@pytest.fixture
def through(corpus: Corpus, proxy: FaultyProxy) -> Corpus:
    """The same corpus, reached through the proxy."""
    return Corpus(corpus.root, Server(proxy.endpoint).settings())


@pytest.fixture(autouse=True)
def _small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.writer.COMMIT_PASSAGES", 6)


def test_a_busy_store_only_takes_longer(
    corpus: Corpus, through: Corpus, proxy: FaultyProxy
) -> None:
    corpus.write(OLD | NEW)
    proxy.restart(Faults(slow_down_every=4))
    through.index().sync(through.docs)
    ranking = through.index().search("new document", 99, mode="lexical", rerank=False)
    proxy.restart()
    assert len(ranking) == len(OLD | NEW)
    assert_complete(corpus, OLD | NEW)


@pytest.mark.parametrize("fault", ["reset_every", "lose_every"])
def test_broken_connections_are_retried_or_reported(
    corpus: Corpus, through: Corpus, proxy: FaultyProxy, fault: str
) -> None:
    documents = dict(OLD)
    corpus.write(documents)
    corpus.index().sync(corpus.docs)
    for every in (3, 4, 5, 7, 9, 11):
        before, rows = corpus.newest().number, corpus.rows()
        documents[f"cut {every}.txt"] = f"Cut {every}."
        corpus.write(documents)
        is_lost = fault == "lose_every"
        proxy.restart(Faults(lose_every=every) if is_lost else Faults(reset_every=every))
        try:
            through.index().sync(through.docs)
        except ResiftError as error:  # a commit that may have been made is not tried again
            assert_one_line(error)
        assert corpus.rows(before) == rows
        corpus.versions.entries(corpus.newest())
    proxy.restart()
    through.index().sync(through.docs)
    assert_complete(corpus, documents)


def test_a_version_is_complete_if_the_answer_to_its_publication_is_lost(
    corpus: Corpus, through: Corpus, proxy: FaultyProxy
) -> None:
    corpus.write(OLD)
    proxy.restart()
    twin = Corpus(f"{through.root}/twin", through.storage)
    twin.write(OLD)
    proxy.restart()
    twin.index().sync(twin.docs)
    paths = [f"{request.method} {request.path}" for request in proxy.seen]
    record = next(n for n, path in enumerate(paths, 1) if "PUT" in path and "/versions/" in path)
    proxy.restart(Faults(lose_every=record))
    try:
        through.index().sync(through.docs)
    except StoreError as error:
        assert_one_line(error)
    assert "/versions/" in proxy.seen[record - 1].path
    proxy.restart()
    assert corpus.versions.numbers()
    assert_complete(corpus, OLD)
    assert len(corpus.versions.entries(corpus.newest())) == len(OLD)
    assert corpus.index().sync(corpus.docs).unchanged == len(OLD)


@pytest.mark.parametrize(
    ("part", "status"),
    [
        (0.1, "400 Bad Request"),
        (0.3, "403 Forbidden"),
        (0.5, "400 Bad Request"),
        (0.7, "403 Forbidden"),
        (0.9, "400 Bad Request"),
    ],
)
def test_credentials_that_expire_during_a_sync_lose_nothing(
    corpus: Corpus, through: Corpus, proxy: FaultyProxy, part: float, status: str
) -> None:
    corpus.write(OLD)
    corpus.index().sync(corpus.docs)
    rows = corpus.rows()
    proxy.restart()
    corpus.write(NEW)
    twin = Corpus(f"{through.root}/twin", through.storage)
    twin.write(OLD)
    twin.index().sync(twin.docs)
    twin.write(NEW)
    proxy.restart()
    twin.index().sync(twin.docs)
    last = int(len(proxy.seen) * part)
    proxy.restart(Faults(expired_from=last, expired_status=status))
    with pytest.raises((SourceError, StoreError), match="the session token has expired") as raised:
        through.index().sync(through.docs)
    assert_one_line(raised.value)
    assert corpus.rows() == rows
    committed = committed_passages(corpus) - len(OLD)
    assert corpus.index().sync(corpus.docs).passages_embedded == len(NEW) - committed
    assert_complete(corpus, OLD | NEW)


def test_a_source_that_starts_to_refuse_leaves_committed_passages(
    corpus: Corpus,
    through: Corpus,
    proxy: FaultyProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = {f"{n:03}.txt": f"Document {n}." for n in range(200)}
    corpus.write(documents)
    index = Corpus(str(tmp_path), through.storage).index()
    parsed, parse = threading.Semaphore(0), ParserPool._parse

    def parse_and_count(parsers: ParserPool, *arguments: Any) -> Any:
        result = parse(parsers, *arguments)
        parsed.release()
        return result

    def wait_for_parsers(request: Seen) -> None:
        if request.path.endswith("040.txt"):  # the parsers have all files before it
            assert all(parsed.acquire(timeout=60) for _ in range(20))  # more than a commit

    monkeypatch.setattr(ParserPool, "_parse", parse_and_count)
    proxy.restart(Faults(expired_from=150, before=wait_for_parsers))
    with pytest.raises(SourceError, match="the session token has expired") as raised:
        index.sync(through.docs)
    assert_one_line(raised.value)
    proxy.restart()
    local = Corpus(str(tmp_path), through.storage)
    committed = committed_passages(local)
    assert committed > 0
    assert index.sync(through.docs).passages_embedded == len(documents) - committed


def test_an_object_deleted_between_listing_and_reading_is_skipped_alone(
    corpus: Corpus, through: Corpus, proxy: FaultyProxy
) -> None:
    corpus.write(OLD)

    def delete_it(request: Seen) -> None:
        if request.method == "GET" and "old%202" in request.path:
            corpus.delete("old 2.txt")

    proxy.restart(Faults(before=delete_it))
    report = through.index().sync(through.docs)
    gone = (f"{corpus.docs}/old 2.txt", "gone since the source was listed")
    assert (report.added, report.skipped) == (3, (gone,))
    assert corpus.index().sync(corpus.docs).skipped == ()
    assert_complete(corpus, {key: text for key, text in OLD.items() if key != "old 2.txt"})


def test_keys_may_have_any_name(corpus: Corpus) -> None:
    names = ["a b", "a%20b", "a%2Fb", "100%", "x..", "x..y", "ünï/日本 語", "q'uo\"te", "q?x=1#f"]
    names += [
        "plus+and&amp;",
        "star*[x]",
        "~",
        "😀",
        "'; DROP TABLE passages; --",
        "a,b;c=d",
        "$(x)",
    ]
    documents = {f"{name}.txt": f"Words of {number}" for number, name in enumerate(names)}
    corpus.write(documents)
    assert corpus.index().sync(corpus.docs).skipped == ()
    assert_complete(corpus, documents)
    changed = {key: text + " again" for key, text in documents.items()}
    corpus.write(changed)
    assert corpus.index().sync(corpus.docs).changed == len(changed)
    assert_complete(corpus, changed)
    corpus.delete(*list(changed)[1:])
    assert corpus.index().sync(corpus.docs).deleted == len(changed) - 1
    assert [row[7] for row in corpus.rows()] == ["Words of 0 again"]


def test_an_object_that_is_too_large_is_not_requested(
    corpus: Corpus, through: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    corpus.write({"small.txt": "small", "large.txt": "large " * 200})
    proxy.restart()
    report = through.index().sync(
        through.docs, source_options=SourceOptions(limits=ParseLimits(max_bytes=1000))
    )
    reason = "1,200 bytes, over the limit of 1,000 (max_bytes)"
    assert report.skipped == ((f"{corpus.docs}/large.txt", reason),)
    assert proxy.count("GET", "docs/small.txt") == 1
    assert proxy.count("GET", "docs/large.txt") == 0
    folder = Corpus(str(tmp_path.resolve()))
    folder.write({"small.txt": "small"})
    with (tmp_path / "docs" / "huge.txt").open("wb") as huge:
        huge.truncate(2 << 30)
    [(uri, reason)] = folder.index().sync(folder.docs).skipped
    assert uri.endswith("huge.txt") and reason.startswith("2,147,483,648 bytes, over the limit")


def test_an_index_of_another_embedder_or_of_a_later_format_is_refused(corpus: Corpus) -> None:
    corpus.write(OLD)
    corpus.index().sync(corpus.docs)
    rows = corpus.rows()
    other = corpus.index(HashingEmbedder("another"))
    newest = corpus.newest()
    for refused in (lambda: other.sync(corpus.docs), lambda: other.search("old", rerank=False)):
        with pytest.raises(IndexMismatch, match="made by embedder hashing-64") as raised:
            refused()
        assert_one_line(raised.value)
    assert (corpus.newest(), corpus.rows()) == (newest, rows)
    write_format(corpus, newest.number, SHARDED_FORMAT + 1)
    for refused in (
        lambda: corpus.index().sync(corpus.docs),
        lambda: corpus.index().search("old", rerank=False),
    ):
        with pytest.raises(IndexMismatch, match=f"expected {FORMAT}: update") as raised:
            refused()
        assert_one_line(raised.value)


def write_format(corpus: Corpus, number: int, format_: int) -> None:
    store = open_bucket(corpus.location)
    path = f"versions/{number:08}.json"
    record = json.loads(bytes(obstore.get(store, path).bytes()))
    obstore.put(store, path, json.dumps(record | {"format": format_}).encode())


def committed_passages(corpus: Corpus) -> int:
    """Count the passages in the table's newest version, published or not."""
    return int(open_table(corpus.location).count_rows())


def assert_complete(corpus: Corpus, documents: dict[str, str]) -> None:
    held = sorted((row[1], row[7]) for row in corpus.rows())
    assert held == sorted((f"{corpus.docs}/{key}", text) for key, text in documents.items())
    assert {row[1]: row[2] for row in corpus.rows()} == corpus.etags()


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 250
