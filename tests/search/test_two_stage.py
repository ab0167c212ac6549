"""Proves what a search hands to the reranker, and that the first stage stands when that fails."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.fakes import HashingEmbedder
from index.shelf import Shelf
from resift.errors import RuntimeFailure
from resift.index.storage.location import locate
from resift.index.table.dataset import open_table
from resift.index.table.snapshot import Scored, Snapshot, View
from resift.search.fusion import fuse
from resift.search.index import Index
from resift.search.options import MODES, Mode, SearchOptions
from resift.types import Citation, Ranking
from search.opened import search_components as search
from search.stand_ins import Backwards, Broken, Picky

EMBEDDER = HashingEmbedder()
TEXTS = {"cat": "cat cat cat", "pets": "cat and dog", "dog": "dog dog", "bird": "a bird sings"}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    shelf = Shelf(tmp_path_factory.mktemp("search"))
    shelf.write(**TEXTS)
    shelf.sync()
    return shelf.snapshot()


@pytest.fixture(scope="module")
def remote(snapshot: Snapshot) -> Snapshot:
    """The same as if it lay in a bucket: what it reads counts as requests."""
    version, location = snapshot.version, locate(snapshot.uri)

    def table() -> object:
        return open_table(location, version=version.table_version)

    return Snapshot(snapshot.uri, version, table, is_local=False)


def first_stage(snapshot: Snapshot, query: str, plan: SearchOptions) -> Ranking:
    return search(query, snapshot, EMBEDDER, None, plan)


def names(ranking: Ranking) -> list[str]:
    return [Path(hit.citation.doc_id).stem for hit in ranking if hit.citation]


def test_without_a_reranker_the_first_stage_is_the_answer(snapshot: Snapshot) -> None:
    ranking = first_stage(snapshot, "a bird", SearchOptions(top_n=2))
    assert len(ranking) == 2
    assert names(ranking)[0] == "bird"
    assert [hit.first_stage_rank for hit in ranking] == [hit.rank for hit in ranking] == [1, 2]
    assert {(hit.score, hit.logit, hit.status) for hit in ranking} == {(None, None, "not_reranked")}
    receipt = ranking.receipt
    assert (receipt.depth, receipt.scored, receipt.partial, receipt.reason) == (4, 0, False, None)


@pytest.mark.parametrize(
    ("mode", "stages", "count"),
    [
        ("hybrid", ["table", "embed", "dense", "lexical", "fuse", "fetch"], 4),
        ("dense", ["table", "embed", "dense", "fetch"], 4),
        ("lexical", ["table", "lexical", "fetch"], 2),
    ],
)
def test_each_mode_uses_and_times_its_retrievers(
    snapshot: Snapshot, mode: Mode, stages: list[str], count: int
) -> None:
    ranking = first_stage(snapshot, "cat", SearchOptions(mode=mode))
    *timed, total = ranking.receipt.timings_ms  # the retrievers end in either order
    assert (sorted(timed), total) == (sorted(stages), "total")
    assert len(ranking) == count
    assert names(ranking)[0] == "cat"


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        (SearchOptions(top_n=5, depth=20), [60, 60]),
        (SearchOptions(top_n=30, depth=20), [90, 90]),
        (SearchOptions(top_n=5, depth=500), [1000, 1000]),
        (SearchOptions(top_n=5, depth=20, mode="lexical"), [20]),
        (SearchOptions(top_n=5, depth=20, mode="dense"), [20]),
        (SearchOptions(top_n=5, depth=20, where="doc_id in ('cat.txt', 'dog.txt')"), [2, 2]),
    ],
)
def test_each_of_two_retrievers_looks_three_times_as_deep_at_most_at_all_that_there_is(
    snapshot: Snapshot, options: SearchOptions, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def none(view: View, query: object, k: int, allowed: object = None) -> Scored:
        asked.append(k)
        return []

    monkeypatch.setattr(View, "lexical", none)
    monkeypatch.setattr(View, "dense", none)
    monkeypatch.setattr(View, "__len__", lambda view: 1000)
    first_stage(snapshot, "cat", options)
    assert asked == counts


def test_a_query_is_embedded_as_one_and_not_as_a_passage(snapshot: Snapshot) -> None:
    class Prompted(HashingEmbedder):
        def embed_query(self, query: str) -> NDArray[np.float32]:
            return super().embed_query(f"{query} bird sings")

    ranking = search("cat", snapshot, Prompted(), None, SearchOptions(mode="dense"))
    assert names(ranking)[0] == "bird"
    assert names(search("cat", snapshot, EMBEDDER, None, SearchOptions(mode="dense")))[0] == "cat"


def test_first_stage_scores_are_those_of_the_retriever_or_fused(snapshot: Snapshot) -> None:
    hits = {mode: first_stage(snapshot, "cat", SearchOptions(mode=mode)) for mode in MODES}
    best = {mode: ranking[0] for mode, ranking in hits.items()}
    cosine = float(EMBEDDER.embed(["cat"])[0] @ EMBEDDER.embed(["cat\ncat cat cat"])[0])
    assert best["dense"].first_stage_score == pytest.approx(cosine, abs=1e-5)
    numbers = {hit.id: number for number, hit in enumerate(hits["dense"])}
    lexical, dense = (
        [(numbers[hit.id], hit.first_stage_score or 0.0) for hit in hits[mode]]
        for mode in ("lexical", "dense")
    )
    fused = fuse(lexical, dense, len(snapshot), snapshot.version.vectors.spread)
    assert [hit.first_stage_score for hit in hits["hybrid"]] == pytest.approx(
        [score for _, score in fused]
    )
    assert best["lexical"].first_stage_score is not None
    assert best["lexical"].first_stage_score > 0


def test_the_reranker_gets_the_candidates_and_its_order_is_the_result(snapshot: Snapshot) -> None:
    reranker = Backwards()
    before = first_stage(snapshot, "cat dog", SearchOptions(top_n=3, depth=3))
    ranking = search("cat dog", snapshot, EMBEDDER, reranker, SearchOptions(top_n=2, depth=3))
    ((candidates, top_n, budget_ms),) = reranker.calls
    assert (top_n, budget_ms) == (2, None)
    assert [c.id for c in candidates] == [hit.id for hit in before]
    assert [c.rank for c in candidates] == [1, 2, 3]
    assert [c.score for c in candidates] == [hit.first_stage_score for hit in before]
    assert [hit.id for hit in ranking] == [hit.id for hit in before][:0:-1]
    assert list(ranking.receipt.timings_ms)[-3:] == ["fetch", "run", "total"]
    assert ranking.receipt.model == "backwards"


def test_a_candidate_has_a_citation(snapshot: Snapshot) -> None:
    reranker = Backwards()
    search("cat", snapshot, EMBEDDER, reranker, SearchOptions(top_n=1, depth=1))
    (candidate,) = reranker.calls[0][0]
    assert (candidate.title, candidate.text) == ("cat", "cat cat cat")
    assert candidate.citation and candidate.metadata == {}
    uri = candidate.citation.uri
    assert Path(uri).read_text() == "cat cat cat"
    assert candidate.id == f"{uri}#0"
    assert candidate.citation.etag
    etag = candidate.citation.etag
    assert candidate.citation == Citation(uri, "cat.txt", 0, 11, etag, line=1)


def test_metadata_is_the_documents_own_whatever_its_names_are(tmp_path: Path) -> None:
    """Also keys that the index uses itself: a row's own uri, page, start and row stay."""
    row = {"id": "a", "text": "a cat", "uri": "mine", "page": "first", "start": 7, "row": [1]}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "rows.jsonl").write_text(json.dumps(row))
    index = Index(str(tmp_path / "index"), embedder=EMBEDDER)
    index.sync(str(tmp_path / "docs"))
    (hit,) = index.search("cat", rerank=False)
    assert hit.metadata == {"uri": "mine", "page": "first", "start": 7, "row": [1]}
    assert hit.citation and hit.citation.uri.endswith("rows.jsonl") and hit.citation.start == 0


