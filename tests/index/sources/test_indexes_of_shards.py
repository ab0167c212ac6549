"""Proves that an index of shards among documents is recognised, and no folder is taken for one."""

from pathlib import Path

import pytest

from index.shelf import LOCAL
from resift.index.sources.bucket import Bucket
from resift.index.sources.listing import folder_of, index_folders
from resift.index.sources.source import is_inside_index, open_source
from resift.index.storage.location import Location, locate
from resift.index.watch import FolderWatch

KEYS = (
    "a.md",
    "shards/b.md",
    "versions/c.md",
    "index/shards/000/passages.lance/data/x.md",
    "index/shards/000/versions/x.md",
    "index/shards/001/passages.lance/x.md",
    "index/shards/shards.json",
    "index/versions/00000001.json",
    "index/notes.md",
    "other/shards/007/passages.lance/x.md",
    "other/versions/d.md",
)
DOCUMENTS = ["a.md", "index/notes.md", "other/versions/d.md", "shards/b.md", "versions/c.md"]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text("{}")
    return tmp_path


def test_in_a_folder(docs: Path) -> None:
    listing = open_source(str(docs), LOCAL).list()
    assert [item.key for item in listing.objects] == DOCUMENTS
    indexes = [Path(uri).relative_to(docs).as_posix() for uri, _ in listing.not_documents]
    assert indexes == ["index/shards", "index/versions", "other/shards/007/passages.lance"]


def test_in_a_bucket() -> None:
    folders = index_folders(KEYS)
    assert [key for key in sorted(KEYS) if folder_of(key, folders) is None] == DOCUMENTS


def test_a_change_of_it_makes_no_sync_due(docs: Path) -> None:
    watch = FolderWatch(locate(str(docs)), locate("/elsewhere"), None)
    inside = [key for key in KEYS if watch._is_in_index(docs / key)]
    assert inside == [key for key in KEYS if key not in DOCUMENTS]


@pytest.mark.parametrize(
    ("path", "lies_in"),
    [
        ("index/shards", True),
        ("index/shards/001/manifests", True),
        ("index/versions", True),
        ("index", False),
        ("index/notes", False),
        ("shards", False),
        ("versions", False),
        ("other/shards", False),
    ],
)
def test_a_location_in_it_is_recognised(
    docs: Path, monkeypatch: pytest.MonkeyPatch, path: str, lies_in: bool
) -> None:
    assert is_inside_index(locate(str(docs / path))) is lies_in

    def is_empty(bucket: Bucket) -> bool:
        return not any(key.startswith(f"{bucket._location.path}/") for key in KEYS)

    monkeypatch.setattr(Bucket, "is_empty", is_empty)
    assert is_inside_index(Location("bucket", path)) is lies_in
