"""Proves that odd entries of a folder are named, are skipped alone, and never block."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import pytest

from index.fakes import InProcessParsers
from index.shelf import Shelf
from resift.errors import SourceError, Unreadable, Vanished
from resift.index.sources.folder import Folder
from resift.index.sources.source import Listing, open_source
from resift.index.storage.location import Location, locate
from resift.settings import StorageSettings

LOCAL = StorageSettings()
pytestmark = pytest.mark.skipif(os.name == "nt", reason="other names, no pipes")


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def listed(root: Path, *, follow_links: bool = False) -> Listing:
    return open_source(str(root), LOCAL).list(follow_links=follow_links)


def keys(listing: Listing) -> list[str]:
    return [item.key for item in listing.objects]


def odd(listing: Listing) -> dict[str, str]:
    return {uri.rpartition("/")[2]: reason for uri, reason in listing.unsupported}


def test_odd_names_are_named_and_the_rest_is_listed(tmp_path: Path) -> None:
    write(
        tmp_path, "a.md", "tab\there.md", "line\nfeed.md", "cr\r.md", "esc\x1b[31m.md", "del\x7f.md"
    )
    write(tmp_path, "a..b.md", "100%.md", "back\\slash.md", "ü#?*.md", "x" * 250 + ".md")
    (tmp_path / os.fsdecode(b"latin \xe9.md")).write_text("x")
    folder = tmp_path / os.fsdecode(b"folder \xff")
    folder.mkdir()
    (folder / "good.md").write_text("x")
    listing = listed(tmp_path)
    assert keys(listing) == sorted(
        ["a.md", "a..b.md", "100%.md", "back\\slash.md", "ü#?*.md", "x" * 250 + ".md"]
    )
    assert odd(listing).keys() == {
        "tab\there.md", "line\nfeed.md", "cr\r.md", "esc\x1b[31m.md", "del\x7f.md",
        r"latin \xe9.md", r"folder \xff",
    }  # fmt: skip
    assert odd(listing)["tab\there.md"] == r"its name has the control character '\t': rename it"
    assert odd(listing)[r"latin \xe9.md"] == "its name is not UTF-8: rename it"
    assert listing.count == 6 + 7


def test_names_that_differ_in_case_or_unicode_form_stay_distinct(
    tmp_path: Path,
) -> None:
    write(tmp_path, "A.md", "a.md", "\u00e9.md", "e\u0301.md")
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    assert len({item.uri for item in objects}) == 4
    for item in objects:
        assert source.read(item.key).data.decode() == f"content of {item.key}"


def test_links_are_skipped_and_named_unless_they_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md", "docs/in/b.md", "out/c.md", "out/deep/d.md")
    docs = tmp_path / "docs"
    (docs / "file.md").symlink_to(tmp_path / "out" / "c.md")
    (docs / "folder").symlink_to(tmp_path / "out")
    (docs / "inside").symlink_to("in")
    (docs / "nowhere.md").symlink_to("gone.md")
    (docs / "self.md").symlink_to("self.md")
    (docs / "up").symlink_to("..")
    (docs / "pic.png").symlink_to("a.md")
    plain = listed(docs)
    assert keys(plain) == ["a.md", "in/b.md"]
    assert odd(plain).keys() == {"file.md", "folder", "inside", "nowhere.md", "self.md", "up"}
    assert {*odd(plain).values()} == {"a link, and links are followed only with --follow-links"}
    assert plain.passed_over == {".png": 1}
    followed = listed(docs, follow_links=True)
    assert keys(followed) == [
        "a.md", "file.md", "folder/c.md", "folder/deep/d.md", "in/b.md", "inside/b.md",
        "up/out/c.md", "up/out/deep/d.md",
    ]  # fmt: skip
    assert odd(followed) == {
        "docs": "a link to a folder that it lies in",
        "nowhere.md": "a link that leads nowhere",
        "self.md": "a link that leads nowhere",
    }


def test_entries_that_are_no_files_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.md")
    os.mkfifo(tmp_path / "pipe.md")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.txt")
    (tmp_path / "zero.md").symlink_to("/dev/zero")
    started = time.monotonic()
    listing = listed(tmp_path, follow_links=True)
    assert keys(listing) == ["a.md"]
    assert odd(listing) == {
        "pipe.md": "a pipe, not a file",
        "socket.txt": "a socket, not a file",
        "zero.md": "a device, not a file",
    }
    # Swapped for one after it was listed.
    with pytest.raises(Unreadable, match="a pipe, expected a file"):
        Folder(locate(tmp_path)).read("pipe.md", None)
    with pytest.raises(Unreadable, match="a device, expected a file"):
        Folder(locate(tmp_path)).read("zero.md", 1_000)
    assert time.monotonic() - started < 5


def test_a_folder_that_cannot_be_listed_is_unseen_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.md", "locked/b.md", "z/c.md")
    forbid(monkeypatch, tmp_path / "locked")
    listing = listed(tmp_path)
    assert keys(listing) == ["a.md", "z/c.md"]
    ((uri, reason),) = listing.unseen
    assert uri == f"{tmp_path}/locked"
    assert reason.startswith("the folder cannot be listed: permission denied")
    forbid(monkeypatch, tmp_path)
    with pytest.raises(SourceError, match=f"^{tmp_path}: permission denied"):
        listed(tmp_path)


def test_a_file_may_vanish_grow_and_shrink_before_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "b.md", "c.md")
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    (tmp_path / "a.md").unlink()
    (tmp_path / "b.md").write_text("x" * 1_000)
    (tmp_path / "c.md").write_text("")
    (_, gone), (_, grown), (_, shrunk) = source.read_many(objects, max_bytes=100)
    assert isinstance(gone, Vanished)
    assert str(grown) == "1,000 bytes, over the limit of 100 (max_bytes)"
    assert not isinstance(shrunk, SourceError) and shrunk.data == b""
    assert shrunk.etag != objects[2].etag


def test_a_file_of_reported_size_zero_is_read_up_to_the_limit() -> None:
    """As those below /proc do, and some of them never end."""
    with pytest.raises(SourceError, match="over the limit of 10"):
        Folder(Location(None, "/proc/self")).read("maps", 10)


def test_an_index_is_no_source_anywhere(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "versions/b.md", "manifests/c.md")
    write(
        tmp_path, "index/passages.lance/data.md", "index/versions/x.md", "index/manifests/y.parquet"
    )
    write(tmp_path, "index/own notes.md", "other.lance/z.txt", "file.lance")
    listing = listed(tmp_path)
    assert keys(listing) == ["a.md", "index/own notes.md", "manifests/c.md", "versions/b.md"]
    assert listing.passed_over == {".lance": 1, "index": 4}
    for part in ("index/passages.lance", "index/manifests", "other.lance"):
        with pytest.raises(SourceError, match="part of"):
            open_source(str(tmp_path / part), LOCAL)


def forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Remove the right to list the folder, also for root."""
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        if Path(os.fsdecode(path)) == folder:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("resift.index.sources.folder.os.scandir", refuse)