def test_the_receipt_names_the_version_and_what_it_took(
    snapshot: Snapshot, remote: Snapshot
) -> None:
    here = first_stage(snapshot, "cat", SearchOptions()).receipt
    there = first_stage(remote, "cat", SearchOptions()).receipt
    assert here.version == there.version == snapshot.version.number == 1
    assert (here.requests, here.bytes) == (0, 0)
    assert there.requests and there.bytes and there.requests > 2


@pytest.mark.parametrize("mode", MODES)
def test_a_condition_keeps_to_what_it_is_true_of_in_every_mode(
    snapshot: Snapshot, mode: Mode
) -> None:
    condition = "doc_id in ('pets.txt', 'bird.txt')"
    for query, expected in (("cat", {"pets"}), ("a bird", {"bird"})):
        ranking = first_stage(snapshot, query, SearchOptions(mode=mode, where=condition, top_n=1))
        assert set(names(ranking)) == expected
        every = first_stage(snapshot, query, SearchOptions(mode=mode, where=condition))
        assert set(names(every)) <= {"pets", "bird"}
        assert every.receipt.depth == len(every)


def test_with_few_requests_the_answer_is_what_was_found_by_then(
    snapshot: Snapshot, remote: Snapshot
) -> None:
    reranker = Backwards()
    plan = SearchOptions(top_n=1, max_requests=1)
    ranking = search("cat dog", remote, EMBEDDER, reranker, plan)
    words = first_stage(snapshot, "cat dog", SearchOptions(mode="lexical"))
    assert [hit.id for hit in ranking] == [hit.id for hit in words][:1]
    assert len(reranker.calls[0][0]) == 1
    assert (ranking.receipt.partial, ranking.receipt.reason) == (
        True,
        "max_requests=1 were made: without the dense retriever, the other candidates",
    )
    assert ranking.receipt.depth == len(words)


