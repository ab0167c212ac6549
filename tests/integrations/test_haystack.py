"""Proves the Haystack components: order, copies, statuses, sockets, YAML, pipelines, async."""

import asyncio
import copy
import os
from pathlib import Path
from typing import Any

import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
pytest.importorskip("haystack")
from haystack import Document, Pipeline, component
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.core.component import Component
from haystack.core.errors import DeserializationError, SerializationError
from haystack.core.serialization import component_from_dict, component_to_dict
from haystack.dataclasses import ByteStream
from haystack.document_stores.in_memory import InMemoryDocumentStore

from integrations.stand_ins import PETS, Reversing, pets_index
from resift import Candidate, Index, InputError, QueryError, Reranker
from resift.integrations import lazy_ranker
from resift.integrations.haystack import ResiftRanker, ResiftRetriever

QUERY = "capital of Germany"
ALLOWED = ["resift.*"]


def documents() -> list[Document]:
    return [
        Document(id="fr", content="Paris is the capital of France.", meta={"page": 1}, score=9.0),
        Document(id="image", blob=ByteStream(b"..."), meta={"caption": "A photo of Berlin"}),
        Document(id="de", content="Berlin is the capital of Germany.", score=1.0,
                 embedding=[0.5, 0.25], meta={"tags": ["a"]}),
        Document(id="empty", content="  ", score=3.0),
    ]  # fmt: skip


@pytest.fixture
def ranker(in_one_runtime: Reranker) -> ResiftRanker:
    return ResiftRanker(reranker=in_one_runtime)


def ids(result: dict[str, Any]) -> list[str]:
    return [document.id for document in result["documents"]]


def test_the_order_and_the_scores_are_the_rerankers(
    ranker: ResiftRanker, in_one_runtime: Reranker
) -> None:
    given = documents()
    result = ranker.run(QUERY, given)
    ranking = in_one_runtime.rank(QUERY, [Candidate(d.id, d.content) for d in given], top_n=10)
    assert ids(result) == [hit.id for hit in ranking] == ["de", "fr", "image", "empty"]
    assert [document.score for document in result["documents"]] == [hit.score for hit in ranking]
    assert all(type(document.score) is float for document in result["documents"][:2])
    assert result["receipt"]["depth"] == 4 and result["receipt"]["skipped"] == 2


def test_documents_are_copies_with_all_that_they_had(ranker: ResiftRanker) -> None:
    given = documents()
    before = copy.deepcopy(given)
    first = ranker.run(QUERY, given)["documents"][0]
    assert given == before
    assert first is not given[2] and first.meta is not given[2].meta
    assert first.embedding == [0.5, 0.25] and first.content == given[2].content
    assert first.meta == {"tags": ["a"], "relevance_status": "ok"}


def test_unreadable_documents_follow_and_say_why(ranker: ResiftRanker) -> None:
    *_, image, empty = ranker.run(QUERY, documents())["documents"]
    assert image.blob is not None and image.score is None
    assert image.meta["relevance_status"] == "not_text"
    assert empty.score is None and empty.meta["relevance_status"] == "empty"


def test_of_one_id_the_document_with_the_highest_score_is_ranked(ranker: ResiftRanker) -> None:
    twice = [
        Document(id="x", content="low", score=-2.0),
        Document(id="y", content="other"),
        Document(id="x", content="high", score=0.0),
        Document(id="x", content="none"),
        Document(id="y", content="second"),
    ]
    texts = {d.id: d.content for d in ranker.run("high or other", twice)["documents"]}
    assert texts == {"x": "high", "y": "other"}


def test_meta_fields_are_read_before_the_content() -> None:
    reranker = Reversing()
    ranker = ResiftRanker(
        reranker=reranker, meta_fields_to_embed=["caption", "page"], meta_data_separator=" | "
    )
    ranker.run(QUERY, documents())
    assert [document.text for document in reranker.calls[0][1]] == [
        "1 | Paris is the capital of France.",
        "A photo of Berlin | ",
        "Berlin is the capital of Germany.",
        "  ",
    ]


