"""Proves the LlamaIndex reranker: order, scores, what stays of a node, events, pickles."""

import asyncio
import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core")
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import (
    Document,
    ImageNode,
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from pydantic import ValidationError

from integrations.llama_index_events import Events, collected_events
from integrations.stand_ins import Reversing
from resift import Reranker
from resift.errors import InputError, QueryError
from resift.integrations import lazy_ranker
from resift.integrations.llama_index import ReceiptEvent, ResiftRerank

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:llama_index.*")

QUERY = "how long do cats sleep"
TEXTS = [
    "Trains leave every hour.",
    "Most cats sleep for thirteen hours of the day.",
    "A dog sleeps less than a cat.",
    "Bread needs flour and water.",
    "Most cats sleep for thirteen hours of the day.",
]


@pytest.fixture
def events() -> Iterator[Events]:
    with collected_events() as handler:
        yield handler


def nodes() -> list[NodeWithScore]:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}
    return [
        NodeWithScore(
            node=TextNode(
                id_=f"n{number}", text=text, embedding=[0.5, 1.0], relationships=source,
                metadata={"number": number}, excluded_embed_metadata_keys=["number"],
            ),
            score=float(number),
        )
        for number, text in enumerate(TEXTS)
    ]  # fmt: skip


def ids(ranked: list[NodeWithScore]) -> list[str]:
    return [node.node_id for node in ranked]


def test_the_order_and_the_scores_are_those_of_the_reranker(in_one_runtime: Reranker) -> None:
    ranking = in_one_runtime.rank(QUERY, TEXTS)
    ranked = ResiftRerank(reranker=in_one_runtime, top_n=None).postprocess_nodes(
        nodes(), query_str=QUERY
    )
    assert ids(ranked) == [f"n{hit.index}" for hit in ranking]
    assert [node.score for node in ranked] == pytest.approx(
        [hit.score for hit in ranking], abs=1e-3
    )
    assert {type(node.score) for node in ranked} == {float}


def test_two_nodes_come_back_by_default() -> None:
    ranked = ResiftRerank(reranker=Reversing()).postprocess_nodes(nodes(), query_str=QUERY)
    assert ids(ranked) == ["n4", "n3"]


def test_scores_are_copied_and_nodes_stay_as_they_were() -> None:
    given = nodes()
    before = copy.deepcopy(given)
    ranked = ResiftRerank(reranker=Reversing(), top_n=None).postprocess_nodes(
        given, query_str=QUERY
    )
    assert [node.model_dump() for node in given] == [node.model_dump() for node in before]
    assert [node.node for node in ranked] == [node.node for node in given[::-1]]
    assert ranked[0] is not given[-1] and ranked[0].score == 0.5
    assert ranked[0].embedding == [0.5, 1.0] and ranked[0].node.ref_doc_id == "book"


def test_unreadable_nodes_stay_with_their_status(in_one_runtime: Reranker) -> None:
    odd = TextNode.model_construct(id_="none", text=None, metadata={"a": 1})
    given = [
        NodeWithScore(node=node)
        for node in (
            odd,
            ImageNode(id_="image", image_url="x"),
            TextNode(id_="empty", text=" "),
            Document(id_="text", text="Cats sleep."),
        )
    ]
    reranker = ResiftRerank(reranker=in_one_runtime, top_n=None, metadata_mode=MetadataMode.NONE)
    ranked = reranker.postprocess_nodes(given, query_str=QUERY)
    assert ids(ranked) == ["text", "none", "image", "empty"]
    assert [node.score is None for node in ranked] == [False, True, True, True]
    assert [node.metadata.get("relevance_status") for node in ranked] == [
        None, "not_text", "empty", "empty",
    ]  # fmt: skip
    assert odd.metadata == {"a": 1} and "relevance_status" not in given[1].metadata
    assert type(ranked[2].node) is ImageNode and ranked[2].node.image_url == "x"
    assert "relevance_status" not in ranked[2].get_content(MetadataMode.LLM)
    assert "relevance_status" not in ranked[2].get_content(MetadataMode.EMBED)


def test_the_model_reads_the_metadata_that_an_embedder_reads() -> None:
    ranker = Reversing()
    node = TextNode(text="text", metadata={"a": 1, "b": 2}, excluded_embed_metadata_keys=["a"])
    given = [NodeWithScore(node=node, score=3.0)]
    ResiftRerank(reranker=ranker).postprocess_nodes(given, query_str=QUERY)
    plain = ResiftRerank(
        reranker=ranker, metadata_mode=MetadataMode.NONE, use_retrieval_scores=True
    )
    plain.postprocess_nodes(given, query_str=QUERY)
    [first], [second] = (call[1] for call in ranker.calls)
    assert (first.text, first.score) == ("b: 2\n\ntext", None)
    assert (second.text, second.score) == ("text", 3.0)


def test_retrieval_scores_count_and_stay_only_if_wanted(in_one_runtime: Reranker) -> None:
    reranker = ResiftRerank(
        reranker=in_one_runtime, top_n=None, use_retrieval_scores=True, fusion_weight=1e6,
        keep_retrieval_score=True,
    )  # fmt: skip
    given = nodes()
    ranked = reranker.postprocess_nodes(given, query_str=QUERY)
    assert ids(ranked) == ["n4", "n3", "n2", "n1", "n0"]
    assert [node.metadata["retrieval_score"] for node in ranked] == [4, 3, 2, 1, 0]
    assert "retrieval_score" not in ranked[0].get_content(MetadataMode.LLM)
    assert "retrieval_score" not in given[4].metadata