class Blind:
    """An entry of a folder whose state is unknown, and its kind too unless `kind` is true."""

    def __init__(self, entry: "os.DirEntry[bytes]", error: OSError, *, kind: bool) -> None:
        self.name, self.path = entry.name, entry.path
        self._entry, self._error, self._kind = entry, error, kind

    def stat(self, *, follow_symlinks: bool = True) -> NoReturn:
        raise self._error

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._entry.is_dir() if self._kind else self.stat()

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._entry.is_file() if self._kind else self.stat()

    def is_symlink(self) -> bool:
        return self._entry.is_symlink()


def blind(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int, *, kind: bool = True) -> None:
    """Let the entries of a folder be listed but not examined."""
    scandir = os.scandir

    def entries(path: bytes) -> AbstractContextManager[Iterable[object]]:
        inside = scandir(path)
        if Path(os.fsdecode(path)) != folder:
            return inside
        error = OSError(number, os.strerror(number))
        return nullcontext([Blind(entry, error, kind=kind) for entry in inside])

    monkeypatch.setattr("resift.index.sources.folder.os.scandir", entries)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG])
@pytest.mark.parametrize("kind", [True, False])
def test_an_entry_that_cannot_be_examined_is_unseen_and_stays_in_the_index(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, number: int, kind: bool
) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    write(shelf.docs, "a.md", "b/c.md", "b/d.md", "b/pic.png")
    first = shelf.sync()
    blind(monkeypatch, shelf.docs / "b", number, kind=kind)
    write(shelf.docs, "a.md", "b/new.md")
    report = shelf.sync()
    assert shelf.newest().documents == 3 and len(shelf.texts()) == 3
    assert (report.deleted, report.changed, report.unchanged, report.unread) == (0, 1, 0, 2)
    assert (first.listed, report.listed) == (4, 5)
    unindexed = 1 if kind else 2  # new.md; that pic.png is no folder is not known
    assert (report.unindexed, sum(report.passed_over.values())) == (unindexed, 2 - unindexed)
    reasons = dict(report.skipped)
    assert reasons[shelf.uri("b/c.md")].startswith("cannot be looked at: ")


