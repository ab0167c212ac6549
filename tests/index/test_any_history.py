"""Proves that whatever happens to documents, runs and versions, an index ends as a fresh one would.

Files come, change, go and break; runs are killed before or after any commit, or disturbed there by
another run; versions are gone back to and cleaned. At every step all that is published can be read
and is what it was when it was published.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any, Self

import lance
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from index.fakes import HashingEmbedder, InProcessParsers
from index.shelf import Shelf
from resift.errors import SourceError
from resift.index.publish import clean, rollback
from resift.index.sources.folder import Folder
from resift.index.sources.listing import Fetched, RawListing
from resift.index.storage.location import TABLE
from resift.index.table.rows import Passage
from resift.index.table.store import Store
from resift.index.table.term_indexes import TERM_INDEXES
from resift.index.versions.published import Versions

SOURCES = ("one", "two")
NAMES = st.sampled_from(
    [f"{source}/{name}" for source in SOURCES for name in ("a.txt", "b.txt", "c.md", "d.jsonl")]
)
WORDS = st.lists(st.sampled_from(["red", "blue", "green", "fox"]), min_size=1, max_size=3)
CALLS = st.sampled_from(
    [
        (HashingEmbedder, "embed"),
        (Store, "append"),
        (Store, "remove"),
        (Store, "index"),
        (Versions, "publish"),
    ]
)
TURNS = st.integers(1, 3)
LINES = st.lists(WORDS, max_size=3)
Call = tuple[type, str]
# A file, the name that it is given, and its lines: none is a file that cannot be read, None is
# no file at all.
Change = tuple[str, str | None, list[list[str]] | None]
CHANGES = st.tuples(NAMES, st.none() | st.none() | NAMES, LINES | LINES | st.none())
SOME = st.lists(CHANGES, max_size=4)


class Killed(BaseException):
    """A process that ends there and then."""


def die() -> None:
    raise Killed


LIST, READ = Folder.list, Folder.read


def list_by_content(folder: Folder, follow_links: bool) -> RawListing:
    """With ETags as a bucket's: the same for the same content, whenever it was written."""
    seen = LIST(folder, follow_links)
    files = [
        replace(file, etag=content_hash(READ(folder, file.key, None).data)) for file in seen.files
    ]
    return replace(seen, files=files)


def read_by_content(folder: Folder, key: str, most: int | None, version: str | None) -> Fetched:
    fetched = READ(folder, key, most, version)
    return replace(fetched, etag=content_hash(fetched.data))


