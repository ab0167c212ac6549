"""Proves that whatever happens, an index of shards ends as a fresh index without shards would."""

from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from index.shards.shelf import ShelfOfShards
from index.shelf import Shelf
from index.test_any_history import CHANGES, STEPS, Change, History, Killed, at_call, die
from resift.index.table.open import open_version
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.settings import Settings as IndexSettings


class HistoryOfShards(History):
    """Two sources in one index of three shards."""

    shelf: ShelfOfShards

    def __init__(self) -> None:
        super().__init__()
        self.shelf = ShelfOfShards(Path(self._folder.name))

    def go_back(self, pick: int, is_killed: bool) -> None:
        if not self.published:
            return
        numbers = sorted(self.published)
        number = numbers[pick % len(numbers)]
        kills = (1 + pick % 3) if is_killed else 99
        with (
            at_call(Versions, "publish", kills, False, die),
            at_call(Store, "restore", kills + 1, True, die),
        ):
            try:
                version = self.shelf.rollback(number)
            except Killed:
                return
        assert self.shelf.passages(version.number) == self.published[number]

    def clean_up(self, keep: int) -> None:
        if not self.published:
            return
        removed, _ = self.shelf.clean(keep)
        assert sorted(self.published)[-keep:] == self.shelf.versions.numbers()
        for number in removed:
            del self.published[number]

    def _searched(self, shelf: Shelf, number: int) -> dict[str, float]:
        """Both retrievers find every passage; lexical scores by id."""
        version = shelf.versions.find(number)
        view = open_version(shelf.location, IndexSettings(), version).view()
        ids = {row.id for row in shelf.passages(number)}
        vector = shelf.embedder.embed_query("common red fox")
        nearest = view.passages([row_id for row_id, _ in view.dense(vector, 999)])
        assert sorted(row.id for row in nearest) == sorted(ids)
        words = view.lexical("common red fox", 999)
        rows = view.passages([row_id for row_id, _ in words])
        assert sorted(row.id for row in rows) == sorted(ids)
        return {row.id: score for row, (_, score) in zip(rows, words, strict=True)}


@settings(max_examples=8, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(st.lists(CHANGES, min_size=3, max_size=6), st.lists(STEPS, min_size=4, max_size=7))
def test_whatever_happens_an_index_of_shards_ends_as_a_fresh_one(
    changes: list[Change], steps: list[tuple[Any, ...]]
) -> None:
    with HistoryOfShards() as history:
        history.begin(changes)
        for step, *arguments in steps:
            getattr(history, step)(*arguments)
            history.all_that_is_published_is_as_it_was()
        history.ends_as_a_fresh_one()
