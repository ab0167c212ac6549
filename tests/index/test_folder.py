"""Proves that what is odd in a folder costs itself, is named, and holds nothing up."""

import os
import socket
import time
from pathlib import Path

import pytest

from resift.errors import SourceError, Unreadable, Vanished
from resift.index.folder import Folder
from resift.index.source import Listing, open_source
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
    return {uri.rpartition("/")[2]: reason for uri, reason in listing.odd}


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


def test_names_that_differ_in_case_or_in_how_a_letter_is_made_are_themselves(
    tmp_path: Path,
) -> None:
    write(tmp_path, "A.md", "a.md", "\u00e9.md", "e\u0301.md")
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    assert len({item.uri for item in objects}) == 4
    for item in objects:
        assert source.read(item.key).data.decode() == f"content of {item.key}"


def test_links_are_passed_over_and_named_unless_they_are_asked_for(tmp_path: Path) -> None:
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


def test_what_is_no_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        Folder(str(tmp_path)).read("pipe.md", None)
    with pytest.raises(Unreadable, match="a device, expected a file"):
        Folder(str(tmp_path)).read("zero.md", 1_000)
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


def test_a_file_that_says_it_is_empty_is_read_up_to_the_limit() -> None:
    """As those below /proc do, and some of them never end."""
    with pytest.raises(SourceError, match="over the limit of 10"):
        Folder("/proc/self").read("maps", 10)


def test_an_index_is_no_source_wherever_it_lies(tmp_path: Path) -> None:
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
    """Take the right to list it away, also from root."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("resift.index.folder.os.scandir", refuse)
