"""Proves that whatever a store or a network does to a sync, readers keep what was published.

And that it is told in one line, and that the next sync does what is left and nothing twice.
"""

import json
import threading
from pathlib import Path
from typing import Any

import obstore
import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexMismatch, ResiftError, SourceError, StoreError
from resift.index.bucket import open_bucket
from resift.index.location import locate
from resift.index.parsing.options import ParseLimits
from resift.index.parsing.pool import ParserPool
from resift.index.source_options import SourceOptions
from resift.index.table.dataset import open_table
from resift.index.versions.record import FORMAT
from storage.conftest import Server
from storage.faulty import Faults, FaultyProxy, Seen
from storage.places import Place

OLD = {f"old {n}.txt": f"An old document, {n}." for n in range(4)}
NEW = {f"new {n}.txt": f"A new document, {n}." for n in range(24)}


@pytest.fixture
def place(server: Server, bucket: str) -> Place:
    """As it is, without the proxy."""
    return Place(f"s3://{bucket}", server.settings())


@pytest.fixture
def through(place: Place, proxy: FaultyProxy) -> Place:
    """The same place, reached through the proxy."""
    return Place(place.root, Server(proxy.endpoint).settings())


@pytest.fixture(autouse=True)
def _small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.writer.COMMIT_PASSAGES", 6)


def test_a_store_that_is_busy_costs_time_only(
    place: Place, through: Place, proxy: FaultyProxy
) -> None:
    place.write(OLD | NEW)
    proxy.restart(Faults(slow_down_every=4))
    through.index().sync(through.docs)
    found = through.index().search("new document", 99, mode="lexical", rerank=False)
    proxy.restart()
    assert len(found) == len(OLD | NEW)
    assert_complete(place, OLD | NEW)


@pytest.mark.parametrize("fault", ["reset_every", "lose_every"])
def test_connections_that_are_cut_are_made_good_or_told(
    place: Place, through: Place, proxy: FaultyProxy, fault: str
) -> None:
    documents = dict(OLD)
    place.write(documents)
    place.index().sync(place.docs)
    for every in (3, 4, 5, 7, 9, 11):
        before, rows = place.newest().number, place.rows()
        documents[f"cut {every}.txt"] = f"Cut {every}."
        place.write(documents)
        is_lost = fault == "lose_every"
        proxy.restart(Faults(lose_every=every) if is_lost else Faults(reset_every=every))
        try:
            through.index().sync(through.docs)
        except ResiftError as error:  # a commit that may have been made is not tried again
            assert_one_line(error)
        assert place.rows(before) == rows
        place.versions.entries(place.newest())
    proxy.restart()
    through.index().sync(through.docs)
    assert_complete(place, documents)


def test_a_version_whose_record_is_published_and_not_answered_for_is_whole(
    place: Place, through: Place, proxy: FaultyProxy
) -> None:
    place.write(OLD)
    proxy.restart()
    twin = Place(f"{through.root}/twin", through.storage)
    twin.write(OLD)
    proxy.restart()
    twin.index().sync(twin.docs)
    paths = [f"{one.method} {one.path}" for one in proxy.seen]
    record = next(n for n, path in enumerate(paths, 1) if "PUT" in path and "/versions/" in path)
    proxy.restart(Faults(lose_every=record))
    try:
        through.index().sync(through.docs)
    except StoreError as error:
        assert_one_line(error)
    assert "/versions/" in proxy.seen[record - 1].path
    proxy.restart()
    assert place.versions.numbers()
    assert_complete(place, OLD)
    assert len(place.versions.entries(place.newest())) == len(OLD)
    assert place.index().sync(place.docs).unchanged == len(OLD)


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
def test_credentials_that_expire_on_the_way_lose_nothing(
    place: Place, through: Place, proxy: FaultyProxy, part: float, status: str
) -> None:
    place.write(OLD)
    place.index().sync(place.docs)
    rows = place.rows()
    proxy.restart()
    place.write(NEW)
    twin = Place(f"{through.root}/twin", through.storage)
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
    assert place.rows() == rows
    committed = committed_passages(place) - len(OLD)
    assert place.index().sync(place.docs).passages_embedded == len(NEW) - committed
    assert_complete(place, OLD | NEW)