def content_hash(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()


class History:
    """Two sources in one index. Every text has the word ``common``, so that words find them all."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.shelf = Shelf(Path(self._folder.name))
        self.published: dict[int, list[Passage]] = {}
        for source in SOURCES:
            (self.shelf.docs / source).mkdir()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("resift.index.run.ParserPool", InProcessParsers)
        self._patch.setattr(Folder, "list", list_by_content)
        self._patch.setattr(Folder, "read", read_by_content)
        self._patch.setattr("resift.index.writer.COMMIT_PASSAGES", 2)
        self._patch.setattr("resift.index.publish.time.sleep", lambda seconds: None)

    def _sync(self, source: str) -> None:
        try:
            self.shelf.sync(source, allow_deletes=True)
        except SourceError as error:
            assert "no documents there" in str(error)
            assert not list((self.shelf.docs / source).iterdir())

    def begin(self, changes: list[Change]) -> None:
        self._change(changes)
        for source in SOURCES:
            self._sync(source)

    def sync(self, changes: list[Change], source: str) -> None:
        self._change(changes)
        self._sync(source)

    def killed_sync(
        self, changes: list[Change], source: str, call: Call, turn: int, after: bool
    ) -> None:
        self._change(changes)
        with at_call(*call, turn, after, die), suppress(Killed):
            self._sync(source)

    def disturbed_sync(
        self, changes: list[Change], source: str, call: Call, turn: int, after: bool
    ) -> None:
        def another_run() -> None:
            for source in SOURCES:
                self._sync(source)

        self._change(changes)
        with at_call(*call, turn, after, another_run):
            self._sync(source)

    def _change(self, changes: list[Change]) -> None:
        for name, other, lines in changes:
            path = self.shelf.docs / name
            if other == name or lines is None:
                path.unlink(missing_ok=True)
            elif not lines:
                path.write_bytes(b"\0")
            elif other and path.exists():
                path.rename(self.shelf.docs / other)
            else:
                texts = [" ".join(["common", *line]) for line in lines]
                if name.endswith(".jsonl"):
                    texts = [json.dumps({"text": text, "n": len(text)}) for text in texts]
                path.write_text("\n\n".join(texts))

    def go_back(self, pick: int, is_killed: bool) -> None:
        if not self.published:
            return
        numbers = sorted(self.published)
        number = numbers[pick % len(numbers)]
        with at_call(Versions, "publish", 1 if is_killed else 99, False, die):
            try:
                version = rollback(self.shelf.store(), self.shelf.versions, number)
            except Killed:
                return
        assert self.shelf.passages(version.number) == self.published[number]

    def clean_up(self, keep: int) -> None:
        if not self.published:
            return
        removed, _ = clean(self.shelf.store(), self.shelf.versions, keep, 0)
        assert sorted(self.published)[-keep:] == self.shelf.versions.numbers()
        for number in removed:
            del self.published[number]

    def all_that_is_published_is_as_it_was(self) -> None:
        for number in self.shelf.versions.numbers():
            rows = self.shelf.passages(number)
            assert rows == self.published.setdefault(number, rows)
            assert len(rows) == self.shelf.versions.get(number).passages
            assert len({row.id for row in rows}) == len(rows)
        assert self.shelf.versions.numbers() == sorted(self.published)
        if self.published:
            self._searched(self.shelf, max(self.published))

    def _searched(self, shelf: Shelf, number: int) -> dict[str, float]:
        """Every passage is indexed and found by both retrievers; lexical scores by id."""
        table_version = shelf.versions.get(number).table_version
        table = lance.dataset(str(shelf.index / TABLE), version=table_version)
        for name in TERM_INDEXES.values():
            assert table.stats.index_stats(name)["num_unindexed_rows"] == 0
        view = shelf.snapshot(number).view()
        ids = {row.id for row in shelf.passages(number)}
        vector = shelf.embedder.embed_query("common red fox")
        nearest = view.passages([row_id for row_id, _ in view.dense(vector, 999)])
        assert {row.id for row in nearest} == ids and len(nearest) == len(ids)
        words = view.lexical("common red fox", 999)
        rows = view.passages([row_id for row_id, _ in words])
        assert {row.id for row in rows} == ids and len(rows) == len(ids)
        return {row.id: score for row, (_, score) in zip(rows, words, strict=True)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.undo()
        self._folder.cleanup()

    def ends_as_a_fresh_one(self) -> None:
        fresh = Shelf(Path(self._folder.name))
        fresh.index = Path(self._folder.name) / "fresh"
        old, self.shelf = self.shelf, fresh
        for source in SOURCES:
            self._sync(source)
        self.shelf = old
        # Twice: what a killed rollback leaves of the first source goes with a sync of the second.
        for source in SOURCES * 2:
            self._sync(source)
        if not fresh.versions.numbers():
            assert not self.published or self.shelf.passages() == []
            return
        assert list(map(facts, self.shelf.passages())) == list(map(facts, fresh.passages()))
        problems = [
            {uri: entry.problems for uri, entry in shelf.versions.entries(shelf.newest()).items()}
            for shelf in (self.shelf, fresh)
        ]
        assert problems[0] == problems[1]
        scores = [self._searched(shelf, shelf.newest().number) for shelf in (self.shelf, fresh)]
        assert scores[0] == pytest.approx(scores[1])


def at_call(owner: type, name: str, turn: int, after: bool, what: Callable[[], None]) -> ExitStack:
    """Do something before or after one call of a method, inside a ``with``."""
    stack = ExitStack()
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    original, calls = getattr(owner, name), []

    def method(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) != turn:
            return original(*arguments)
        if not after:
            what()
        given = original(*arguments)
        if after:
            what()
        return given

    patch.setattr(owner, name, method)
    return stack


def facts(passage: Passage) -> tuple[Any, ...]:
    """All that does not say when and by which run it was read."""
    origin = passage.origin
    return (
        passage.id, origin.uri, origin.etag, origin.size, origin.content, origin.made_by,
        passage.passages, passage.doc_id, passage.title, passage.heading, passage.text,
        passage.start, passage.end, passage.page, passage.row, passage.ordinal, passage.metadata,
    )  # fmt: skip


SOURCE, KILL = st.sampled_from(SOURCES), (CALLS, TURNS, st.booleans())
STEPS = st.one_of(
    st.tuples(st.just("sync"), SOME, SOURCE),
    st.tuples(st.just("killed_sync"), SOME, SOURCE, *KILL),
    st.tuples(st.just("disturbed_sync"), SOME, SOURCE, *KILL),
    st.tuples(st.just("go_back"), st.integers(0, 99), st.booleans()),
    st.tuples(st.just("clean_up"), st.integers(1, 3)),
)


@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # a history is short: making it shorter takes minutes
)
@given(st.lists(CHANGES, min_size=3, max_size=6), st.lists(STEPS, min_size=4, max_size=7))
def test_whatever_happens_an_index_ends_as_a_fresh_one(
    changes: list[Change], steps: list[tuple[Any, ...]]
) -> None:
    with History() as history:
        history.begin(changes)
        for step, *arguments in steps:
            getattr(history, step)(*arguments)
            history.all_that_is_published_is_as_it_was()
        history.ends_as_a_fresh_one()
