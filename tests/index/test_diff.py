"""Proves what is read again and what is left alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.shelf import entry
from resift.index.diff import Expected, compare, entries_below
from resift.index.manifest import Entry
from resift.index.sources.listing import SourceObject

EXPECTED = Expected(lambda key: f"text {key[-1]}", limits="some")


def listed(name: str, etag: str = "e1", size: int = 3) -> SourceObject:
    return SourceObject(name, f"/d/{name}", etag, size)


def known(name: str, passages: int = 1, made_by: str | None = None) -> Entry:
    indexed = entry(f"/d/{name}", passages=passages)
    as_read = EXPECTED.fingerprint(name, passages) if made_by is None else made_by
    return replace(indexed, origin=replace(indexed.origin, made_by=as_read))


def by_uri(*entries: Entry) -> dict[str, Entry]:
    return {indexed.origin.uri: indexed for indexed in entries}


def test_without_changes_there_is_no_difference() -> None:
    entries = by_uri(known("a"), known("b", passages=0))
    diff = compare([listed("a"), listed("b")], entries, EXPECTED)
    assert not diff
    assert diff.unchanged == tuple(entries.values())


def test_added_changed_and_gone_are_distinguished() -> None:
    diff = compare(
        [listed("z"), listed("a"), listed("b", "e2"), listed("c", size=4)],
        by_uri(known("a"), known("b"), known("c"), known("d"), known("e", passages=0)),
        EXPECTED,
    )
    assert [item.key for item in diff.added] == ["z"]
    assert [item.key for item in diff.changed] == ["b", "c"]
    assert [indexed.origin.uri for indexed in diff.gone] == ["/d/d", "/d/e"]
    assert [indexed.origin.uri for indexed in diff.unchanged] == ["/d/a"]
    assert [item.key for item in diff.to_read] == ["b", "c", "z"]
    assert diff


@pytest.mark.parametrize(
    ("indexed", "is_current"),
    [
        (known("a", made_by="text a"), True),
        (known("a", made_by="text b"), False),
        (known("a", 0, "text a some"), True),
        (known("a", 0, "text a"), False),
        (known("a", 0, "text a other"), False),
    ],
)
def test_another_parser_or_for_what_was_skipped_another_limit_is_another_try(
    indexed: Entry, is_current: bool
) -> None:
    assert bool(compare([listed("a")], by_uri(indexed), EXPECTED)) is not is_current


def test_states_are_wanted_of_all_that_has_passages_or_of_none() -> None:
    plain, empty = known("a"), known("b", passages=0)
    mine, other = replace(plain, precomputed_by="m"), replace(plain, precomputed_by="n")
    wanted = Expected(EXPECTED.made_by, EXPECTED.limits, precomputed_by="m")
    for indexed, is_current in ((plain, False), (other, False), (mine, True), (empty, True)):
        item = listed(indexed.origin.uri[-1])
        assert bool(compare([item], by_uri(indexed), wanted)) is not is_current
        assert not compare([item], by_uri(indexed), EXPECTED)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123")),
       st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123")))  # fmt: skip
def test_every_object_is_in_one_group(source: dict[str, str], index: dict[str, str]) -> None:
    objects = [listed(name, etag) for name, etag in source.items()]
    entries = {f"/d/{name}": known(name) for name in index}
    for name, etag in index.items():
        indexed = entries[f"/d/{name}"]
        entries[f"/d/{name}"] = replace(indexed, origin=replace(indexed.origin, etag=etag))
    diff = compare(objects, entries, EXPECTED)
    assert {item.key for item in diff.added} == source.keys() - index.keys()
    assert {indexed.origin.uri[-1] for indexed in diff.gone} == index.keys() - source.keys()
    same = {name for name in source.keys() & index.keys() if source[name] == index[name]}
    assert {indexed.origin.uri[-1] for indexed in diff.unchanged} == same
    assert {item.key for item in diff.changed} == (source.keys() & index.keys()) - same


@pytest.mark.parametrize(
    ("root", "uris"),
    [
        ("/d", ["/d/a.txt", "/d/e/b"]),
        ("/d/a.txt", ["/d/a.txt"]),
        ("/", ["/d/a.txt", "/d/e/b", "/dd/a.txt"]),
        ("/d/a", []),
        ("s3://b", ["s3://b/x"]),
    ],
)
def test_a_source_is_what_lies_below_it(root: str, uris: list[str]) -> None:
    there = by_uri(*map(entry, ("/d/a.txt", "/d/e/b", "/dd/a.txt", "s3://b/x", "s3://bb/x")))
    assert list(entries_below(root, there)) == uris