def test_scores_of_the_retriever_count_only_if_wanted(in_one_runtime: Reranker) -> None:
    given = [document for document in documents() if document.score is not None]
    candidates = [Candidate(d.id, d.content, score=d.score) for d in given]
    for weight in (None, 5.0):
        fused = ResiftRanker(reranker=in_one_runtime, use_scores=True, fusion_weight=weight)
        wanted = in_one_runtime.rank(QUERY, candidates, top_n=10, fusion_weight=weight)
        assert [d.score for d in fused.run(QUERY, given)["documents"]] == [h.score for h in wanted]
    plain = ResiftRanker(reranker=in_one_runtime).run(QUERY, given)
    assert plain["receipt"]["fusion_weight"] == 0.0


def test_a_budget_of_nothing_leaves_the_order_and_says_so(in_one_runtime: Reranker) -> None:
    result = ResiftRanker(reranker=in_one_runtime, budget_ms=0).run("never asked", documents())
    assert ids(result) == ["fr", "image", "de", "empty"]
    assert [document.score for document in result["documents"]] == [None] * 4
    assert result["documents"][0].meta["relevance_status"] == "late"
    assert result["receipt"]["partial"] and result["receipt"]["reason"]


def test_arguments_of_a_run_replace_those_of_the_constructor(in_one_runtime: Reranker) -> None:
    ranker = ResiftRanker(top_k=1, reranker=in_one_runtime)
    assert len(ranker.run(QUERY, documents())["documents"]) == 1
    assert len(ranker.run(QUERY, documents(), top_k=3)["documents"]) == 3
    assert ids(ranker.run(QUERY, documents(), top_k=3, score_threshold=0.5)) == ["de"]
    assert ranker.run("asked never", documents(), budget_ms=0)["receipt"]["partial"]
    everything = ResiftRanker(top_k=None, reranker=in_one_runtime)
    assert len(everything.run(QUERY, documents() * 2)["documents"]) == 4


def test_a_ranker_gets_the_options_that_are_set_and_no_others() -> None:
    reranker = Reversing()  # raises TypeError for more
    result = ResiftRanker(reranker=reranker, budget_ms=50).run(QUERY, documents(), top_k=2)
    assert reranker.calls[0][2:] == (2, 50.0)
    assert ids(result) == ["empty", "de"]


def test_nothing_to_rank_is_no_error(ranker: ResiftRanker) -> None:
    result = ranker.run(QUERY, [])
    assert result["documents"] == [] and result["receipt"]["depth"] == 0


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "many", True])
def test_a_wrong_top_k_is_a_value_error_as_in_haystack(top_k: Any) -> None:
    for refused in (lambda: ResiftRanker(top_k=top_k), lambda: ResiftRetriever("i", top_k=top_k)):
        with pytest.raises(ValueError, match="top_k="):
            refused()
    with pytest.raises(InputError, match="top_k="):
        ResiftRanker(reranker=Reversing()).run(QUERY, documents(), top_k=top_k)


def test_other_wrong_arguments_are_refused(ranker: ResiftRanker) -> None:
    with pytest.raises(InputError, match="min_score=2"):
        ResiftRanker(score_threshold=2)
    with pytest.raises(QueryError, match="empty"):
        ranker.run(" ", documents())
    for wrong in (["text"], "text", documents()[0], None):
        with pytest.raises(InputError, match="expected a list of haystack's Document"):
            ranker.run(QUERY, wrong)


def test_run_async_gives_the_same(ranker: ResiftRanker) -> None:
    wanted = ranker.run(QUERY, documents())["documents"]
    assert asyncio.run(ranker.run_async(QUERY, documents()))["documents"] == wanted


