"""Proves the PyTerrier transformers: frames in and out, order by score, experiments, no Java."""

import copy
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

os.environ["PT_TEST_TRANSFORMER_REPORTS"] = "0"
pytest.importorskip("pyterrier")
import numpy as np
import pandas as pd
import pyterrier as pt
from pyterrier.testing import transformer_test_class

from integrations.stand_ins import PETS, Reversing, pets_index
from resift import Candidate, Index, InputError, QueryError, Ranking, Reranker
from resift.errors import RerankerError
from resift.integrations.pyterrier import IndexRetriever, ResiftReranker

pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword:DeprecationWarning",  # pandas on PyTerrier
    "ignore:There are shared pipeline components:UserWarning",
)

QUERIES = {"b": "capital of Germany", "a": "cats and dogs"}
TEXTS = {
    "fr": "Paris is the capital of France.",
    "dog": "A dog.",
    "de": "Berlin is the capital of Germany.",
    "none": None,
    "pets": "Cats chase dogs.",
}
TOPICS = pd.DataFrame({"qid": ["a", "b"], "query": [QUERIES["a"], QUERIES["b"]]})
QRELS = pd.DataFrame({"qid": ["a", "b"], "docno": ["pets", "de"], "label": [1, 1]})


def results() -> pd.DataFrame:
    """Rows of two queries in turn, with an index that is of no use."""
    qids = ["b", "a", "b", "a", "a"]
    return pd.DataFrame(
        {
            "qid": qids,
            "query": [QUERIES[qid] for qid in qids],
            "docno": list(TEXTS),
            "text": list(TEXTS.values()),
            "score": [5.0, 4.0, 3.0, 2.0, 1.0],
            "rank": [0, 0, 1, 1, 2],
            "url": ["u1", "u2", "u3", "u4", "u5"],
        },
        index=[7, 7, 3, 2, 1],
    )


@pytest.fixture
def reranker(in_one_runtime: Reranker) -> ResiftReranker:
    return ResiftReranker(reranker=in_one_runtime)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return pets_index(tmp_path)


def docnos(frame: pd.DataFrame, qid: str) -> list[str]:
    docnos: list[str] = frame[frame["qid"] == qid].sort_values("rank")["docno"].tolist()
    return docnos


def test_the_order_and_the_scores_are_the_rerankers(
    reranker: ResiftReranker, in_one_runtime: Reranker
) -> None:
    given = results()
    frame = reranker(given)
    for qid, query in QUERIES.items():
        rows = given[given["qid"] == qid]
        documents = [Candidate(*row) for row in zip(rows["docno"], rows["text"], strict=True)]
        ranking = in_one_runtime.rank(query, documents)
        mine = frame[frame["qid"] == qid]
        assert mine["docno"].tolist() == [hit.id for hit in ranking]
        assert mine["rank"].tolist() == list(range(len(ranking)))
        assert mine["relevance_status"].tolist() == [hit.status for hit in ranking]
        scored = [hit.score for hit in ranking if hit.score is not None]
        assert mine["score"].tolist()[: len(scored)] == pytest.approx(scored, abs=1e-6)
    assert frame["qid"].tolist() == ["b", "b", "a", "a", "a"]
    assert frame["score"].dtype == np.float64


def test_other_columns_stay_and_the_input_is_not_changed(reranker: ResiftReranker) -> None:
    given = results()
    before = given.copy(deep=True)
    frame = reranker(given)
    pd.testing.assert_frame_equal(given, before)
    urls = dict(zip(before["docno"], before["url"], strict=True))
    assert frame["url"].tolist() == [urls[docno] for docno in frame["docno"]]
    assert list(frame.columns) == [
        "qid", "query", "docno", "text", "url", "score", "relevance_status", "rank",
    ]  # fmt: skip
    assert frame.index.tolist() == [0, 1, 2, 3, 4]
    again = reranker(frame)  # its own output is an input
    assert list(again.columns) == list(frame.columns)


def test_rows_without_a_score_stay_behind_and_tell_why(reranker: ResiftReranker) -> None:
    given = results()
    given.loc[given["docno"] == "dog", "text"] = ""
    frame = reranker(given)
    assert docnos(frame, "a") == ["pets", "dog", "none"]
    last = frame[frame["qid"] == "a"].iloc[1:]
    assert last["score"].tolist() == [-1.0, -2.0]
    assert last["relevance_status"].tolist() == ["empty", "not_text"]


def test_a_budget_of_nothing_leaves_the_order_and_tells_so(in_one_runtime: Reranker) -> None:
    given = results().assign(query="never asked")
    late = ResiftReranker(reranker=in_one_runtime, budget_ms=0)
    frame = late(given)
    assert docnos(frame, "a") == ["dog", "none", "pets"]
    assert frame["score"].tolist() == [-1.0, -2.0, -1.0, -2.0, -3.0]
    receipt = late.rankings(given)["a"].receipt
    assert receipt.partial and receipt.late + receipt.skipped == 3