def test_only_entries_that_the_system_reports_missing_are_deleted(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    write(shelf.docs, "a.md", "b/c.md")
    shelf.sync()
    blind(monkeypatch, shelf.docs / "b", errno.ENOENT)
    report = shelf.sync()
    assert (report.deleted, report.unchanged, report.unread) == (1, 1, 0)


def test_a_link_whose_target_cannot_be_examined_is_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "docs/a.md", "locked/b.md")
    (tmp_path / "docs" / "link").symlink_to(tmp_path / "locked" / "in")
    stat = os.stat

    def refuse(path: bytes, **options: bool) -> os.stat_result:
        if os.fsdecode(path).endswith("link"):
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr("resift.index.sources.folder.os.stat", refuse)
    listing = listed(tmp_path / "docs", follow_links=True)
    assert keys(listing) == ["a.md"] and not listing.unsupported
    assert [uri for uri, _ in listing.unseen] == [f"{tmp_path}/docs/link"]


def test_a_folder_without_the_right_to_enter_it_is_unseen_file_by_file(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "b/c.md", "b/d.md", "b/pic.png")
    (tmp_path / "b").chmod(0o644)
    result = elsewhere(without_rights(), LIST, str(tmp_path))
    assert result["objects"] == [f"{tmp_path}/a.md"] and not result["unsupported"]
    assert result["unseen"] == [f"{tmp_path}/b/c.md", f"{tmp_path}/b/d.md"]


@pytest.mark.parametrize("name", ["docs", "dö cs"])
@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1"])
def test_names_are_utf8_whatever_the_locale(tmp_path: Path, locale: str, name: str) -> None:
    root = tmp_path / name
    write(root, "é.md", "日/本.md", "plain.md")
    (root / os.fsdecode(b"latin \xe9.md")).write_text("x")
    env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = elsewhere([], LIST, str(root), **env)
    assert result["objects"] == sorted(f"{root}/{key}" for key in ("é.md", "日/本.md", "plain.md"))
    assert result["read"] == ["content of plain.md", "content of é.md", "content of 日/本.md"]
    assert result["found"] == result["read"]
    assert result["unsupported"] == [rf"{root}/latin \xe9.md"] and not result["unseen"]
    assert result["folder"] is True and result["published"] == [1]


LIST = """
import json, sys
from resift.index.versions.record import Version
from resift.index.versions.published import Versions
from resift.index.storage.location import locate
from resift.index.sources.source import open_object, open_source
from resift.settings import StorageSettings
storage = StorageSettings()
source = open_source(sys.argv[1], storage)
listing = source.list()
result = {name: [uri for uri, _ in getattr(listing, name)] for name in ("unsupported", "unseen")}
result["objects"] = [item.uri for item in listing.objects]
result["folder"] = locate(sys.argv[1]).folder.is_dir()
if len(sys.argv) > 2:
    result["read"] = [source.read(item.key).data.decode() for item in listing.objects]
    opened = [open_object(item.uri, storage) for item in listing.objects]
    result["found"] = [source.find(key).data.decode() for source, key in opened]
    versions = Versions(locate(sys.argv[1] + " index"))
    versions.location.folder.mkdir()
    created = "2026-01-01T00:00:00.000+00:00"
    version = Version(1, "t", 1, created, "e", "f", 0, 0, "manifests/m", ())
    versions.publish(version, {})
    result["published"] = versions.numbers()
print(json.dumps(result))
"""


def elsewhere(before: list[str], code: str, root: str, **env: str) -> dict[str, Any]:
    """Run code in another process, under another locale or without rights."""
    command = [*before, sys.executable, "-c", code, root, *(["read"] if env else [])]
    ended = subprocess.run(command, env=os.environ | env, capture_output=True, check=True)
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def without_rights() -> list[str]:
    """Make a command prefix that takes root's special rights away."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root has all rights, and there is no setpriv to give them up")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