def test_a_source_that_refuses_from_now_on_leaves_what_was_committed(
    place: Place,
    through: Place,
    proxy: FaultyProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = {f"{n:03}.txt": f"Document {n}." for n in range(200)}
    place.write(documents)
    index = Place(str(tmp_path), through.storage).index()
    parsed, parse = threading.Event(), ParserPool._parse

    def noted(parsers: ParserPool, *arguments: Any) -> Any:
        result = parse(parsers, *arguments)
        parsed.set()
        return result

    def wait_for_parsers(request: Seen) -> None:
        if request.path.endswith("040.txt"):  # the first files have been handed over
            assert parsed.wait(60)

    monkeypatch.setattr(ParserPool, "_parse", noted)
    proxy.restart(Faults(expired_from=150, before=wait_for_parsers))
    with pytest.raises(SourceError, match="the session token has expired") as raised:
        index.sync(through.docs)
    assert_one_line(raised.value)
    proxy.restart()
    local = Place(str(tmp_path), through.storage)
    committed = committed_passages(local)
    assert committed > 0
    assert index.sync(through.docs).passages_embedded == len(documents) - committed


def test_an_object_deleted_between_listing_and_reading_costs_only_itself(
    place: Place, through: Place, proxy: FaultyProxy
) -> None:
    place.write(OLD)

    def delete_it(request: Seen) -> None:
        if request.method == "GET" and "old%202" in request.path:
            place.delete("old 2.txt")

    proxy.restart(Faults(before=delete_it))
    report = through.index().sync(through.docs)
    gone = (f"{place.docs}/old 2.txt", "gone since the source was listed")
    assert (report.added, report.skipped) == (3, (gone,))
    assert place.index().sync(place.docs).skipped == ()
    assert_complete(place, {key: own for key, own in OLD.items() if key != "old 2.txt"})


def test_keys_may_be_called_as_they_like(place: Place) -> None:
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
    place.write(documents)
    assert place.index().sync(place.docs).skipped == ()
    assert_complete(place, documents)
    changed = {key: own + " again" for key, own in documents.items()}
    place.write(changed)
    assert place.index().sync(place.docs).changed == len(changed)
    assert_complete(place, changed)
    place.delete(*list(changed)[1:])
    assert place.index().sync(place.docs).deleted == len(changed) - 1
    assert [row[7] for row in place.rows()] == ["Words of 0 again"]


def test_what_is_too_large_is_not_asked_for(
    place: Place, through: Place, proxy: FaultyProxy, tmp_path: Path
) -> None:
    place.write({"small.txt": "small", "large.txt": "large " * 200})
    proxy.restart()
    report = through.index().sync(
        through.docs, source_options=SourceOptions(limits=ParseLimits(max_bytes=1000))
    )
    reason = "1,200 bytes, over the limit of 1,000 (max_bytes)"
    assert report.skipped == ((f"{place.docs}/large.txt", reason),)
    assert proxy.count("GET", "docs/small.txt") == 1
    assert proxy.count("GET", "docs/large.txt") == 0
    folder = Place(str(tmp_path.resolve()))
    folder.write({"small.txt": "small"})
    with (tmp_path / "docs" / "huge.txt").open("wb") as huge:
        huge.truncate(2 << 30)
    [(uri, reason)] = folder.index().sync(folder.docs).skipped
    assert uri.endswith("huge.txt") and reason.startswith("2,147,483,648 bytes, over the limit")


def test_an_index_of_another_embedder_or_of_a_later_format_is_refused(place: Place) -> None:
    place.write(OLD)
    place.index().sync(place.docs)
    rows = place.rows()
    other = place.index(HashingEmbedder("another"))
    newest = place.newest()
    for refused in (lambda: other.sync(place.docs), lambda: other.search("old", rerank=False)):
        with pytest.raises(IndexMismatch, match="made by embedder hashing-64") as raised:
            refused()
        assert_one_line(raised.value)
    assert (place.newest(), place.rows()) == (newest, rows)
    write_format(place, newest.number, FORMAT + 1)
    for refused in (
        lambda: place.index().sync(place.docs),
        lambda: place.index().search("old", rerank=False),
    ):
        with pytest.raises(IndexMismatch, match=f"expected {FORMAT}: update") as raised:
            refused()
        assert_one_line(raised.value)


def write_format(place: Place, number: int, format_: int) -> None:
    store = open_bucket(locate(place.index_uri), place.storage)
    path = f"versions/{number:08}.json"
    record = json.loads(bytes(obstore.get(store, path).bytes()))
    obstore.put(store, path, json.dumps(record | {"format": format_}).encode())


def committed_passages(place: Place) -> int:
    """How many the table's newest version holds, published or not."""
    return int(open_table(locate(place.index_uri), place.storage).count_rows())


def assert_complete(place: Place, documents: dict[str, str]) -> None:
    held = sorted((row[1], row[7]) for row in place.rows())
    assert held == sorted((f"{place.docs}/{key}", text) for key, text in documents.items())
    assert {row[1]: row[2] for row in place.rows()} == place.etags()


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 250