class Recording:
    """A reranker that records how it is called."""

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

    def rank(self, *arguments: Any, **options: Any) -> Ranking:
        raise AssertionError("one call for all queries")

    def rank_many(self, queries: list[str], documents: Any, **options: Any) -> list[Ranking]:
        self.calls.append((list(queries), options))
        return self.reranker.rank_many(queries, documents, **options)


def test_one_call_ranks_all_queries_and_they_share_their_budgets(in_one_runtime: Reranker) -> None:
    recording = Recording(in_one_runtime)
    ResiftReranker(reranker=recording, budget_ms=60_000)(results())
    expected = {"top_n": None, "budget_ms": 120_000.0}
    assert recording.calls == [(["capital of Germany", "cats and dogs"], expected)]


def test_a_ranker_of_one_query_gets_each_budget_and_what_is_set() -> None:
    ranker = Reversing()  # raises TypeError for more
    frame = ResiftReranker(reranker=ranker, budget_ms=50, top_n=2)(results())
    assert [call[0] for call in ranker.calls] == ["capital of Germany", "cats and dogs"]
    assert [call[2:] for call in ranker.calls] == [(2, 50.0)] * 2
    assert docnos(frame, "b") == ["de", "fr"] and docnos(frame, "a") == ["pets", "none"]


def test_a_ranking_that_is_none_is_refused() -> None:
    class Short(Reversing):
        def rank(self, *arguments: Any, **options: Any) -> Ranking:
            ranking = super().rank(*arguments, **options)
            return replace(ranking, hits=ranking.hits[:1])

    with pytest.raises(RerankerError, match="returned 1 hits"):
        ResiftReranker(reranker=Short())(results())


def test_scores_never_rise_even_where_a_ranker_orders_by_something_else() -> None:
    class Odd(Reversing):
        scores: tuple[float | None, ...] = ()

        def rank(self, *arguments: Any, **options: Any) -> Ranking:
            ranking = super().rank(*arguments, **options)
            pairs = zip(ranking.hits, self.scores, strict=False)
            return replace(ranking, hits=tuple(replace(hit, score=score) for hit, score in pairs))

    odd = Odd()
    given = results()
    given = given[given["qid"] == "a"]
    odd.scores = (0.1, 0.1, 0.1)
    wanted = [hit.id for hit in odd.rank("q", [Candidate(n, "x") for n in given["docno"]])]
    for scores, numbers in [
        ((0.2, 0.7, 0.1), [0.2, 0.2, 0.1]),
        ((None, 0.2, 0.7), [-1.0, -1.0, -1.0]),
        ((-5.0, None, None), [-5.0, -6.0, -7.0]),
    ]:
        odd.scores = scores
        frame = ResiftReranker(reranker=odd)(given)
        assert frame["score"].tolist() == numbers
        assert frame.sort_values("rank")["docno"].tolist() == wanted


def test_the_scores_of_the_first_stage_count_only_if_wanted(in_one_runtime: Reranker) -> None:
    given = results()[lambda frame: frame["docno"] != "none"]
    rows = given[given["qid"] == "b"]
    documents = [
        Candidate(docno, text, score=score)
        for docno, text, score in zip(rows["docno"], rows["text"], rows["score"], strict=True)
    ]
    for weight in (None, 5.0):
        fused = ResiftReranker(reranker=in_one_runtime, use_scores=True, fusion_weight=weight)
        ranking = in_one_runtime.rank(QUERIES["b"], documents, fusion_weight=weight)
        assert fused.rankings(given)["b"].receipt.fusion_weight == ranking.receipt.fusion_weight
        scores = fused(rows)["score"].tolist()
        assert scores == pytest.approx([hit.score for hit in ranking], abs=1e-6)
    plain = ResiftReranker(reranker=in_one_runtime).rankings(given)
    assert plain["b"].receipt.fusion_weight == 0.0


def test_columns_of_other_names_are_read(in_one_runtime: Reranker) -> None:
    ranker = Reversing()
    given = results().rename(columns={"text": "body"}).assign(name=["T", None, "", "x", np.nan])
    frame = ResiftReranker(reranker=ranker, text_attr="body", title_attr="name")(given)
    assert [(d.title, d.text) for d in ranker.calls[0][1]] == [
        ("T", TEXTS["fr"]),
        ("", TEXTS["de"]),
    ]
    assert "body" in frame and "name" in frame
    titled = ResiftReranker(reranker=in_one_runtime, text_attr="body", title_attr="name")
    assert len(titled(given)) == 5


