"""Proves that other files in a folder for copies are not touched, and when copies are searched.

If the store is down, or a version was cleaned up, a copy is searched and the receipt says so.
"""

import os
import resource
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import obstore
import pytest

from index.fakes import HashingEmbedder
from resift.errors import NoCopy, StoreError, VersionGone
from resift.index.storage.copies import CopyCache, delete_copy
from resift.index.storage.location import TABLE, locate
from resift.index.versions.record import write_record
from resift.types import Ranking
from storage.conftest import DOCUMENTS, Server
from storage.corpus import Corpus
from storage.faulty import Faults, FaultyProxy, Seen

MUCH = 1 << 30


def search(index: Any, **options: Any) -> Ranking:
    ranking: Ranking = index.search("words3 and things", rerank=False, **options)
    return ranking


def state(folder: Path) -> dict[str, tuple[bytes, float]]:
    """The files in a folder that are not copies."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime)
        for path in folder.rglob("*")
        if path.is_file() and "resift-copies" not in path.parts
    }


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_users_own_files_stay_as_they_are_whatever_they_are_called(
    published: Corpus, server: Server, tmp_path: Path
) -> None:
    table = published.newest().table
    names = [
        *("1.version", "lock", "CACHEDIR.TAG", "x/1.version", "x/passages.lance/data/a.lance"),
        *(f"{table}/1.version", f"{table}/passages.lance/data/old.lance", "x/0123abcd.part"),
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine: {name}")
        os.utime(path, (0, 0))
    before = state(tmp_path)
    first = CopyCache(tmp_path, MUCH)
    local = first.hydrate(published.location, published.newest())
    assert local is not None
    local.lock.close()
    small = CopyCache(tmp_path, sum(size for _, size in published.newest().files) + 100)
    other = Corpus(f"s3://{server.new_bucket()}", published.storage)
    other.write(DOCUMENTS)
    other.index().sync(other.docs)
    assert small.hydrate(other.location, other.newest())
    assert not Path(local.path).exists()  # evicted
    assert state(tmp_path) == before


def test_other_files_among_the_copies_stay(published: Corpus, tmp_path: Path) -> None:
    cache = CopyCache(tmp_path, MUCH)
    local = cache.hydrate(published.location, published.newest())
    assert local is not None
    local.lock.close()
    root = Path(local.path)
    mine = [root / "notes.txt", root / TABLE / "data" / "mine.lance", root / "2.version"]
    for path in mine:
        path.write_text("mine")
    for marker in CopyCache(tmp_path, MUCH).markers():
        delete_copy(marker)
    assert [path.read_text() for path in mine] == ["mine"] * 3
    left = {path for path in root.rglob("*") if path.is_file()}
    assert left == set(mine)
    second = replace(published.newest(), number=2)
    with pytest.raises(NoCopy, match="exists and is not resift's"):
        cache.hydrate(published.location, second)
    assert mine[2].read_text() == "mine"


def test_another_programs_folder_of_that_name_is_left_alone(
    published: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "resift-copies").mkdir()
    (tmp_path / "resift-copies" / "thesis.doc").write_text("mine")
    ranking = search(published.index(cache_dir=str(tmp_path)))
    assert len(ranking) == 10 and ranking.receipt.requests
    assert "was not made by resift" in ranking.receipt.notes[0]
    assert [path.name for path in tmp_path.rglob("*")] == ["resift-copies", "thesis.doc"]


def test_a_hostile_record_makes_no_file_outside(published: Corpus, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    version = published.newest()
    up = "../" * 12
    hostile = [
        replace(version, number=2, files=((f"{up}{victim}".replace("//", "/"), 0),)),
        replace(version, number=2, table="../../evil"),
        replace(version, number=2, manifest=f"{up}evil"),
    ]
    for wrong in hostile:
        store = Server(str(published.storage.endpoint)).bucket(published.root.removeprefix("s3://"))
        obstore.put(store, "index/versions/00000002.json", write_record(wrong))
        for index in (published.index(cache_dir=str(tmp_path / "cache")), published.index()):
            with pytest.raises(StoreError, match=r"00000002\.json is damaged"):
                search(index)
    assert victim.read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*")] == ["victim.txt"]


def test_links_among_the_copies_lead_nowhere(published: Corpus, tmp_path: Path) -> None:
    elsewhere, cache = tmp_path / "elsewhere", tmp_path / "cache"
    elsewhere.mkdir()
    search(published.index(cache_dir=str(cache)))
    [data] = cache.rglob("data")
    shutil.rmtree(data)
    data.symlink_to(elsewhere)
    ranking = search(published.index(cache_dir=str(cache)))
    assert len(ranking) == 10 and "a link that leads out" in ranking.receipt.notes[0]
    assert not list(elsewhere.iterdir())


def test_two_indexes_never_share_files_whatever_they_claim(
    published: Corpus, server: Server, tmp_path: Path
) -> None:
    cache = CopyCache(tmp_path, MUCH)
    first = cache.hydrate(published.location, published.newest())
    bucket = server.new_bucket()
    for path, size in published.newest().files:  # the same names and sizes, another content
        obstore.put(server.bucket(bucket), f"index/{TABLE}/{path}", b"x" * size)
    other = cache.hydrate(locate(f"s3://{bucket}/index", published.storage), published.newest())
    assert first and other and first.path != other.path
    assert file_names(Path(other.path)) == file_names(Path(first.path))


def test_a_part_that_vanishes_meanwhile_does_no_harm(published: Corpus, tmp_path: Path) -> None:
    cache = CopyCache(tmp_path, MUCH)
    local = cache.hydrate(published.location, published.newest())
    assert local is not None
    data = Path(local.path) / TABLE / "data"
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            parts = [data / f"{n:08x}.part" for n in range(50)]
            for part in parts:
                part.touch()
            for part in parts:
                part.unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            CopyCache(tmp_path, MUCH).size()
    finally:
        stop.set()
        thread.join()


def test_a_folder_that_cannot_be_written_to_prevents_the_copy_only(
    published: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        ranking = search(published.index(cache_dir=str(folder)))
        assert len(ranking) == 10 and ranking.receipt.requests and not ranking.receipt.partial
        assert "cannot keep a copy there" in ranking.receipt.notes[0]
        assert "the index was read in place" in ranking.receipt.notes[0]


@pytest.mark.parametrize("name", ["*/*/1.version", "lock", "CACHEDIR.TAG"])
def test_a_pipe_among_the_copies_is_not_waited_for(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path, name: str
) -> None:
    search(published.index(cache_dir=str(tmp_path)))
    [path] = (tmp_path / "resift-copies").glob(name)
    path.unlink()
    os.mkfifo(path)
    ranking = search(published.index(cache_dir=str(tmp_path)))
    assert len(ranking) == 10 and "the index was read in place" in ranking.receipt.notes[0]
    assert ("is a pipe" in ranking.receipt.notes[0]) == (name != "CACHEDIR.TAG")
    proxy.restart(Faults(refusal=("503 Service Unavailable", "ServiceDown")))
    if "version" in name:
        with pytest.raises(StoreError):
            search(published.index(cache_dir=str(tmp_path)))


def test_a_full_disk_prevents_the_copy_only(
    published: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resift.files.os.replace", full)
    ranking = search(published.index(cache_dir=str(tmp_path)))
    assert len(ranking) == 10 and "no space left on the disk" in ranking.receipt.notes[0]
    assert not list(tmp_path.rglob("*.part"))


def test_a_disk_that_fills_up_in_the_middle_of_a_file_prevents_the_copy_only(
    published: Corpus, tmp_path: Path
) -> None:
    """A limit on file sizes makes writes fail as on a full disk."""
    largest = max(size for _, size in published.newest().files)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    index = published.index(cache_dir=str(tmp_path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 100, limits[1]))
    try:
        ranking = search(index)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(ranking) == 10 and "cannot keep a copy there" in ranking.receipt.notes[0]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    "faults", [Faults(reset_every=1), Faults(refusal=("503 Service Unavailable", "ServiceDown"))]
)
def test_if_the_store_is_down_the_copy_is_searched_and_reported(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path, faults: Faults
) -> None:
    wanted = [hit.id for hit in search(published.index(cache_dir=str(tmp_path)))]
    proxy.restart(faults)
    index = published.index(cache_dir=str(tmp_path))
    ranking = search(index)
    assert [hit.id for hit in ranking] == wanted and ranking.receipt.version == 1
    [note] = ranking.receipt.notes
    assert "version 1 was read from its copy on this disk" in note and "\n" not in note
    with pytest.raises(StoreError):
        search(published.index())  # no copy, no answer
    proxy.restart()
    index.refresh()
    assert search(index).receipt.notes == ()


def test_if_the_store_goes_down_during_a_fetch_the_copy_is_searched(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path
) -> None:
    search(published.index(cache_dir=str(tmp_path)))
    published.write({"new.txt": "Something new about words."})
    published.index().sync(published.docs)

    def cut(request: Seen) -> None:
        if TABLE in request.path:
            proxy.faults.reset_every = 1

    proxy.restart(Faults(before=cut))
    ranking = search(published.index(cache_dir=str(tmp_path)))
    assert ranking.receipt.version == 1 and "may be a newer one" in ranking.receipt.notes[0]


def test_a_refused_user_gets_no_copy(published: Corpus, proxy: FaultyProxy, tmp_path: Path) -> None:
    search(published.index(cache_dir=str(tmp_path)))
    proxy.restart(Faults(refusal=("403 Forbidden", "AccessDenied")))
    with pytest.raises(StoreError, match="access denied"):
        search(published.index(cache_dir=str(tmp_path)))


def test_a_store_that_is_up_again_is_seen_without_a_refresh(
    published: Corpus, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(published.index(cache_dir=str(tmp_path)))
    proxy.restart(Faults(reset_every=1))
    index = published.index(cache_dir=str(tmp_path))
    assert search(index).receipt.notes
    proxy.restart()
    assert search(index).receipt.notes  # asked again only after a while
    monkeypatch.setattr("resift.index.table.base_snapshot.RELOAD_AFTER_S", 0.0)
    assert not search(index).receipt.notes


@pytest.mark.parametrize("copied", [False, True])
def test_a_version_that_was_cleaned_up_is_replaced_by_the_newest_and_reported(
    published: Corpus, tmp_path: Path, copied: bool
) -> None:
    index = published.index(cache_dir=str(tmp_path) if copied else None)
    search(index)
    writer = published.index()
    published.write({"new.txt": "Something new about words3 and things."})
    writer.sync(published.docs)
    writer.clean(keep=1, older_than_days=0)
    if copied:  # a copy outlives that, until somebody deletes it
        assert search(index).receipt.version == 1
        shutil.rmtree(tmp_path / "resift-copies")
    ranking = search(index)
    assert ranking.receipt.version == 2 and "new.txt" in str([hit.id for hit in ranking])
    assert ranking.receipt.notes == ("version 1 was gone: the newest was read",)
    assert search(index).receipt.notes == ()


def test_a_pinned_version_that_was_cleaned_up_is_an_error(published: Corpus) -> None:
    index = published.index()
    pinned = type(index)(
        published.index_uri, version=1, settings=index._loader.settings, embedder=HashingEmbedder()
    )
    search(pinned)
    published.write({"new.txt": "Something new about words3 and things."})
    index.sync(published.docs)
    index.clean(keep=1, older_than_days=0)
    with pytest.raises(VersionGone, match="version 1 is not whole any more"):
        search(pinned)
