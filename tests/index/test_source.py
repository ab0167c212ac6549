"""Proves what is listed as a document, in which order, and that reading ahead keeps it."""

import os
from pathlib import Path

import pytest

from resift.errors import SourceError
from resift.index.source import open_source
from resift.settings import StorageSettings

LOCAL = StorageSettings()


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def test_documents_are_listed_below_the_folder_by_key(tmp_path: Path) -> None:
    write(tmp_path, "b.TXT", "a/z.md", "a/b #1 ü.html", "x.pdf", "y.jsonl")
    write(tmp_path, "image.png", "Makefile", ".hidden.txt", ".git/c.txt", "a/.x/d.md")
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
    assert listing.unsupported == 2


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
    assert source.read(item) == b"content of a.txt"


def test_many_are_read_in_order_and_one_that_is_gone_is_its_own_error(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n:03}.txt" for n in range(60)))
    source = open_source(str(tmp_path), LOCAL)
    objects = source.list().objects
    (tmp_path / "030.txt").unlink()
    results = list(source.read_many(objects))
    assert [item for item, _ in results] == list(objects)
    failed = {item.key: str(data) for item, data in results if isinstance(data, SourceError)}
    assert failed == {"030.txt": "gone since the source was listed"}
    assert results[59][1] == b"content of 059.txt"


def test_reading_may_stop_half_way(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n:03}.txt" for n in range(60)))
    source = open_source(str(tmp_path), LOCAL)
    reading = source.read_many(source.list().objects)
    assert next(reading)[1] == b"content of 000.txt"
    reading.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "no such folder or file"), ("a.png", "not a document")]
)
def test_what_cannot_be_a_source_is_refused_by_name(tmp_path: Path, name: str, reason: str) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(SourceError, match=rf"{name}: {reason}"):
        open_source(str(tmp_path / name), LOCAL)