def test_numbers_as_ids_stay_numbers(reranker: ResiftReranker) -> None:
    given = results().assign(qid=[2, 1, 2, 1, 1], docno=[10, 11, 12, 13, 14])
    frame = reranker(given)
    assert frame["docno"].tolist()[:2] == [12, 10] and list(reranker.rankings(given)) == [2, 1]


def test_duplicates_stay(reranker: ResiftReranker) -> None:
    frame = reranker(pd.concat([results(), results()]))
    assert len(frame) == 10
    assert docnos(frame, "b") == ["de", "de", "fr", "fr"]


def test_an_empty_frame_opens_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.integrations.lazy_ranker.open_ranker", None)
    empty = ResiftReranker()
    frame = empty(results().iloc[:0])
    assert len(frame) == 0
    assert list(frame.columns) == [
        "qid", "query", "docno", "text", "url", "score", "relevance_status", "rank",
    ]  # fmt: skip
    assert empty.rankings(results().iloc[:0]) == {}


@pytest.mark.parametrize("column", ["qid", "query", "docno", "text", "score", "title"])
def test_a_missing_column_is_pyterriers_error(column: str, reranker: ResiftReranker) -> None:
    needy = ResiftReranker(use_scores=True, title_attr="title", reranker=Reversing())
    with pytest.raises(pt.validate.InputValidationError, match=column):
        needy(results().assign(title="").drop(columns=column))


def test_wrong_arguments_and_queries_are_refused(reranker: ResiftReranker) -> None:
    for options in ({"top_n": 0}, {"budget_ms": -1}, {"fusion_weight": 1}, {"use_scores": "no"}):
        with pytest.raises(InputError, match="="):
            ResiftReranker(**options)
    for query in ("", None, np.nan):
        with pytest.raises(QueryError, match=r"queries\[0\]"):
            reranker(results().assign(query=query))


def test_a_cutoff_is_compiled_into_top_n(reranker: ResiftReranker) -> None:
    pipeline = pt.Transformer.from_df(results().drop(columns="query")) >> reranker % 1
    compiled = pipeline.compile()
    assert [type(part) for part in compiled] == [pt.transformer.SourceTransformer, ResiftReranker]
    assert compiled[1].top_n == 1 and reranker.top_n is None
    assert reranker.fuse_rank_cutoff(5).fuse_rank_cutoff(9).top_n == 5
    for frame in (pipeline(TOPICS), compiled(TOPICS)):
        assert dict(zip(frame["qid"], frame["docno"], strict=True)) == {"a": "pets", "b": "de"}


def test_min_score_leaves_rows_out(in_one_runtime: Reranker) -> None:
    frame = ResiftReranker(reranker=in_one_runtime, min_score=0.9)(results())
    assert frame["docno"].tolist() == ["de"]


def test_an_experiment_runs(reranker: ResiftReranker, index: Index) -> None:
    first = pt.Transformer.from_df(results().drop(columns="query"))
    table = pt.Experiment(
        [first, first >> reranker, first >> reranker % 1],
        TOPICS,
        QRELS,
        ["recip_rank"],
        names=["first", "reranked", "cut"],
    )
    values = dict(zip(table["name"], table["recip_rank"], strict=True))
    assert values == {"first": pytest.approx((1 / 3 + 1 / 2) / 2), "reranked": 1.0, "cut": 1.0}
    assert not pt.java.started()


def test_it_composes_with_other_operators(reranker: ResiftReranker) -> None:
    first = pt.Transformer.from_df(results().drop(columns="query"))
    mixed = (first >> reranker) * 2 + first
    scores = dict(zip(mixed(TOPICS)["docno"], mixed(TOPICS)["score"], strict=True))
    assert scores["none"] == 2.0 * -2.0 + 2.0 or scores["none"] == 2.0 * -1.0 + 2.0
    features = first >> (pt.Transformer.identity() ** reranker)
    assert features(TOPICS)["features"].iloc[0].shape == (2,)


def test_a_grid_search_tunes_its_parameters(in_one_runtime: Reranker) -> None:
    given = results()[lambda frame: frame["docno"] != "none"]
    reranker = ResiftReranker(reranker=in_one_runtime, use_scores=True, fusion_weight=50.0)
    pipeline = pt.Transformer.from_df(given.drop(columns="query")) >> reranker
    assert docnos(pipeline(TOPICS), "b") == ["fr", "de"]
    parameters = {reranker: {"fusion_weight": [50.0, 0.0]}}
    pt.GridSearch(pipeline, parameters, TOPICS, QRELS, "recip_rank", verbose=False)
    assert reranker.fusion_weight == 0.0 and docnos(pipeline(TOPICS), "b") == ["de", "fr"]
    names = [attribute.name for attribute in pt.inspect.transformer_attributes(reranker)]
    assert names[:4] == ["model", "text_attr", "title_attr", "top_n"]


