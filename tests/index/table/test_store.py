"""What commits change, what they leave, and which files a version has."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from index.fakes import HashingEmbedder
from index.shelf import Shelf, entry, passage, texts_found
from resift.errors import IndexMismatch, StoreError
from resift.index.storage.location import TABLE, locate
from resift.index.table.dataset import create_table
from resift.index.table.rows import search_hash, to_arrow
from resift.index.table.store import Conflict, Contents, Store
from resift.index.versions.record import FORMAT, VectorIndex


def test_contents_are_grouped_by_attempt_and_completeness(shelf: Shelf) -> None:
    shelf.add(passage("/d/a.txt", "1", of=2), passage("/d/a.txt", "2", 1, of=2))
    shelf.add(passage("/d/part.txt", "1", of=2), passage("/dd/a.txt", "x"))
    shelf.add(passage("/dd/a.txt", "x", attempt="2"))
    contents = shelf.store().contents()
    assert {(e.origin.uri, e.origin.attempt) for e in contents.whole} == {
        ("/d/a.txt", "1"),
        ("/dd/a.txt", "1"),
        ("/dd/a.txt", "2"),
    }
    assert contents.broken == (entry("/d/part.txt", passages=2),)


def test_an_attempt_is_removed_and_no_other(shelf: Shelf) -> None:
    for attempt in ("1", "2"):
        shelf.add(passage("/d/a", "x", attempt=attempt), passage("/d/b", "y", attempt=attempt))
    store = shelf.store()
    store.remove([entry("/d/a", "1"), entry("/d/b", "2")])
    left = {(e.origin.uri, e.origin.attempt) for e in store.contents().whole}
    assert left == {("/d/a", "2"), ("/d/b", "1")}
    store.remove([])
    assert len(store) == 2


def test_many_objects_are_removed_with_any_name(shelf: Shelf) -> None:
    names = [f"/d/it's {n} \"%_\\.txt" for n in range(1_100)]
    shelf.add(*(passage(name, "x") for name in names), passage("/d/stays", "y"))
    store = shelf.store()
    store.remove([entry(name) for name in names])
    assert store.contents() == Contents((entry("/d/stays"),), ())


def test_an_append_is_whole_or_not_at_all(shelf: Shelf) -> None:
    store = shelf.store()
    before = store.version

    def batches() -> Iterator[Any]:
        for number in range(3):
            if number == 2:
                raise KeyError("from inside")
            vectors = shelf.embedder.embed(["x"])
            yield to_arrow([passage(f"/d/{number}", "x")], vectors, store.schema)

    with pytest.raises(KeyError, match="from inside"):
        store.append(batches())
    assert (store.refresh(), len(store)) == (before, 0)


def test_vectors_are_returned_for_the_requested_objects_only(shelf: Shelf) -> None:
    shelf.add(passage("/d/a", "red fox"), passage("/d/b", "blue"))
    (known,) = shelf.store().vectors([entry("/d/a")])
    assert (known.search_hash, known.content, known.made_by, known.ordinal) == (
        search_hash("H > I\nred fox"), b"c", "text 1", 0
    )  # fmt: skip
    assert np.array_equal(known.vector, shelf.embedder.embed(["H > I\nred fox"])[0])


def test_bm25_forgets_what_was_deleted(tmp_path: Path) -> None:
    """An index that had rows and lost them scores like one that never had them."""
    with_past, plain = Shelf(tmp_path / "one"), Shelf(tmp_path / "two")
    for shelf in (with_past, plain):
        shelf.add(*(passage(f"/d/{n}", f"word{n} llama" if n < 3 else "x") for n in range(9)))
    gone = [f"/gone/{n}" for n in range(20)]
    with_past.add(*(passage(name, "llama llama") for name in gone))
    with_past.publish()
    with_past.store().remove([entry(name) for name in gone])
    scores = []
    for shelf in (with_past, plain):
        shelf.publish()
        scores.append([score for _, score in shelf.snapshot().view().lexical("llama", 9)])
    assert scores[0] == pytest.approx(scores[1])
    assert len(scores[0]) == 3


def test_many_small_files_become_few(shelf: Shelf) -> None:
    for number in range(12):
        shelf.add(passage(f"/d/{number}", f"word{number}"))
    files = [path for path, _ in shelf.publish().files if path.startswith("data/")]
    assert len(files) == 1
    assert all(texts_found(shelf.snapshot(), f"word{n}", k=1) == [f"word{n}"] for n in range(12))


def test_the_files_of_a_version_are_all_that_it_needs(shelf: Shelf, tmp_path: Path) -> None:
    shelf.write(a="a red fox", b="a blue whale")
    first = shelf.sync()
    shelf.write(b="a green frog")
    shelf.sync()
    version = shelf.versions.get(first.version)
    for path, size in version.files:
        copy = tmp_path / "copy" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shelf.index / TABLE / path, copy)
        assert copy.stat().st_size == size
    shutil.rmtree(shelf.index / TABLE)
    table = lance.dataset(str(tmp_path / "copy"), version=version.table_version)
    words = table.to_table(columns=["text"], full_text_query="whale")["text"].to_pylist()
    assert words == ["a blue whale"]
    assert len(table.to_table()) == 2


def test_rows_added_while_indexing_are_a_conflict(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add(passage("/d/a", "x"))
    store = shelf.store()
    monkeypatch.setattr(Store, "_unindexed", lambda self: 1)
    with pytest.raises(Conflict, match="rows were added while they were indexed"):
        store.index(VectorIndex(), shelf.embedder)


def test_a_restored_version_is_the_newest_and_what_came_after_is_gone(shelf: Shelf) -> None:
    shelf.add(passage("/d/a", "x"))
    store = shelf.store()
    old = store.version
    shelf.add(passage("/d/b", "y"))
    store.restore(old)
    assert store.version > old + 1
    assert [e.origin.uri for e in store.contents().whole] == ["/d/a"]


def test_an_index_of_another_embedder_is_refused_with_what_to_do(shelf: Shelf) -> None:
    shelf.store()
    with pytest.raises(IndexMismatch, match=r"by embedder hashing-64, expected other.*new index"):
        Store.open(shelf.location, HashingEmbedder("other"))


@pytest.mark.parametrize(
    ("other", "remedy"),
    [(FORMAT - 1, f"expected {FORMAT - 1}: update resift"), (FORMAT + 1, "build a new index")],
)
def test_a_table_of_another_format_is_refused(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, other: int, remedy: str
) -> None:
    shelf.store()
    monkeypatch.setattr("resift.index.versions.record.FORMAT", other)
    with pytest.raises(IndexMismatch, match=remedy):
        shelf.store()


def test_an_error_of_lance_is_one_line_that_names_the_location(shelf: Shelf) -> None:
    shelf.add(passage("/d/a", "x"))
    store = shelf.store()
    shutil.rmtree(shelf.index)
    with pytest.raises(StoreError) as raised:
        store.contents()
    assert str(raised.value).startswith(f"{store.uri}: ") and "\n" not in str(raised.value)


def test_writers_that_create_a_table_at_once_share_it(tmp_path: Path) -> None:
    """Otherwise the second replaces the table, and what the first has written is lost."""
    for number in range(10):
        shelf = Shelf(tmp_path / str(number))
        start = threading.Barrier(3)

        def create(shelf: Shelf = shelf, start: threading.Barrier = start) -> bytes:
            start.wait()
            table = create_table(shelf.location, shelf.embedder)
            return bytes(table.schema.metadata[b"table"])

        with ThreadPoolExecutor(3) as pool:
            created = [pool.submit(create) for _ in range(3)]
        assert len({future.result() for future in created}) == 1
        assert shelf.store().version == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("file", "is a file; name a folder"), ("/proc/no", "no folder can be made")],
)
def test_a_location_that_cannot_be_a_folder_is_refused_in_one_line(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(locate(str(tmp_path / name)), HashingEmbedder())
    assert ".rs" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("stored", ["no JSON", "7", '[["a"]]', "[[1, 2, 3]]", "null"])
def test_damaged_problems_of_a_commit_are_an_error(shelf: Shelf, stored: str) -> None:
    shelf.write(a="alpha")
    shelf.sync()
    table = lance.dataset(str(shelf.index / TABLE))
    lance.write_dataset(
        table.to_table(), table, mode="append", transaction_properties={"resift.problems": stored}
    )
    with pytest.raises(
        StoreError, match=r"problems stored with version \d+ of its table are damaged"
    ):
        shelf.store().problems(since=0)


def test_commits_that_were_cleaned_up_have_no_problems(shelf: Shelf) -> None:
    (shelf.docs / "a.jsonl").write_text('{"text": "good"}\nbad\n')
    shelf.sync()
    [problems] = shelf.store().problems(since=0).values()
    assert problems[0].startswith("line 2")
    store = shelf.store()
    store.clean([], 0)
    assert store.problems(since=0) == {}


def test_commits_that_merge_files_have_no_problems(shelf: Shelf) -> None:
    for n in range(10):  # so many small files are merged
        shelf.write(**{f"f{n}": f"text {n}"})
        shelf.sync()
    assert shelf.store().problems(since=0) == {}