def test_a_model_is_loaded_by_warm_up_once_and_released_by_close(
    monkeypatch: pytest.MonkeyPatch, in_one_runtime: Reranker
) -> None:
    opened: list[str | None] = []

    class Model(Reversing):
        def __init__(self, name: str | None) -> None:
            super().__init__()
            opened.append(name)

        def close(self) -> None:
            opened.append("closed")

    monkeypatch.setattr(lazy_ranker, "open_ranker", Model)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ResiftRanker("a-model"))
    assert opened == []
    for _ in range(2):
        pipeline.run({"ranker": {"query": QUERY, "documents": documents()}})
    asyncio.run(pipeline.run_async({"ranker": {"query": QUERY, "documents": documents()}}))
    assert opened == ["a-model"]
    pipeline.close()
    assert opened == ["a-model", "closed"]
    ResiftRanker("first").warm_up()
    asyncio.run(ResiftRanker("second").warm_up_async())
    assert opened[2:] == ["first", "second"]


def pipeline_with(ranker: ResiftRanker) -> Pipeline:
    store = InMemoryDocumentStore()
    store.write_documents([d for d in documents() if d.content])
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=30))
    pipeline.add_component("ranker", ranker)
    pipeline.connect("retriever.documents", "ranker.documents")
    return pipeline


def test_it_runs_behind_a_retriever_sync_and_async(ranker: ResiftRanker) -> None:
    pipeline = pipeline_with(ranker)
    data = {"retriever": {"query": QUERY}, "ranker": {"query": QUERY, "top_k": 2}}
    result = pipeline.run(data)["ranker"]
    assert ids(result) == ["de", "fr"] and result["receipt"]["scored"] >= 2
    assert asyncio.run(pipeline.run_async(data))["ranker"]["documents"] == result["documents"]


def test_a_pipeline_goes_through_yaml() -> None:
    options: dict[str, Any] = {
        "model": None, "top_k": 7, "score_threshold": 0.25, "meta_fields_to_embed": ["caption"],
        "meta_data_separator": " - ", "budget_ms": 500.0, "exact": True,
        "long_documents": "windows", "use_scores": True, "fusion_weight": 0.5, "reranker": None,
    }  # fmt: skip
    pipeline = pipeline_with(ResiftRanker(**options))
    text = pipeline.dumps()
    again = Pipeline.loads(text, allowed_modules=ALLOWED)
    assert again.dumps() == text
    ranker = again.get_component("ranker")
    assert {name: getattr(ranker, name) for name in options} == options
    assert ranker.to_dict() == {
        "type": "resift.integrations.haystack.ResiftRanker",
        "init_parameters": options,
    }
    with pytest.raises(DeserializationError, match="allowlist"):
        Pipeline.loads(text)


def test_components_go_through_haystacks_own_serialisation(tmp_path: Path) -> None:
    for instance in (ResiftRanker(top_k=3), ResiftRetriever(tmp_path, mode="lexical")):
        assert isinstance(instance, Component)
        data = component_to_dict(instance, "name")
        again = component_from_dict(type(instance), data, "name")
        assert type(again) is type(instance) and component_to_dict(again, "name") == data


def test_a_ranker_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    pipeline = Pipeline()
    pipeline.add_component("ranker", ResiftRanker(reranker=Reversing()))
    with pytest.raises(SerializationError, match="under key 'reranker'"):
        pipeline.dumps()


def test_sockets_have_types_that_other_components_connect_to() -> None:
    @component
    class Taker:
        @component.output_types(depth=int)
        def run(self, documents: list[Document], receipt: dict[str, Any]) -> dict[str, int]:
            return {"depth": receipt["depth"]}

    pipeline = Pipeline()
    pipeline.add_component("ranker", ResiftRanker(reranker=Reversing()))
    pipeline.add_component("taker", Taker())
    pipeline.connect("ranker.documents", "taker.documents")
    pipeline.connect("ranker.receipt", "taker.receipt")
    result = pipeline.run({"ranker": {"query": QUERY, "documents": documents()}})
    assert result == {"taker": {"depth": 4}}