def test_a_deadline_keeps_the_order_and_says_so(joint: Reranker, events: Events) -> None:
    reranker = ResiftRerank(reranker=joint, budget_ms=0)
    ranked = reranker.postprocess_nodes(nodes(), query_str=QUERY)
    assert ids(ranked) == ["n0", "n1"]
    assert [node.score for node in ranked] == [None, None]
    assert {node.metadata["relevance_status"] for node in ranked} == {"late"}
    [event] = events.of(ReceiptEvent)
    assert event.receipt.partial and event.receipt.late == 5 and event.query == QUERY


def test_no_nodes_need_no_model_and_no_query_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_ranker, "open_ranker", None)
    assert ResiftRerank().postprocess_nodes([], query_str=QUERY) == []
    assert asyncio.run(ResiftRerank().apostprocess_nodes([], query_str=QUERY)) == []
    with pytest.raises(InputError, match="pass query_bundle or query_str"):
        ResiftRerank().postprocess_nodes(nodes())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_n": 0}, "top_n=0: expected a whole number"),
        ({"budget_ms": -1}, "budget_ms"),
        ({"topn": 3}, "Extra inputs"),
        ({"reranker": "bundled"}, "a name goes into model="),
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ResiftRerank(**options)


def test_async_calls_say_the_same(in_one_runtime: Reranker) -> None:
    class OnlyAsync:
        rank = None

        async def arank(self, query: str, documents: Any, **more: Any) -> Any:
            return await in_one_runtime.arank(query, documents, **more)

    async def run() -> list[list[NodeWithScore]]:
        reranker = ResiftRerank(reranker=OnlyAsync())
        bundle = QueryBundle(QUERY)
        return await asyncio.gather(
            *(reranker.apostprocess_nodes(nodes(), bundle) for _ in range(4))
        )

    assert [ids(ranked) for ranked in asyncio.run(run())] == [["n1", "n4"]] * 4
    ranking = ResiftRerank(reranker=in_one_runtime).rank(QUERY, nodes())
    assert [hit.id for hit in ranking] == ["n1", "n4"] and ranking.receipt.depth == 5


def test_events_are_those_of_a_reranker_with_the_receipt(events: Events) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = ResiftRerank(
        reranker=Reversing(), top_n=None, callback_manager=CallbackManager([debug])
    )
    given = nodes()
    ranked = reranker.postprocess_nodes(given, query_str=QUERY)
    kinds = [ReRankStartEvent, ReceiptEvent, ReRankEndEvent]
    assert [type(event) for event in events.events if type(event) in kinds] == kinds
    [start], [end] = events.of(ReRankStartEvent), events.of(ReRankEndEvent)
    assert (start.top_n, start.model_name, start.query.query_str) == (5, "reversing", QUERY)
    assert ids(start.nodes) == ids(given) and ids(end.nodes) == ids(ranked)
    dumped = events.of(ReceiptEvent)[0].model_dump()
    assert dumped["receipt"]["depth"] == 5 and dumped["class_name"] == "ReceiptEvent"
    [[begun, ended]] = debug.get_event_pairs(CBEventType.RERANKING)
    assert begun.payload[EventPayload.TOP_K] == 5
    assert ids(ended.payload[EventPayload.NODES]) == ids(ranked)


def test_an_error_ends_the_callback_event() -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = ResiftRerank(callback_manager=CallbackManager([debug]))
    with pytest.raises(QueryError):
        reranker.postprocess_nodes(nodes(), query_str=" ")
    [[_, ended]] = debug.get_event_pairs(CBEventType.RERANKING)
    assert isinstance(ended.payload[EventPayload.EXCEPTION], QueryError)


def test_dicts_json_and_pickles_rank_the_same(joint_folder: Path) -> None:
    reranker = ResiftRerank(model=str(joint_folder), top_n=3, metadata_mode=MetadataMode.NONE)
    expected = ids(reranker.postprocess_nodes(nodes(), query_str=QUERY))
    assert reranker.to_dict()["class_name"] == ResiftRerank.class_name() == "ResiftRerank"
    for other in (
        ResiftRerank.from_dict(reranker.to_dict()),
        ResiftRerank.from_json(reranker.to_json()),
        pickle.loads(pickle.dumps(reranker)),
        reranker.model_copy(deep=True),
    ):
        assert other.to_dict() == reranker.to_dict()
        assert ids(other.postprocess_nodes(nodes(), query_str=QUERY)) == expected


def test_a_given_reranker_is_pickled_but_not_dropped_from_json(joint: Reranker) -> None:
    reranker = ResiftRerank(reranker=joint)
    assert pickle.loads(pickle.dumps(reranker)).reranker.fingerprint == joint.fingerprint
    with pytest.raises(TypeError, match="Reranker"):
        reranker.to_json()


def test_the_bundled_model_is_the_default() -> None:
    assert ids(ResiftRerank(top_n=1).postprocess_nodes(nodes(), query_str=QUERY)) == ["n1"]


def test_without_llama_index_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['llama_index.core'] = None\n"
        "from resift.errors import MissingExtra\n"
        "try: import resift.integrations.llama_index\n"
        "except MissingExtra as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'resift[llama-index]'" in run.stdout, run.stderr
