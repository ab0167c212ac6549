"""Proves what is listed as a document, in which order, and that reading ahead keeps the order."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from resift.errors import InputError, SourceError, SourceLost, Unreadable, Vanished
from resift.index.sources.bucket import Bucket
from resift.index.sources.listing import Fetched, SourceObject
from resift.index.sources.patterns import Globs
from resift.index.sources.source import Source, is_inside_index, open_object, open_source
from resift.index.storage.location import Location, locate
from resift.settings import StorageSettings

LOCAL = StorageSettings()


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def test_documents_are_listed_below_the_folder_by_key(tmp_path: Path) -> None:
    write(tmp_path, "b.TXT", "a/z.md", "a/b #1 ü.html", "x.pdf", "y.jsonl")
    write(tmp_path, "image.png", "data", ".hidden.txt", ".git/c.txt", "a/.x/d.md")
    listing = open_source(str(tmp_path), LOCAL).list()
    assert [o.key for o in listing.objects] == [
        "a/b #1 ü.html",
        "a/z.md",
        "b.TXT",
        "x.pdf",
        "y.jsonl",
    ]
    assert listing.objects[0].uri == f"{tmp_path.resolve()}/a/b #1 ü.html"
    assert listing.objects[2].size == len("content of b.TXT")
    assert listing.passed_over == {".png": 1, "no suffix": 1}


def test_installed_packages_lock_files_and_minified_code_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "app.js", "web/node_modules/a/index.js", "web/node_modules/b/c.md")
    write(
        tmp_path,
        "env/lib/site-packages/x.py",
        "package-lock.json",
        "a.min.js",
        "my_node_modules.md",
    )
    source = open_source(str(tmp_path), LOCAL)
    listing = source.list()
    assert [item.key for item in listing.objects] == ["app.js", "my_node_modules.md"]
    root = tmp_path.resolve()
    assert listing.not_documents == (
        (f"{root}/a.min.js", "minified"),
        (f"{root}/env/lib/site-packages/", "site-packages"),
        (f"{root}/package-lock.json", "lock file"),
        (f"{root}/web/node_modules/", "node_modules"),
    )
    assert listing.count == 6
    named = source.list(Globs(include=("node_modules/", "package-lock.json", "*.md")))
    assert [item.key for item in named.objects] == [
        "my_node_modules.md",
        "package-lock.json",
        "web/node_modules/a/index.js",
        "web/node_modules/b/c.md",
    ]
    assert source.list(Globs(exclude=("node_modules/",))).passed_over == {
        "lock file": 1,
        "minified": 1,
        "site-packages": 1,
    }
    assert open_source(str(tmp_path / "package-lock.json"), LOCAL).list().objects


def test_links_among_installed_packages_are_not_named(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "node_modules/real/index.js")
    (tmp_path / "node_modules" / "linked").symlink_to("real")
    listing = open_source(str(tmp_path), LOCAL).list()
    assert listing.unsupported == ()
    assert listing.passed_over == {"node_modules": 1}


def test_an_etag_stays_until_the_content_changes(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    source = open_source(str(tmp_path), LOCAL)
    before = source.list().objects
    assert open_source(str(tmp_path), LOCAL).list().objects == before
    (tmp_path / "a.txt").write_text("another a.txt, of the same".ljust(before[0].size))
    os.utime(tmp_path / "a.txt", ns=(0, 1))
    assert source.list().objects[0].etag != before[0].etag


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "b.txt")
    source = open_source(str(tmp_path / "a.txt"), LOCAL)
    (item,) = source.list().objects
    assert source.uri == item.uri == f"{tmp_path.resolve()}/a.txt"
    fetched = source.read(item.key)
    assert (fetched.data, fetched.etag) == (b"content of a.txt", item.etag)


def test_many_are_read_in_order_and_a_deleted_one_gives_an_error(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n:03}.txt" for n in range(100)))
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    (tmp_path / "030.txt").unlink()
    results = list(source.read_many(objects))
    assert [item for item, _ in results] == list(objects)
    failed = {item.key: got for item, got in results if isinstance(got, SourceError)}
    assert {key: str(error) for key, error in failed.items()} == {
        "030.txt": "gone since the source was listed"
    }
    assert isinstance(failed["030.txt"], Vanished)
    assert bodies(results)["099.txt"] == b"content of 099.txt"


def test_with_little_read_ahead_all_are_read_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.sources.source._READ_AHEAD_BYTES", 20)
    write(tmp_path, *(f"{n:03}.txt" for n in range(20)))
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    assert [item for item, _ in source.read_many(objects)] == list(objects)


def test_reading_may_stop_early(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n:03}.txt" for n in range(60)))
    source = open_source(str(tmp_path), LOCAL)
    source_options = source.read_many(source.list().objects)
    assert bodies([next(source_options)]) == {"000.txt": b"content of 000.txt"}
    source_options.close()  # type: ignore[attr-defined]


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("small")
    (tmp_path / "b.txt").write_text("large" * 9)
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    requested = []
    read = Source.read

    def noted(self: Source, key: str, *rest: Any) -> Fetched:
        requested.append(key)
        return read(self, key, *rest)

    monkeypatch.setattr(Source, "read", noted)
    _, (_, error) = source.read_many(objects, max_bytes=44)
    assert str(error) == "45 bytes, over the limit of 44 (max_bytes)"
    assert requested == ["a.txt"]
    with pytest.raises(SourceError, match="over the limit of 44"):  # it has grown since
        read(source, "b.txt", 44)


@pytest.mark.parametrize("is_there", [True, False])
def test_many_failures_in_a_row_end_reading_only_if_the_source_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    write(tmp_path, *(f"{n:02}.txt" for n in range(40)))
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    read, bad = Source.read, {f"{n:02}.txt" for n in (*range(5, 14), *range(15, 35))}

    def failing(self: Source, key: str, *rest: Any) -> Fetched:
        if key in bad:
            raise Unreadable("cannot be read: no")
        return read(self, key, *rest)

    def check(self: Source) -> None:
        requested.append(len(got))
        if not is_there:
            raise SourceError("/gone: no such file or directory")

    requested: list[int] = []
    got: list[tuple[str, bool]] = []
    monkeypatch.setattr(Source, "read", failing)
    monkeypatch.setattr(Source, "check", check)
    everything = [(item.key, item.key in bad) for item in objects]
    try:
        for item, outcome in source.read_many(objects):
            got.append((item.key, isinstance(outcome, Unreadable)))
    except SourceLost as error:
        assert "/gone: no such file or directory (10 in a row cannot be read: no)" in str(error)
        assert (got, is_there) == (everything[:24], False)
    else:
        assert (got, requested, is_there) == (everything, [24, 34], True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights_is_reported_in_a_line(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    (tmp_path / "a.txt").chmod(0)
    source = open_source(str(tmp_path), LOCAL)
    with pytest.raises(Unreadable, match="permission denied: check the rights"):
        source.read("a.txt")


@pytest.mark.parametrize(
    ("globs", "keys"),
    [
        (Globs(), ["a.md", "a.txt", "d/a.txt", "d/e/b.md", "d/e/b.txt"]),
        (Globs(("*.txt",)), ["a.txt", "d/a.txt", "d/e/b.txt"]),
        (Globs(("**/*.md",)), ["a.md", "d/e/b.md"]),
        (Globs(("/*.txt", "/*.md")), ["a.md", "a.txt"]),
        (Globs(("d/*",)), ["d/a.txt", "d/e/b.md", "d/e/b.txt"]),
        (Globs(("d/**/*.md",)), ["d/e/b.md"]),
        (Globs(("e/",)), ["d/e/b.md", "d/e/b.txt"]),
        (Globs((), ("*/a.*", "*.MD")), ["a.md", "a.txt", "d/e/b.md", "d/e/b.txt"]),
        (Globs((), ("*.md", "!/d/e/*.md")), ["a.txt", "d/a.txt", "d/e/b.md", "d/e/b.txt"]),
        (Globs(("*.txt",), ("*a*", "*b*")), []),
    ],
)
def test_patterns_are_those_of_gitignore(tmp_path: Path, globs: Globs, keys: list[str]) -> None:
    write(tmp_path, "a.md", "a.txt", "d/a.txt", "d/e/b.txt", "d/e/b.md")
    listing = open_source(str(tmp_path), LOCAL).list(globs)
    assert [item.key for item in listing.objects] == keys


@pytest.mark.parametrize("pattern", ["", "  ", "#x", "!", "[", "\\"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="expected a pattern as in"):
        Globs((pattern,))
    with pytest.raises(InputError, match="expected a pattern as in"):
        Globs((), (pattern,))


def test_an_object_is_found_without_listing_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "d/a ü.txt")
    source, key = open_object(f"{tmp_path}/d/a ü.txt", LOCAL)
    fetched = source.find(key)
    assert fetched and fetched.data == b"content of d/a \xc3\xbc.txt"
    assert source.find("other.txt") is None
    with pytest.raises(SourceError, match=r"no/a\.txt: no such file: check the path"):
        open_object(f"{tmp_path}/no/a.txt", LOCAL)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "no such folder or file"), ("a.png", "not a document")]
)
def test_a_path_that_is_no_source_is_refused_by_name(
    tmp_path: Path, name: str, reason: str
) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(SourceError, match=rf"{name}: {reason}"):
        open_source(str(tmp_path / name), LOCAL)


@pytest.mark.skipif(os.name == "nt", reason="no pipes")
def test_a_pipe_or_a_device_is_refused_as_a_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for path, what in ((tmp_path / "pipe.txt", "a pipe"), (Path("/dev/null"), "a device")):
        with pytest.raises(SourceError, match=f"{path}: {what}: expected a folder or a file"):
            open_source(str(path), LOCAL)


def test_a_location_without_access_rights_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "locked/a.txt")
    stat = os.stat

    def refuse(path: bytes, **options: bool) -> os.stat_result:
        if b"locked" in os.fsencode(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr("resift.index.sources.folder.os.stat", refuse)
    rights = "permission denied: check the rights of the files and folders"
    for name in ("locked", "locked/a.txt", "locked/absent"):
        with pytest.raises(SourceError, match=f"^{tmp_path}/{name}: {rights}$"):
            open_source(f"{tmp_path}/{name}", LOCAL)
    with pytest.raises(SourceError, match=f"^{tmp_path}/locked: {rights}$"):
        open_object(f"{tmp_path}/locked/a.txt", LOCAL)


@pytest.mark.parametrize(
    ("path", "lies_in"),
    [
        ("i/passages.lance", True),
        ("i/passages.lance/data/x", True),
        ("i/versions", True),
        ("i/versions/x/y", True),
        ("i/manifests/x", True),
        ("other.lance/x", True),
        ("i", False),
        ("i/other", False),
        ("versions/i", False),
    ],
)
def test_a_location_in_an_index_is_recognised_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, lies_in: bool
) -> None:
    (tmp_path / "i" / "passages.lance").mkdir(parents=True)
    assert is_inside_index(locate(str(tmp_path / path))) is lies_in
    requested: list[str] = []

    def is_empty(bucket: Bucket) -> bool:
        requested.append(bucket._location.path)
        return bucket._location.path != "a/i/passages.lance"

    monkeypatch.setattr(Bucket, "is_empty", is_empty)
    assert is_inside_index(Location("bucket", f"a/{path}")) is lies_in
    assert bool(requested) is ("versions" in path or "manifests" in path)


def bodies(read: Iterable[tuple[SourceObject, Fetched | SourceError]]) -> dict[str, bytes]:
    return {item.key: got.data for item, got in read if isinstance(got, Fetched)}