def test_a_retriever_gives_passages_with_their_origin(tmp_path: Path) -> None:
    index = pets_index(tmp_path)
    ranking = index.search("the cat", top_n=3, depth=5)
    result = ResiftRetriever(index, top_k=3, depth=5).run("the cat")
    assert ids(result) == [hit.id for hit in ranking]
    assert [document.score for document in result["documents"]] == [hit.score for hit in ranking]
    first, hit = result["documents"][0], ranking[0]
    assert first.content == hit.text and first.meta["keeper"] == "Ada"
    assert first.meta["title"].startswith("The ") and first.meta["relevance_status"] == "ok"
    assert first.meta["citation"]["uri"].endswith(".md")
    claim = {"id": first.id, "text": first.content, "citation": first.meta["citation"]}
    assert index.verify_citation(claim).status == "verified"
    assert result["receipt"]["version"] == 1


def test_a_retriever_without_reranking_gives_the_first_stages_scores(tmp_path: Path) -> None:
    index = pets_index(tmp_path)
    ranking = index.search("the cat", rerank=False)
    result = ResiftRetriever(index, rerank=False).run("the cat", top_k=5)
    assert ids(result) == [hit.id for hit in ranking] and len(ranking) == len(PETS)
    assert [d.score for d in result["documents"]] == [h.first_stage_score for h in ranking]
    assert all(type(document.score) is float for document in result["documents"])


def test_a_retriever_goes_through_yaml_with_its_uri(
    tmp_path: Path, in_one_runtime: Reranker
) -> None:
    uri = pets_index(tmp_path).uri
    pipeline = Pipeline()
    pipeline.add_component("retriever", ResiftRetriever(uri, 2, mode="lexical", rerank=False))
    pipeline.add_component("ranker", ResiftRanker(reranker=in_one_runtime))
    pipeline.connect("retriever.documents", "ranker.documents")
    saved = component_to_dict(pipeline.get_component("retriever"), "retriever")
    assert saved["init_parameters"]["index"] == uri
    alone = Pipeline()
    alone.add_component("retriever", ResiftRetriever(uri, 2, mode="lexical", rerank=False))
    again = Pipeline.loads(alone.dumps(), allowed_modules=ALLOWED)
    data = {"retriever": {"query": "the cat"}}
    result = again.run(data)["retriever"]
    assert ids(result) == ids(alone.run(data)["retriever"]) and len(ids(result)) == 2
    assert ids(asyncio.run(again.run_async(data))["retriever"]) == ids(result)
    again.close()
    assert ids(again.run(data)["retriever"]) == ids(result)
    reranked = pipeline.run({"retriever": {"query": "cat"}, "ranker": {"query": "cat"}})
    assert reranked["ranker"]["documents"][0].meta["title"] == "The cat"


def test_filters_and_budgets_of_a_run_reach_the_index(tmp_path: Path) -> None:
    retriever = ResiftRetriever(pets_index(tmp_path))
    documents = retriever.run("the cat", where="title = 'The dog'")["documents"]
    assert [document.meta["title"] for document in documents] == ["The dog"]
    assert retriever.run("the cat", budget_ms=0)["receipt"]["partial"]


def test_an_index_that_was_passed_in_is_not_closed_nor_saved(tmp_path: Path) -> None:
    index = pets_index(tmp_path)
    retriever = ResiftRetriever(index)
    retriever.warm_up()
    retriever.close()
    assert index.opened is not None
    with pytest.raises(SerializationError, match="under key 'index'"):
        component_to_dict(retriever, "retriever")


@pytest.mark.parametrize(
    "options", [{"mode": "best"}, {"depth": 0}, {"where": "title ="}, {"budget_ms": -1}]
)
def test_wrong_options_of_a_search_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ResiftRetriever("some-index", **options)
    with pytest.raises(InputError, match="index=3"):
        ResiftRetriever(3)  # type: ignore[arg-type]


def test_threads_share_a_component(tmp_path: Path, ranker: ResiftRanker) -> None:
    async def many() -> list[dict[str, Any]]:
        runs = (asyncio.to_thread(ranker.run, QUERY, documents()) for _ in range(8))
        return await asyncio.gather(*runs)

    assert all(ids(result)[0] == "de" for result in asyncio.run(many()))
    assert isinstance(pets_index(tmp_path), Index)