def test_copies_and_pickles_rank_the_same(reranker: ResiftReranker) -> None:
    wanted = reranker(results())
    for copied in (copy.copy(reranker), copy.deepcopy(reranker)):
        pd.testing.assert_frame_equal(copied(results()), wanted)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(reranker))(results()), wanted)


def test_a_search_gives_a_results_frame(index: Index) -> None:
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["the cat", "the dog"], "lang": ["en"] * 2})
    before = topics.copy(deep=True)
    frame = IndexRetriever(index, top_n=3)(topics)
    pd.testing.assert_frame_equal(topics, before)
    assert list(frame.columns) == [
        "qid", "query", "lang", "docno", "title", "text", "metadata", "citation", "score",
        "relevance_status", "rank",
    ]  # fmt: skip
    for qid, query in zip(topics["qid"], topics["query"], strict=True):
        ranking, rows = index.search(query, top_n=3), frame[frame["qid"] == qid]
        assert rows["docno"].tolist() == [hit.id for hit in ranking]
        assert rows["score"].tolist() == [hit.score for hit in ranking]
        assert rows["rank"].tolist() == [0, 1, 2]
        assert rows["query"].tolist() == [query] * 3
        assert [metadata["keeper"] for metadata in rows["metadata"]] == ["Ada"] * 3
        assert rows["citation"].tolist() == [hit.citation for hit in ranking]


def test_documents_are_named_for_qrels_of_documents(index: Index) -> None:
    frame = IndexRetriever(index, collapse="document")(TOPICS)
    ranking = index.search(QUERIES["a"], collapse="document")
    assert [hit.citation.doc_id for hit in ranking if hit.citation] == docnos(frame, "a")
    assert all(docno.endswith(".md") for docno in frame["docno"])


def test_an_index_is_the_first_stage_of_a_pipeline(index: Index, in_one_runtime: Reranker) -> None:
    first = IndexRetriever(index, rerank=False)
    ranking = index.search("the cat", rerank=False)
    frame = first.search("the cat")
    assert frame["score"].tolist() == [hit.first_stage_score for hit in ranking]
    pipeline = pt.Compose(first, ResiftReranker(reranker=in_one_runtime) % 1).compile()
    top = pipeline.search("the cat")
    assert top["title"].tolist() == ["The cat"]
    qrels = pd.DataFrame({"qid": ["1"], "docno": top["docno"], "label": [1]})
    topics = pd.DataFrame({"qid": ["1"], "query": ["the cat"]})
    table = pt.Experiment([pipeline], topics, qrels, ["recip_rank"])
    assert table["recip_rank"].tolist() == [1.0]


def test_a_cutoff_is_compiled_into_the_search(index: Index) -> None:
    pipeline = pt.Compose(IndexRetriever(index), pt.RankCutoff(2)).compile()
    assert isinstance(pipeline, IndexRetriever) and pipeline.top_n == 2
    assert pipeline.index is index and len(pipeline(TOPICS)) == 4


def test_options_of_a_search_reach_the_index(index: Index) -> None:
    filtered = IndexRetriever(index, where="title = 'The dog'")
    assert filtered(TOPICS)["title"].tolist() == ["The dog"] * 2
    assert filtered.search_index("the cat").receipt.version == 1
    assert IndexRetriever(index, budget_ms=0).search_index("the cat").receipt.partial
    for options in ({"mode": "best"}, {"top_n": 0}, {"depth": None, "where": "title ="}):
        with pytest.raises(InputError):
            IndexRetriever(index, **options)
    with pytest.raises(InputError, match="index=3"):
        IndexRetriever(3)  # type: ignore[arg-type]


def test_queries_without_hits_have_no_rows(index: Index) -> None:
    nothing = IndexRetriever(index, where="title = 'The cow'")(TOPICS)
    assert len(nothing) == 0 and "docno" in nothing and "rank" in nothing
    assert len(IndexRetriever(index)(TOPICS.iloc[:0])) == 0


def test_a_results_frame_is_no_query_frame(index: Index) -> None:
    with pytest.raises(pt.validate.InputValidationError, match="docno"):
        IndexRetriever(index)(results())
    with pytest.raises(pt.validate.InputValidationError, match="query"):
        IndexRetriever(index)(TOPICS.drop(columns="query"))


def test_a_pickled_retriever_opens_its_index_again(index: Index) -> None:
    retriever = IndexRetriever(index.uri, mode="lexical", rerank=False)
    again = pickle.loads(pickle.dumps(retriever))
    assert again(TOPICS.assign(query="the cat"))["docno"].nunique() == len(PETS)


def _case(make: Callable[[], Any]) -> Any:
    return transformer_test_class(make)


class TestReranker(_case(ResiftReranker)):  # type: ignore[misc]
    """PyTerrier's own checks of a transformer's columns and its drawing."""


class TestRetriever(_case(lambda: IndexRetriever("some-index"))):  # type: ignore[misc]
    """The same."""
