"""Proves that users of an index of shards get what one index of the same documents gives them."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import InputError, StoreError
from resift.evaluation.first_stage import FromIndex
from resift.index.table.merging import Part
from resift.index.table.sharded import ShardedSnapshot
from resift.index.table.snapshot import Scored, Snapshot, View
from resift.search.index import Index
from resift.search.options import MODES, Mode
from resift.settings import Settings
from resift.types import Ranking
from search.library import TOPICS, write_documents
from search.stand_ins import Backwards

Pair = tuple[Index, Index]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One index, and an index of three shards."""
    folder = tmp_path_factory.mktemp("pair")
    write_documents(folder / "documents")
    with opened(folder / "one") as single, opened(folder / "shards", 3) as sharded:
        for index in (single, sharded):
            assert not index.sync(str(folder / "documents")).skipped
        assert sum(map(bool, sharded.versions()[-1].shards)) > 1
        yield single, sharded


def test_the_spread_of_cosines_is_that_of_one_index(pair: Pair) -> None:
    single, sharded = (index.versions()[-1].vectors.spread for index in pair)
    assert single == sharded != 0


def opened(folder: Path, shards: int | None = None) -> Index:
    return Index(
        str(folder),
        settings=Settings(),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
        shards=shards,
    )


def scores(ranking: Ranking) -> dict[str, float]:
    """Of equal scores either may be first, so ranks are left out."""
    return {hit.id: hit.first_stage_score or 0.0 for hit in ranking}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", [None, "source starts with '/'", "title = 'Guide'"])
def test_searches_bring_the_same_hits(pair: Pair, mode: Mode, where: str | None) -> None:
    for query in ("lighthouse of part 3", *TOPICS[:4], "the pilot knows the harbour"):
        single, sharded = (
            index.search(query, 50, mode=mode, where=where, rerank=False) for index in pair
        )
        assert scores(sharded) == pytest.approx(scores(single), abs=1e-3)
        ordered = list(scores(sharded).values())
        assert ordered == sorted(ordered, reverse=True)
        citations = {hit.id: (hit.text, hit.citation) for hit in single}
        assert citations == {hit.id: (hit.text, hit.citation) for hit in sharded}
        assert sharded.receipt.depth == single.receipt.depth
        assert (sharded.receipt.partial, sharded.receipt.notes) == (False, single.receipt.notes)


def test_the_reranker_gets_the_same_candidates(pair: Pair) -> None:
    single, sharded = (index.search("compass of part 2", 5, 40) for index in pair)
    assert {hit.score for hit in sharded} == {hit.score for hit in single} != {None}
    single_retrieved, retrieved = (index.retrieve("compass of part 2", 40) for index in pair)
    assert {candidate.id for candidate in retrieved.candidates} == {
        candidate.id for candidate in single_retrieved.candidates
    }


def test_documents_collapse_and_contexts_grow_as_in_one_index(pair: Pair) -> None:
    query = "lighthouse of part 3"
    single, sharded = (
        index.search(query, 3, collapse="document", rerank=False, mode="lexical") for index in pair
    )
    assert [hit.text for hit in sharded] == [hit.text for hit in single]
    contexts = [
        index.search(query, 1, rerank=False, mode="lexical").context(2_000) for index in pair
    ]
    assert contexts[0].text == contexts[1].text != ""


def test_passages_and_their_neighbours_are_those_of_one_index(pair: Pair) -> None:
    hit = pair[1].search("lighthouse of part 3", 1, rerank=False, mode="lexical")[0]
    around = [[row.text for row in index.neighbours(hit, 2, 2)] for index in pair]
    assert around[0] == around[1] and len(around[1]) == 4
    assert pair[0].passage(hit.id, 1, 1) == pair[1].passage(hit.id, 1, 1)
    with pytest.raises(InputError, match="no such passage"):
        pair[1].neighbours("nothing#0")


def test_citations_are_verified_by_hit_and_by_id(pair: Pair) -> None:
    hit = pair[1].search("the pilot knows the harbour", 1, rerank=False, mode="lexical")[0]
    assert [verdict.status for verdict in pair[1].verify_citations([hit, hit.id, "no#0"])] == [
        "verified",
        "verified",
        "unknown",
    ]


def test_a_filter_that_nothing_can_match_has_the_same_message(pair: Pair) -> None:
    messages = []
    for index in pair:
        with pytest.raises(InputError) as refused:
            index.search("keel", where="nokey = 1", rerank=False)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_an_evaluation_gets_the_same_candidates(pair: Pair) -> None:
    single, sharded = (FromIndex(index).retrieve("1", "keel of part 1", 20) for index in pair)
    assert {candidate.id for candidate in sharded.candidates} == {
        candidate.id for candidate in single.candidates
    }


def first_shard(index: Index) -> Snapshot:
    opened = index._loader.snapshot().result()
    assert isinstance(opened, ShardedSnapshot)
    return next(iter(opened.shards.values()))


def test_a_shard_that_is_late_delays_its_retriever_as_a_whole(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list without the documents of one shard would look like one that has all."""
    sharded = pair[1]
    first = sharded.search("keel of part 1", 10, rerank=False)
    release, search_shard = threading.Event(), View.shard_lexical
    late = first_shard(sharded)

    def wait(view: View, *arguments: Any) -> Part:
        if view._snapshot is late:
            release.wait(60)
        return search_shard(view, *arguments)

    monkeypatch.setattr(View, "shard_lexical", wait)
    try:
        ranking = sharded.search("keel of part 1", 10, rerank=False, budget_ms=2_000)
    finally:
        release.set()
    assert ranking.receipt.reason == "without the lexical retriever: time was up"
    assert len(ranking) == len(first)


def test_a_shard_that_cannot_be_read_fails_its_retriever_as_a_whole(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharded = pair[1]
    failing = first_shard(sharded)
    nearest = View.shard_dense

    def fail(view: View, *arguments: Any) -> Scored:
        if view._snapshot is failing:
            raise StoreError(f"{failing.uri}: the store is down")
        return nearest(view, *arguments)

    monkeypatch.setattr(View, "shard_dense", fail)
    ranking = sharded.search("keel of part 1", 10, rerank=False)
    assert ranking.receipt.reason and "the dense retriever" in ranking.receipt.reason
    lexical = sharded.search("keel of part 1", 10, rerank=False, mode="lexical")
    assert [hit.id for hit in ranking] == [hit.id for hit in lexical]
    with pytest.raises(StoreError, match="the store is down"):
        sharded.search("keel of part 1", 10, rerank=False, mode="dense")