def test_with_enough_requests_nothing_is_left_out(snapshot: Snapshot, remote: Snapshot) -> None:
    plenty = SearchOptions(max_requests=10_000)
    ranking, expected = (
        search("cat dog", source, EMBEDDER, None, plan)
        for source, plan in ((remote, plenty), (snapshot, SearchOptions()))
    )
    assert ranking.hits == expected.hits
    assert not ranking.receipt.partial


@pytest.mark.parametrize(
    "error", [RuntimeFailure("no memory\ntrace"), ValueError("odd"), KeyError("x")]
)
def test_a_reranker_that_fails_leaves_the_first_stage(snapshot: Snapshot, error: Exception) -> None:
    expected = first_stage(snapshot, "cat dog", SearchOptions())
    ranking = search("cat dog", snapshot, EMBEDDER, Broken(error), SearchOptions())
    assert ranking.hits == expected.hits
    assert ranking.receipt.partial
    reason = str(ranking.receipt.reason)
    assert reason.startswith(f"the reranker failed: {type(error).__name__}")
    assert "\n" not in reason


def test_the_reranker_gets_what_is_left_of_the_budget(snapshot: Snapshot) -> None:
    reranker = Backwards()
    search("cat", snapshot, EMBEDDER, reranker, SearchOptions(), 60_000)
    left = reranker.calls[0][2]
    assert left is not None
    assert 0 < left < 60_000


def test_a_query_that_finds_nothing_is_an_empty_ranking(snapshot: Snapshot) -> None:
    assert len(first_stage(snapshot, "zzz", SearchOptions(mode="lexical"))) == 0
    ranking = search("zzz", snapshot, EMBEDDER, Backwards(), SearchOptions(mode="lexical"))
    assert len(ranking) == 0 and ranking.receipt.notes == ()


@pytest.mark.parametrize("query", ["\u200b", "...", "\0", "— !?"])
def test_a_query_without_a_word_says_why_it_finds_nothing(snapshot: Snapshot, query: str) -> None:
    ranking = first_stage(snapshot, query, SearchOptions(mode="lexical"))
    assert len(ranking) == 0 and not ranking.receipt.partial
    assert ranking.receipt.notes == (
        "the lexical retriever finds nothing: the query has no term, such as a word or a number",
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_condition_that_no_passage_meets_is_named(snapshot: Snapshot, mode: Mode) -> None:
    plan = SearchOptions(mode=mode, where="source starts with 'team/py/'")
    ranking = search("cat", snapshot, EMBEDDER, Backwards(), plan)
    assert len(ranking) == 0 and not ranking.receipt.partial
    assert ranking.receipt.notes == ("no passage matches where: source starts with 'team/py/'",)


class Listener(Backwards):
    """Records the queries, and awaits nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[str] = []

    def rank(self, query: str, documents: Any, **more: Any) -> Ranking:
        self.queries.append(query)
        return super().rank(query, documents, **more)


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("\uff43\uff41\uff54", "cat"),
        ("ca\u00adt", "cat"),
        ("cat\0dog", "cat dog"),
        ("cat\x01dog", "cat dog"),
        ("CAT  dog\n", "CAT  dog\n"),
        ("\u200b", "\u200b"),
    ],
)
def test_all_stages_read_a_query_in_the_form_of_indexed_text(
    snapshot: Snapshot, query: str, read: str
) -> None:
    listener = Listener()
    ranking = search(query, snapshot, EMBEDDER, listener, SearchOptions())
    assert listener.queries == [read]
    assert ranking.query == query, "the caller's own"
    for mode in MODES:
        plan = SearchOptions(mode=mode)
        assert names(first_stage(snapshot, query, plan)) == names(first_stage(snapshot, read, plan))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"min_score": 0.2},
        {"min_score": 0.0, "abstain_below": 0.7},
        {"exact": True, "tolerance": 0.25, "fusion_weight": 0.0},
        {"long_documents": "windows"},
    ],
)
def test_arguments_of_the_reranker_are_handed_on_only_where_they_are_set(
    snapshot: Snapshot, arguments: dict[str, Any]
) -> None:
    """So that rerankers which know nothing of them keep working."""
    reranker = Picky()
    ranking = search("cat", snapshot, EMBEDDER, reranker, SearchOptions(**arguments))
    assert reranker.arguments == [arguments]
    assert ranking.abstained and not ranking.receipt.partial
    assert not search("cat", snapshot, EMBEDDER, Backwards(), SearchOptions()).receipt.partial


def test_a_search_that_did_not_read_all_candidates_does_not_abstain(
    remote: Snapshot,
) -> None:
    plan = SearchOptions(top_n=1, max_requests=1, abstain_below=0.5)
    ranking = search("cat", remote, EMBEDDER, Picky(), plan)
    assert ranking.receipt.partial and not ranking.abstained


def test_a_search_without_scores_does_not_abstain(snapshot: Snapshot) -> None:
    plan = SearchOptions(min_score=0.5, abstain_below=0.5)
    ranking = search("cat", snapshot, EMBEDDER, Broken(RuntimeFailure("no")), plan)
    assert len(ranking) == 4 and ranking.receipt.partial and not ranking.abstained
