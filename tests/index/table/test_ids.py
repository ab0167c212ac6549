"""Passages are read by their ids, with or without an index of ids, whatever the ids are."""

from collections.abc import Sequence
from itertools import islice

import pytest

from index.shelf import Shelf, passage
from resift.index.table.ids import following_ids, passage_id, split_id
from resift.index.table.store import ID_INDEX

URIS = ("s3://b/it's.md", "s3://b/a b#1", "s3://b/ü\n", 'C:\\x "y"', "%41", "x" * 3_000)


@pytest.mark.parametrize("uri", URIS)
@pytest.mark.parametrize("ordinal", [0, 9, 12_345])
def test_an_id_is_a_name_and_an_ordinal(uri: str, ordinal: int) -> None:
    assert split_id(passage_id(uri, ordinal)) == (uri, ordinal)


@pytest.mark.parametrize(
    "text", ["", "#", "#1", "a", "a#", "a#x", "a#-1", "a# 1", "a#\u00b2", "a#" + "9" * 5_000]
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert split_id(text) is None and list(following_ids(text, 1)) == []


def test_ids_go_up_without_end_and_down_to_0() -> None:
    assert list(islice(following_ids("a#b#2", 1), 3)) == ["a#b#3", "a#b#4", "a#b#5"]
    assert list(following_ids("a#b#2", -1)) == ["a#b#1", "a#b#0"]


def texts(shelf: Shelf, ids: Sequence[str]) -> list[str]:
    return sorted(row.text for row in shelf.snapshot().view().find(ids))


def test_passages_are_read_by_their_ids(shelf: Shelf) -> None:
    shelf.add(*(passage(uri, f"text {n}") for n, uri in enumerate(URIS)))
    shelf.publish()
    assert any(index.name == ID_INDEX for index in shelf.store()._dataset.describe_indices())
    assert texts(shelf, []) == texts(shelf, ["absent#0"]) == []
    assert texts(shelf, [f"{uri}#0" for uri in URIS]) == [f"text {n}" for n in range(len(URIS))]
    assert texts(shelf, [f"{URIS[0]}#0", "absent#1"]) == ["text 0"]


def test_more_ids_than_one_filter_takes_are_read(shelf: Shelf) -> None:
    shelf.add(*(passage("s3://b/a", f"text {n:04}", n, 450) for n in range(450)))
    shelf.publish()
    ids = [passage_id("s3://b/a", n) for n in range(5_000)]
    assert texts(shelf, ids) == [f"text {n:04}" for n in range(450)]


def test_passages_are_found_after_changes_and_without_the_index(shelf: Shelf) -> None:
    shelf.add(*(passage(f"s3://b/{n}", f"old {n}") for n in range(20)))
    shelf.publish()
    store = shelf.store()
    store.remove([entry for entry in store.contents().whole if entry.origin.uri == "s3://b/3"])
    shelf.add(passage("s3://b/3", "new 3", attempt="2"))
    shelf.publish()
    assert texts(shelf, ["s3://b/3#0", "s3://b/4#0"]) == ["new 3", "old 4"]
    store.refresh()
    store._dataset.drop_index(ID_INDEX)
    shelf.versions.find()
    view = shelf.snapshot().view()
    view._table.checkout_version(store.version)
    assert [row.text for row in view.find(["s3://b/4#0"])] == ["old 4"]
