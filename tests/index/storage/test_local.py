"""Proves that no pipe in an index's folder is ever opened, whatever file it replaces.

The same for anything else that is no file; one line names what it is.
"""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexMismatch, StoreError
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards

Make = Callable[[Path], None]
RECORD, MANIFEST = "versions/00000001.json", "manifests/*"
DATA, TABLE_VERSION = "passages.lance/data/*", "passages.lance/_versions/*"


def a_socket(path: Path) -> None:
    """Bind a socket by a short name: a socket's path may not be long."""
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(path.parent, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nothing(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "docs").mkdir()
    for n in range(3):
        (folder / "docs" / f"{n}.txt").write_text(f"Document {n} of words and things.")
    index_of(folder).sync(str(folder / "docs"))
    return folder


@pytest.fixture
def index_folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def index_of(folder: Path) -> Index:
    return Index(
        str(folder / "index"),
        settings=Settings(),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
    )


def search(folder: Path) -> int:
    return len(index_of(folder).search("words and things", rerank=False))


def sync(folder: Path) -> None:
    (folder / "docs" / "new.txt").write_text("Another one of words.")
    index_of(folder).sync(str(folder / "docs"))


def swap(folder: Path, pattern: str, make: Make) -> None:
    for path in list((folder / "index").glob(pattern)):
        path.unlink()
        make(path)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "is a pipe, expected a file"),
        (Path.mkdir, "is a folder, expected a file"),
        (a_socket, "is a socket, expected a file"),
        (a_device, "is a device, expected a file"),
    ],
)
@pytest.mark.parametrize(
    ("pattern", "use"),
    [(RECORD, search), (RECORD, sync), (MANIFEST, sync), (DATA, search), (TABLE_VERSION, search)],
)
def test_an_entry_that_is_no_file_is_named_and_never_opened(
    index_folder: Path, pattern: str, use: Callable[[Path], object], make: Make, kind: str
) -> None:
    swap(index_folder, pattern, make)
    with pytest.raises(StoreError, match=kind) as raised:
        use(index_folder)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["_versions/18446744073709551000.manifest", "_transactions/x.txn"])
def test_a_writer_checks_files_that_no_version_names(index_folder: Path, name: str) -> None:
    os.mkfifo(index_folder / "index" / "passages.lance" / name)
    assert search(index_folder) == 3
    with pytest.raises(StoreError, match="is a pipe, expected a file"):
        sync(index_folder)


def test_a_record_that_is_a_link_to_nowhere_is_damaged(index_folder: Path) -> None:
    swap(index_folder, RECORD, nothing)
    with pytest.raises(StoreError, match=r"00000001\.json is a link that leads nowhere"):
        search(index_folder)


def test_a_version_behind_a_pipe_can_be_rolled_back_to(index_folder: Path) -> None:
    sync(index_folder)
    swap(index_folder, "versions/00000002.json", os.mkfifo)
    index = index_of(index_folder)
    assert [version.number for version in index.versions()] == [1]
    index.rollback(1)
    assert search(index_folder) == 3


@pytest.mark.parametrize("pattern", [DATA, "passages.lance/_indices/*/*"])
def test_a_version_that_has_lost_files_is_not_rolled_back_to(
    index_folder: Path, pattern: str
) -> None:
    """It would be published as if it were whole."""
    for path in (index_folder / "index").glob(pattern):
        path.write_bytes(path.read_bytes()[:-10])
    sizes = len(list((index_folder / "index" / "versions").iterdir()))
    with pytest.raises(StoreError, match=r"version 1 has lost \d+ of its \d+ files"):
        index_of(index_folder).rollback(1)
    assert len(list((index_folder / "index" / "versions").iterdir())) == sizes


def test_an_index_of_a_newer_resift_is_not_rolled_back(index_folder: Path) -> None:
    record = index_folder / "index" / "versions" / "00000002.json"
    record.write_text('{"format": 99}')
    with pytest.raises(IndexMismatch, match="update resift"):
        index_of(index_folder).rollback(1)


def test_a_version_number_without_a_successor_is_reported(index_folder: Path) -> None:
    """No reader would see a version published after it."""
    (index_folder / "index" / "versions" / f"{10**18 - 1}.json").write_text("{}")
    with pytest.raises(StoreError, match="leaves no number for another"):
        index_of(index_folder).rollback(1)


def test_a_clean_up_goes_on_where_a_manifest_is_gone_already(index_folder: Path) -> None:
    sync(index_folder)
    for path in (index_folder / "index").glob(MANIFEST):
        path.unlink()
    assert index_of(index_folder).clean(keep=1, older_than_days=0)[0] == [1]


@pytest.mark.parametrize("size", [0, 10, 300])
@pytest.mark.parametrize("pattern", [DATA, TABLE_VERSION])
def test_a_truncated_file_is_reported_as_damaged(
    index_folder: Path, pattern: str, size: int
) -> None:
    for path in (index_folder / "index").glob(pattern):
        path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StoreError, match="a file of the index is damaged: restore it"):
        search(index_folder)
