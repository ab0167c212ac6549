"""Reranking a run: the candidates are reordered, the tail stays behind them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from evaluation.small_collection import QUERIES, json_lines, make_collection, make_run
from resift import Candidate, Ranking, Receipt, Reranker
from resift.errors import DatasetError, InputError
from resift.evaluation.collection import Collection, open_collection
from resift.evaluation.finished_queries import FinishedQueries, in_order
from resift.evaluation.rerank_run import (
    QueryResult,
    RerankJob,
    RerankRunOptions,
    prepare,
    rerank_queries,
    reranked_lines,
)
from resift.evaluation.trec import read_run, write_run

RANKED = {"q1": ["d4", "d3", "d2", "d1"], "q2": ["d1", "d4"]}


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: these tests do not depend on it."""
    return in_one_runtime


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return open_collection(make_collection(tmp_path / "made"))


def _job(collection: Collection, tmp_path: Path, depth: int, ranked: object = None) -> RerankJob:
    run = make_run(tmp_path / "run", cast(dict[str, list[str]], ranked or RANKED))
    return prepare(collection, read_run(run), depth, "run")


def _lines(
    job: RerankJob,
    reranker: Reranker,
    options: RerankRunOptions,
    results: dict[str, QueryResult] | None = None,
) -> list[str]:
    """The lines of the reranked run; `results` gets the result of each query."""
    results = {} if results is None else results

    def advance(result: QueryResult) -> None:
        results[result.query_id] = result

    reranked = rerank_queries(map(job.query, job.known), reranker, options)
    ordered = in_order(job, FinishedQueries(None), reranked, advance)
    return list(reranked_lines(job, ordered, options))


class ByName:
    """Ranks by id, the lowest first, gives `logit`, and records its calls."""

    def __init__(self, joint: Reranker, logit: float | None = 0.5) -> None:
        self._joint, self._logit = joint, logit
        self.calls: list[tuple[str, list[Candidate], float | None]] = []

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        top_n: int | None = 10,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        fusion_weight: float | None = None,
    ) -> Ranking:
        assert top_n is None
        self.calls.append((query, list(documents), fusion_weight))
        ranking = self._joint.rank(query, documents, top_n=None)
        hits = sorted(ranking, key=lambda hit: hit.id)
        return replace(ranking, hits=tuple(replace(hit, logit=self._logit) for hit in hits))


def _rerank(job: RerankJob, reranker: ByName, tmp_path: Path) -> dict[str, list[str]]:
    """The reranked run, written to a file and read again."""
    lines = _lines(job, cast(Reranker, reranker), RerankRunOptions(0.25))
    write_run(tmp_path / "out", lines)
    run = read_run(tmp_path / "out")
    return {query_id: [entry.doc_id for entry in documents] for query_id, documents in run.items()}


def test_every_query_is_asked_with_its_candidates(
    collection: Collection, tmp_path: Path, joint: Reranker
) -> None:
    reranker = ByName(joint)
    _rerank(_job(collection, tmp_path, 3), reranker, tmp_path)
    assert [query for query, _, _ in reranker.calls] == list(QUERIES.values())
    _, candidates, weight = reranker.calls[0]
    assert weight == 0.25
    assert [(c.id, c.rank, c.score) for c in candidates] == [
        ("d4", 1, 10.0),
        ("d3", 2, 9.0),
        ("d2", 3, 8.0),
    ]


@pytest.mark.parametrize("logit", [0.5, -70.0, 1e6, None])
def test_the_candidates_are_reordered_and_the_tail_keeps_its_order(
    collection: Collection, tmp_path: Path, joint: Reranker, logit: float | None
) -> None:
    run = _rerank(_job(collection, tmp_path, 2), ByName(joint, logit), tmp_path)
    assert run == {"q1": ["d3", "d4", "d2", "d1"], "q2": ["d1", "d4"]}


def test_what_has_no_score_follows_at_steps_of_one(collection: Collection, tmp_path: Path) -> None:
    job, receipt = _job(collection, tmp_path, 3), cast(Receipt, object())
    result = QueryResult("q1", (("d3", 0.5), ("d4", -2.0)), ("d2",), receipt)
    assert job.ranked(result) == [("d3", 0.5), ("d4", -2.0), ("d2", -3.0), ("d1", -4.0)]
    result = QueryResult("q1", (), ("d4", "d3", "d2"), receipt)
    assert [score for _, score in job.ranked(result)] == [-1.0, -2.0, -3.0, -4.0]


def test_the_reranked_scores_are_logits(
    collection: Collection, tmp_path: Path, joint: Reranker
) -> None:
    job = _job(collection, tmp_path, 10)
    lines = _lines(job, joint, RerankRunOptions())
    texts = [job.documents[name].text for name in RANKED["q2"]]
    logits = sorted(joint.score(QUERIES["q2"], texts).tolist(), reverse=True)
    written = [float(line.split()[4]) for line in lines if line.startswith("q2 ")]
    assert written == pytest.approx(logits, abs=1e-3)
    assert all(math.isfinite(score) for score in written)


