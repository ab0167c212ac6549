"""Proves what readers see while an index is written, and what either search arm gives."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexMismatch, IndexNotFound
from resift.index.rows import Passage
from resift.index.snapshot import Snapshot
from resift.index.store import Indexed, Store, open_snapshot
from resift.settings import StorageSettings

LOCAL = StorageSettings()
EMBEDDER = HashingEmbedder()


def passage(uri: str, text: str, ordinal: int = 0, of: int = 1, title: str = "") -> Passage:
    return Passage(
        id=f"{uri}#{ordinal}",
        uri=uri,
        etag="e1",
        size=3,
        passages=of,
        doc_id=uri,
        title=title,
        heading="H > I",
        text=text,
        start=5,
        end=5 + len(text),
        page=2,
        ordinal=ordinal,
        metadata={"tags": ["ä", 1], "deep": {"a": None}},
    )


def store_at(path: Path) -> Store:
    return Store.open(str(path / "index"), LOCAL, EMBEDDER.fingerprint, EMBEDDER.dim)


def reader_at(path: Path) -> Snapshot:
    return open_snapshot(str(path / "index"), LOCAL, EMBEDDER.fingerprint)


def add(store: Store, *passages: Passage) -> None:
    store.add(passages, EMBEDDER.embed([p.search_text for p in passages]))


def found(snapshot: Snapshot, query: str, k: int = 10) -> list[str]:
    return [p.text for p in snapshot.take([row_id for row_id, _ in snapshot.lexical(query, k)])]


def test_a_passage_comes_back_as_it_went_in(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    rows = [passage("/d/it's.txt", "one"), passage("/d/b.txt", "two", title="T")]
    add(store, *rows)
    store.publish()
    snapshot = reader_at(tmp_path)
    ids = [row_id for row_id, _ in snapshot.dense(EMBEDDER.embed(["one"])[0], 10)]
    assert sorted(snapshot.take(ids), key=lambda p: p.text) == rows
    assert snapshot.take(ids[::-1]) == snapshot.take(ids)[::-1]
    assert snapshot.take([]) == []


def test_readers_see_the_published_version_until_the_next_is_whole(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add(store, passage("/d/a.txt", "old llama"))
    first = store.publish()
    reader = reader_at(tmp_path)
    store.remove(["/d/a.txt"])
    add(store, passage("/d/b.txt", "new llama"))
    for snapshot in (reader, reader_at(tmp_path)):
        assert snapshot.version == first
        assert found(snapshot, "llama") == ["old llama"]
    second = store.publish()
    assert second > first
    assert found(reader, "llama") == ["old llama"]
    assert found(reader_at(tmp_path), "llama") == ["new llama"]
    assert store.publish() == second


def test_rows_that_were_never_published_are_no_index(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match="no index there"):
        reader_at(tmp_path)
    assert not (tmp_path / "index").exists()
    add(store_at(tmp_path), passage("/d/a.txt", "x"))
    with pytest.raises(IndexNotFound, match="no index there"):
        reader_at(tmp_path)


def test_dense_scores_are_cosines_in_order(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    texts = ["red fox", "red fox red", "blue whale sings", "green"]
    add(store, *(passage(f"/d/{n}", text) for n, text in enumerate(texts)))
    store.publish()
    query = EMBEDDER.embed(["red fox"])[0]
    expected = sorted(
        (float(v @ query) for v in EMBEDDER.embed([f"H > I\n{text}" for text in texts])),
        reverse=True,
    )
    scores = [score for _, score in reader_at(tmp_path).dense(query, 3)]
    assert scores == pytest.approx(expected[:3], abs=1e-5)


def test_words_are_found_in_title_and_heading_and_by_their_stem(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add(store, passage("/d/a", "nothing of note", title="Running shoes"), passage("/d/b", "other"))
    store.publish()
    assert found(reader_at(tmp_path), "shoe runs") == ["nothing of note"]


@pytest.mark.parametrize(
    "query", ["", "!!!", "the", '"llama', "llama AND -(", "llama'; --", "text:llama^2", "\0", "🦙"]
)
def test_any_string_is_a_query_and_nothing_in_it_an_operator(tmp_path: Path, query: str) -> None:
    store = store_at(tmp_path)
    add(store, passage("/d/a", "a llama"), passage("/d/b", "something else"))
    store.publish()
    expected = ["a llama"] if "llama" in query else []
    assert found(reader_at(tmp_path), query) == expected


def test_bm25_forgets_what_was_deleted(tmp_path: Path) -> None:
    """An index that had rows and lost them scores like one that never had them."""
    stores = store_at(tmp_path / "one"), store_at(tmp_path / "two")
    for store in stores:
        add(store, *(passage(f"/d/{n}", f"word{n} llama" if n < 3 else "x") for n in range(9)))
    add(stores[0], *(passage(f"/gone/{n}", "llama llama") for n in range(20)))
    stores[0].publish()
    stores[0].remove([f"/gone/{n}" for n in range(20)])
    scores: list[Sequence[float]] = []
    for store, name in zip(stores, ("one", "two"), strict=True):
        store.publish()
        scores.append([score for _, score in reader_at(tmp_path / name).lexical("llama", 9)])
    assert scores[0] == pytest.approx(scores[1])
    assert len(scores[0]) == 3


def test_objects_below_a_source_are_known_by_their_etag_and_wholeness(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add(store, passage("/d/a.txt", "1", of=2), passage("/d/a.txt", "2", 1, of=2))
    add(store, passage("/d/half.txt", "1", of=2), passage("/dd/a.txt", "x"))
    whole, half = Indexed("e1", 3, True), Indexed("e1", 3, False)
    assert store.objects("/d") == {"/d/a.txt": whole, "/d/half.txt": half}
    assert store.objects("/d/a.txt") == {"/d/a.txt": whole}
    assert store.objects("/") == {"/d/a.txt": whole, "/d/half.txt": half, "/dd/a.txt": whole}


def test_many_objects_are_removed_with_any_name(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    names = [f"/d/it's {n} \"%_\\.txt" for n in range(1_100)]
    add(store, *(passage(name, "x") for name in names), passage("/d/stays", "y"))
    store.remove(names)
    assert list(store.objects("/d")) == ["/d/stays"]


def test_an_index_of_another_embedder_is_refused_by_both_sides(tmp_path: Path) -> None:
    store_at(tmp_path).publish()
    uri = str(tmp_path / "index")
    with pytest.raises(IndexMismatch, match="made by embedder hashing-64, expected other"):
        open_snapshot(uri, LOCAL, "other")
    with pytest.raises(IndexMismatch, match="index into a new place"):
        Store.open(uri, LOCAL, "other", 64)


def test_an_index_of_another_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_at(tmp_path).publish()
    monkeypatch.setattr("resift.index.store.FORMAT", "3")
    with pytest.raises(IndexMismatch, match="index format 2, expected 3"):
        reader_at(tmp_path)


def test_an_empty_index_is_searched_for_nothing(tmp_path: Path) -> None:
    store_at(tmp_path).publish()
    snapshot = reader_at(tmp_path)
    assert (len(snapshot), snapshot.lexical("x", 3)) == (0, [])
    assert snapshot.dense(EMBEDDER.embed(["x"])[0], 3) == []
