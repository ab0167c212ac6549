"""Proves what is embedded and what is not, what a commit holds, and that failures lose nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.fakes import InProcessParsers
from index.shelf import Shelf, entry, origin, texts_found
from resift.errors import EmbedderError
from resift.index.embed import Models
from resift.index.parsing import formats
from resift.index.parsing.documents import Chunk, ChunkedDocument, ChunkedFile
from resift.index.report import SyncReport
from resift.index.table.rows import search_hash
from resift.index.table.store import Store
from resift.index.writer import Writer
from resift.types import Document, Precomputed

MADE = "# {title}\n\n" + "\n\n".join(f"## Part {n}\n\n{f'word{n} ' * 150}." for n in range(6))


@pytest.fixture(autouse=True)
def _parsers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)


def costs(report: SyncReport) -> tuple[int, int]:
    return report.passages_embedded, report.passages_reused


def vectors(shelf: Shelf) -> dict[bytes, NDArray[np.float32]]:
    store = shelf.store()
    return {known.search_hash: known.vector for known in store.vectors(store.contents().whole)}


def file(*texts: str, rows: bool = False) -> ChunkedFile:
    documents = [
        ChunkedDocument(
            f"r{number}", "", {}, number if rows else None, (Chunk(0, len(t), "", None, t),)
        )
        for number, t in enumerate(texts, start=1)
    ]
    return ChunkedFile(tuple(documents))


def writer(shelf: Shelf, attempt: str = "9", **models: Any) -> Writer:
    store = shelf.store()
    known = {entry.origin.uri: entry for entry in store.contents().whole}
    return Writer(store, Models(shelf.embedder, **models), known, attempt)


def test_a_document_that_is_renamed_is_not_embedded_again(shelf: Shelf) -> None:
    (shelf.docs / "old name.md").write_text(MADE.format(title="Guide"))
    first = shelf.sync()
    assert costs(first) == (6, 0)
    before = list(vectors(shelf).values())
    (shelf.docs / "old name.md").rename(shelf.docs / "new name.md")
    report = shelf.sync()
    assert (report.added, report.deleted, costs(report)) == (1, 1, (0, 6))
    assert np.array_equal(before, list(vectors(shelf).values()))
    assert {passage.origin.uri for passage in shelf.passages()} == {shelf.uri("new name.md")}


def test_a_file_whose_name_is_its_title_keeps_the_vectors_it_had_under_the_old_one(
    shelf: Shelf,
) -> None:
    shelf.write(old="a red fox")
    shelf.sync()
    (shelf.docs / "old.txt").rename(shelf.docs / "new.txt")
    assert costs(shelf.sync()) == (0, 1)
    (passage,) = shelf.passages()
    assert passage.title == "new" and passage.search_text.startswith("new")
    assert np.array_equal(
        vectors(shelf)[search_hash(passage.search_text)],
        shelf.embedder.embed(["old\na red fox"])[0],
    )
    assert texts_found(shelf.snapshot(), "new") == ["a red fox"]


def test_of_a_changed_document_only_what_changed_is_embedded(shelf: Shelf) -> None:
    text = MADE.format(title="Guide")
    (shelf.docs / "a.md").write_text(text)
    shelf.sync()
    (shelf.docs / "a.md").write_text(text.replace("word3 ", "other3 ", 1))
    assert costs(shelf.sync()) == (1, 5)
    (shelf.docs / "a.md").write_text(text.replace("Guide", "Manual"))
    assert costs(shelf.sync()) == (6, 0)


def test_every_vector_is_that_of_its_own_text(shelf: Shelf) -> None:
    rows = [f'{{"_id": "{n}", "text": "row number{n}"}}' for n in range(300)]
    (shelf.docs / "a.jsonl").write_text("\n".join(rows))
    shelf.sync()
    rows[150] = '{"_id": "new", "text": "another row"}'
    (shelf.docs / "a.jsonl").write_text("\n".join(rows[:100] + rows[150:][::-1]))
    assert costs(shelf.sync()) == (1, 249)
    known = vectors(shelf)
    assert len(known) == 250
    texts = {search_hash(p.search_text): p.search_text for p in shelf.passages()}
    embedded = shelf.embedder.embed([texts[key] for key in known])
    assert np.array_equal(embedded, list(known.values()))


def test_rows_of_one_file_are_not_identified_by_their_ordinal(shelf: Shelf) -> None:
    """Each row's first passage is number 0: the file's bytes and a number do not say which."""
    writing = writer(shelf)
    writing.add(origin("/d/a.jsonl", "9"), file("one", "two", rows=True))
    writing.commit()
    shelf.publish()
    writing = writer(shelf, "91")
    writing.add(origin("/d/b.jsonl", "91"), file("three", "two", rows=True))
    writing.commit()
    assert (writing.embedded, writing.reused) == (1, 1)


def test_what_another_parser_made_of_the_same_bytes_is_not_known(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write(a="first words", b="x")
    shelf.sync()
    plain = formats._FORMAT_BY_SUFFIX[".txt"]

    def read(key: str, data: bytes, *others: Any) -> Any:
        return plain.parse(key, data.replace(b"first", b"second"), *others)

    monkeypatch.setitem(formats._FORMAT_BY_SUFFIX, ".txt", replace(plain, version=99, parse=read))
    report = shelf.sync()
    assert (report.changed, costs(report)) == (2, (1, 1))
    assert shelf.texts() == ["second words", "x"]
    known = vectors(shelf)
    texts = {search_hash(p.search_text): p.search_text for p in shelf.passages()}
    embedded = shelf.embedder.embed([texts[key] for key in known])
    assert np.array_equal(embedded, list(known.values()))


def test_equal_files_of_one_run_and_of_two(shelf: Shelf) -> None:
    shelf.write(a="the same words")
    shelf.sync()
    shelf.write(b="the same words", c="the same words")
    assert costs(shelf.sync()) == (0, 2)
    assert shelf.texts() == ["the same words"] * 3


@pytest.mark.parametrize("most", [1_000, 2])
def test_objects_are_committed_whole_and_a_giant_one_at_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("resift.index.writer.COMMIT_PASSAGES", most)
    monkeypatch.setattr("resift.index.writer._EMBED", 3)
    ends: list[int] = []
    reported: list[int] = []
    append = Store.append

    def noted(self: Store, batches: Any, problems: Any) -> None:
        append(self, batches, problems)
        ends.append(len(self))
        assert not self.contents().broken

    monkeypatch.setattr(Store, "append", noted)
    writing = writer(shelf)
    for name, count in (("a", 2), ("b", 11), ("c", 1)):
        texts = [f"{name} {number}" for number in range(count)]
        writing.add(origin(f"/d/{name}.jsonl", "9"), file(*texts, rows=True))
        if writing.is_full:
            writing.commit(lambda: reported.append(writing.written))
    writing.commit(lambda: reported.append(writing.written))
    assert ends == ([2, 13, 14] if most == 2 else [14])
    assert reported == ([2, 5, 8, 11, 13, 14] if most == 2 else [3, 6, 9, 12, 14])
    writing.commit()
    assert len(ends) <= 3
    assert {uri: entry.passages for uri, entry in writing.committed.items()} == {
        "/d/a.jsonl": 2, "/d/b.jsonl": 11, "/d/c.jsonl": 1
    }  # fmt: skip


def test_what_waits_long_is_committed_though_it_is_little(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = writer(shelf)
    writing.add(origin("/d/a.jsonl", "9"), file(*map(str, range(200)), rows=True))
    assert not writing.is_full
    monkeypatch.setattr("resift.index.writer.COMMIT_SECONDS", 0.0)
    assert writing.is_full


class Failing:
    """An embedder whose server goes away after so many texts."""

    def __init__(self, shelf: Shelf, error: BaseException, after: int) -> None:
        self._embed = shelf.embedder.embed
        self._error = error
        self._left = after

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._left -= len(texts)
        if self._left < 0:
            raise self._error
        return self._embed(texts)


@pytest.mark.parametrize("most", [10_000, 2])
@pytest.mark.parametrize(
    "error", [EmbedderError("http://host: does not answer"), KeyboardInterrupt(), ValueError("odd")]
)
def test_what_an_embedder_raises_goes_through_and_loses_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, error: BaseException, most: int
) -> None:
    monkeypatch.setattr("resift.index.writer.COMMIT_PASSAGES", most)
    shelf.write(a="alpha")
    first = shelf.sync()
    rows = "".join(f'{{"text": "row {number}"}}\n' for number in range(300))
    (shelf.docs / "b.jsonl").write_text(rows)
    shelf.write(a="alpha, changed")
    with monkeypatch.context() as patch:
        patch.setattr(shelf.embedder, "embed", Failing(shelf, error, after=150))
        with pytest.raises(type(error)) as raised:
            shelf.sync()
    assert raised.value is error
    assert (shelf.newest().number, shelf.texts()) == (first.version, ["alpha"])
    assert not shelf.store().contents().broken
    report = shelf.sync()
    assert len(shelf.texts()) == 301 and "alpha, changed" in shelf.texts()
    assert report.version == first.version + 1


def test_vectors_of_another_length_than_the_embedder_says_are_an_error(shelf: Shelf) -> None:
    shelf.write(a="alpha")
    shelf.embedder.embed = lambda texts: np.zeros((len(texts), 3), np.float32)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="broadcast"):
        shelf.sync()
    assert shelf.versions.numbers() == []


class Keeps:
    """Precomputes a document's title as token ids and, where requested, its text as states."""

    def __init__(self, fingerprint: str = "keeps") -> None:
        self.fingerprint = fingerprint

    def precompute(
        self, documents: Sequence[Document], *, states: bool = True
    ) -> list[Precomputed | None]:
        return [
            Precomputed(
                self.fingerprint, b"h", document.title.encode(), document.text.encode() * states
            )
            for document in documents
        ]


@pytest.mark.parametrize("states", [True, False])
def test_what_a_reranker_precomputes_is_stored_with_the_passage(shelf: Shelf, states: bool) -> None:
    precomputer = Keeps()
    writing = writer(shelf, precomputer=lambda: precomputer, token_states=states)
    writing.add(origin("/d/a", "9"), file("one text"))
    writing.commit()
    shelf.publish()
    (passage,) = shelf.passages()
    assert (passage.precomputed, passage.has_states) == (Precomputed("keeps", b"h", b""), states)
    assert writing.precomputed_bytes == (len("one text") if states else 0)
    assert writing.committed["/d/a"].precomputed_by == ("keeps" if states else None)
    assert shelf.store().contents().whole == (
        entry("/d/a", "9", precomputed_by="keeps" if states else None),
    )