def test_progress_is_called_for_every_query(
    collection: Collection, tmp_path: Path, joint: Reranker
) -> None:
    heard: dict[str, QueryResult] = {}
    _lines(_job(collection, tmp_path, 3), joint, RerankRunOptions(), heard)
    depths = {name: result.receipt.depth for name, result in heard.items() if result.receipt}
    assert depths == {"q1": 3, "q2": 2}


@pytest.mark.parametrize("query", ["", "word " * 600])
def test_an_unreadable_query_keeps_its_order_and_affects_no_other(
    tmp_path: Path, joint: Reranker, query: str
) -> None:
    folder = make_collection(tmp_path / "made")
    rows = [{"_id": "q1", "text": query}, {"_id": "q2", "text": QUERIES["q2"]}]
    (folder / "queries.jsonl").write_text(json_lines(rows))
    heard: dict[str, QueryResult] = {}
    job = _job(open_collection(folder), tmp_path, 2)
    write_run(tmp_path / "out", _lines(job, joint, RerankRunOptions(), heard))
    run = read_run(tmp_path / "out")
    assert [entry.doc_id for entry in run["q1"]] == RANKED["q1"]
    assert [entry.score for entry in run["q1"]] == [10.0, 9.0, 8.0, 7.0]
    assert heard["q1"].problem and not heard["q1"].lost and heard["q2"].receipt


def test_a_wrong_weight_is_an_error_and_not_a_kept_order(
    collection: Collection, tmp_path: Path, joint: Reranker
) -> None:
    with pytest.raises(InputError, match="fusion_weight"):
        _lines(_job(collection, tmp_path, 2), joint, RerankRunOptions(-1))


def test_the_bundled_model_ranks_relevant_documents_first(
    collection: Collection, tmp_path: Path, bundled: Reranker
) -> None:
    ranked = {"q1": ["d4", "d3", "d1", "d2"], "q2": ["d1", "d2", "d3", "d4"]}
    write_run(
        tmp_path / "out.gz",
        _lines(_job(collection, tmp_path, 100, ranked), bundled, RerankRunOptions(0)),
    )
    run = read_run(tmp_path / "out.gz")
    assert run["q1"][0].doc_id == "d2"
    assert run["q2"][0].doc_id == "d4"
    assert [len(documents) for documents in run.values()] == [4, 4]


def test_a_document_without_text_ranks_last(tmp_path: Path, joint: Reranker) -> None:
    folder = make_collection(tmp_path / "made")
    rows = [{"_id": f"d{n}", "text": "" if n == 3 else "some text"} for n in range(1, 5)]
    (folder / "corpus.jsonl").write_text(json_lines(rows))
    job = _job(open_collection(folder), tmp_path, 3, {"q1": ["d3", "d2", "d1", "d4"]})
    lines = _lines(job, joint, RerankRunOptions(0))
    assert [line.split()[2] for line in lines] == ["d2", "d1", "d3", "d4"]


MANY = {"q1": ["d1", "d9", "d2"], "q2": ["d4", "d3"], "q9": ["d7", "d8"]}


def test_documents_that_the_collection_lacks_keep_their_order_and_are_noted(
    collection: Collection, tmp_path: Path, joint: Reranker
) -> None:
    job = _job(collection, tmp_path, 10, MANY)
    assert len(job.notes) == 2
    assert "run: 1 of 3 queries are not in" in job.notes[0] and "is q9" in job.notes[0]
    assert "run: 1 of 5 documents are not in" in job.notes[1] and "is d9" in job.notes[1]
    run = _rerank(job, ByName(joint), tmp_path)
    assert run["q9"] == MANY["q9"] and run["q1"][-1] == "d9"
    assert {name: set(entry) for name, entry in run.items()} == {
        name: set(entry) for name, entry in MANY.items()
    }


@pytest.mark.parametrize(
    ("ranked", "message"),
    [
        ({"q1": ["d1"], "q8": ["d1"], "q9": ["d1"]}, "run: 2 of 3 queries .*first is q8"),
        ({"q1": ["d1", "d9"], "q2": ["d8"]}, "run: 2 of 3 documents .*first is d8"),
    ],
)
def test_a_run_of_another_collection_is_refused(
    collection: Collection, tmp_path: Path, ranked: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        _job(collection, tmp_path, 10, ranked)


def test_ids_that_no_run_can_hold_are_refused_at_once(
    collection: Collection, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("q1\tQ0\ta document\t1\t2.0\tmade\n")
    with pytest.raises(DatasetError, match="document id 'a document' has blanks"):
        prepare(collection, read_run(tmp_path / "run"), 10, "run")


def test_unknown_documents_beyond_the_depth_are_ignored(
    collection: Collection, tmp_path: Path, joint: Reranker
) -> None:
    job = _job(collection, tmp_path, 1, {"q1": ["d1", "d9"]})
    assert _rerank(job, ByName(joint), tmp_path) == {"q1": ["d1", "d9"]}


@pytest.mark.parametrize("depth", [0, -3])
def test_a_depth_below_one_is_refused(collection: Collection, tmp_path: Path, depth: int) -> None:
    with pytest.raises(DatasetError, match=f"depth={depth}"):
        _job(collection, tmp_path, depth)
