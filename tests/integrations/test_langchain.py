"""Proves the LangChain reranker: order, scores, what stays of a document, the receipt, async."""

import asyncio
import copy
import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

from integrations.langchain_listeners import AsyncListener, Listener
from integrations.stand_ins import Reversing
from resift import Reranker
from resift.errors import InputError, QueryError, RerankerClosed
from resift.integrations import lazy_ranker
from resift.integrations.langchain import EVENT, ResiftReranker
from resift.types import Receipt

QUERY = "how long do cats sleep"
TEXTS = [
    "Trains leave every hour.",
    "Most cats sleep for thirteen hours of the day.",
    "A dog sleeps less than a cat.",
    "Bread needs flour and water.",
    "Most cats sleep for thirteen hours of the day.",
]


class Page(Document):
    number: int = 7


def documents() -> list[Document]:
    return [
        Document(text, id=f"d{number}", metadata={"number": number, "tags": ["a"], "score": number})
        for number, text in enumerate(TEXTS)
    ]


def ids(ranked: Any) -> list[str]:
    return [document.id for document in ranked]


def test_the_order_and_the_scores_are_those_of_the_reranker(in_one_runtime: Reranker) -> None:
    ranking = in_one_runtime.rank(QUERY, TEXTS)
    ranked = ResiftReranker(reranker=in_one_runtime, top_n=None).compress_documents(
        documents(), QUERY
    )
    assert ids(ranked) == [f"d{hit.index}" for hit in ranking]
    assert [document.metadata["relevance_score"] for document in ranked] == pytest.approx(
        [hit.score for hit in ranking], abs=1e-3
    )
    assert {type(document.metadata["relevance_score"]) for document in ranked} == {float}
    assert {document.metadata["relevance_status"] for document in ranked} == {"ok"}


def test_three_documents_come_back_by_default() -> None:
    ranked = ResiftReranker(reranker=Reversing()).compress_documents(documents(), QUERY)
    assert ids(ranked) == ["d4", "d3", "d2"]
    assert isinstance(ranked, list)


def test_documents_are_copied_with_id_type_text_and_metadata() -> None:
    given = [*documents(), Page("A cat is an animal.", metadata={"relevance_score": "old"})]
    before = copy.deepcopy(given)
    ranked = ResiftReranker(reranker=Reversing(), top_n=None).compress_documents(given, QUERY)
    assert given == before
    first = ranked[0]
    assert type(first) is Page and first.number == 7 and first.id is None
    assert first is not given[-1] and first.page_content is given[-1].page_content
    assert first.metadata == {"relevance_score": 0.5, "relevance_status": "ok"}
    assert ranked[-1].metadata == {
        "number": 0, "tags": ["a"], "score": 0, "relevance_score": 0.5, "relevance_status": "ok",
    }  # fmt: skip


def test_no_documents_need_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_ranker, "open_ranker", None)
    assert ResiftReranker().compress_documents([], QUERY) == []
    assert asyncio.run(ResiftReranker().acompress_documents([], QUERY)) == []


def test_unreadable_documents_stay_without_a_score(in_one_runtime: Reranker) -> None:
    odd = Document.model_construct(page_content=None, id="none", metadata={})
    given = [odd, Document("", id="empty"), Document("Cats sleep.", id="text")]
    ranked = ResiftReranker(reranker=in_one_runtime).compress_documents(given, QUERY)
    assert ids(ranked) == ["text", "none", "empty"]
    assert [document.metadata["relevance_status"] for document in ranked] == [
        "ok", "not_text", "empty",
    ]  # fmt: skip
    assert ranked[1].metadata["relevance_score"] is None
    assert ranked[1].page_content is None


def test_a_deadline_keeps_the_order_and_says_so(joint: Reranker) -> None:
    listener = Listener()
    reranker = ResiftReranker(reranker=joint, budget_ms=0)
    ranked = reranker.compress_documents(documents(), QUERY, callbacks=[listener])
    assert ids(ranked) == ["d0", "d1", "d2"]
    assert {document.metadata["relevance_status"] for document in ranked} == {"late"}
    assert {document.metadata["relevance_score"] for document in ranked} == {None}
    [(name, data)] = listener.events
    assert name == EVENT == "resift_receipt"
    assert data["query"] == QUERY and data["receipt"].partial and data["receipt"].late == 5


def test_rank_gives_the_ranking_with_its_receipt(in_one_runtime: Reranker) -> None:
    reranker = ResiftReranker(reranker=in_one_runtime, top_n=1)
    given = documents()
    ranking = reranker.rank(QUERY, given)
    assert isinstance(ranking.receipt, Receipt) and ranking.receipt.depth == 5
    assert given[ranking[0].index].id == ranking[0].id == "d1"
    assert ranking[0].metadata["tags"] == ["a"]
    assert asyncio.run(reranker.arank(QUERY, given))[0].id == "d1"


def test_only_options_that_are_set_reach_the_ranker() -> None:
    ranker = Reversing()
    ResiftReranker(reranker=ranker, budget_ms=50).compress_documents(documents(), QUERY)
    assert ranker.calls[0][2:] == (3, 50)
    with pytest.raises(TypeError, match="min_score"):
        ResiftReranker(reranker=ranker, min_score=0.5).compress_documents(documents(), QUERY)


def test_every_option_reaches_the_reranker(in_one_runtime: Reranker) -> None:
    reranker = ResiftReranker(
        reranker=in_one_runtime, exact=True, tolerance=0.1, fusion_weight=0, min_score=0.5,
        abstain_below=1, long_documents="windows", budget_ms=1e6,
    )  # fmt: skip
    ranking = reranker.rank(QUERY, documents())
    assert ranking.receipt.exact and ranking.receipt.below_min_score and ranking.abstained
    assert all(hit.score is not None and hit.score >= 0.5 for hit in ranking)


def test_scores_and_titles_in_metadata_count_only_if_named(in_one_runtime: Reranker) -> None:
    ranker = Reversing()
    given = [Document("text", metadata={"score": 3.5, "relevance_score": 2, "title": "T"})]
    ResiftReranker(reranker=ranker).compress_documents(given, QUERY)
    assert (ranker.calls[0][1][0].score, ranker.calls[0][1][0].title) == (None, "")
    named = ResiftReranker(reranker=ranker, score_key="score", title_key="title")
    named.compress_documents([*given, Document("no score")], QUERY)
    assert [candidate.score for candidate in ranker.calls[1][1]] == [3.5, None]
    assert ranker.calls[1][1][0].title == "T"
    weighed = ResiftReranker(
        reranker=in_one_runtime, score_key="score", fusion_weight=1e6, top_n=None
    )
    assert ids(weighed.compress_documents(documents(), QUERY)) == ["d4", "d3", "d2", "d1", "d0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_n": 0}, "top_n=0: expected a whole number"),
        ({"top_n": -1}, "top_n=-1"),
        ({"top_n": 1.5}, "valid integer"),
        ({"budget_ms": -1}, "budget_ms"),
        ({"min_score": 2}, "min_score"),
        ({"long_documents": "all"}, "'cut' or 'windows'"),
        ({"topn": 3}, "Extra inputs"),
        ({"reranker": "bundled"}, "a name goes into model="),
        ({"reranker": Reversing(), "model": "x"}, "model='x': expected None"),
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ResiftReranker(**options)


def test_errors_of_a_call_are_those_of_the_reranker(joint_folder: Path) -> None:
    with Reranker(joint_folder) as closed:
        reranker = ResiftReranker(reranker=closed)
        with pytest.raises(QueryError):
            reranker.compress_documents(documents(), " ")
    with pytest.raises(RerankerClosed):
        reranker.compress_documents(documents(), QUERY)
    reranker.top_n = 0
    with pytest.raises(InputError, match="top_n=0"):
        reranker.compress_documents(documents(), QUERY)


def test_async_calls_use_arank_and_say_the_same(in_one_runtime: Reranker) -> None:
    class OnlyAsync:
        rank = None

        async def arank(self, query: str, documents: Any, **more: Any) -> Any:
            return await in_one_runtime.arank(query, documents, **more)

    async def run() -> list[list[Document]]:
        reranker = ResiftReranker(reranker=OnlyAsync())
        calls = [reranker.acompress_documents(documents(), QUERY) for _ in range(4)]
        return await asyncio.gather(*calls)

    expected = ResiftReranker(reranker=in_one_runtime).compress_documents(documents(), QUERY)
    assert [ids(ranked) for ranked in asyncio.run(run())] == [ids(expected)] * 4


def test_a_ranker_without_arank_runs_in_a_thread() -> None:
    threads: list[int] = []

    class Noting(Reversing):
        def rank(self, *arguments: Any, **more: Any) -> Any:
            threads.append(threading.get_ident())
            return super().rank(*arguments, **more)

    reranker = ResiftReranker(reranker=Noting())
    assert ids(asyncio.run(reranker.acompress_documents(documents(), QUERY)))[0] == "d4"
    assert threads != [threading.get_ident()]


def test_threads_open_the_default_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def open_model(model: object) -> Reversing:
        opened.append(model)
        return Reversing()

    monkeypatch.setattr(lazy_ranker, "open_ranker", open_model)
    reranker = ResiftReranker()
    assert opened == []
    copied = reranker.model_copy()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: reranker.compress_documents(documents(), QUERY), range(8)))
    copied.compress_documents(documents(), QUERY)
    assert opened == [None]
    renamed = reranker.model_copy(update={"model": "other"})
    asyncio.run(renamed.acompress_documents(documents(), QUERY))
    assert opened == [None, "other"]


def test_the_bundled_model_is_the_default() -> None:
    reranker = ResiftReranker(top_n=1)
    assert ids(reranker.compress_documents(documents(), QUERY)) == ["d1"]
    assert ids(asyncio.run(reranker.acompress_documents(documents(), QUERY))) == ["d1"]


def test_copies_dumps_and_pickles_rank_the_same(joint_folder: Path) -> None:
    reranker = ResiftReranker(model=str(joint_folder), top_n=2, budget_ms=1e6)
    expected = ids(reranker.compress_documents(documents(), QUERY))
    dumped = json.loads(reranker.model_dump_json())
    assert dumped["model"] == str(joint_folder) and dumped["top_n"] == 2
    for other in (
        ResiftReranker.model_validate(dumped),
        ResiftReranker(**reranker.model_dump()),
        reranker.model_copy(deep=True),
        pickle.loads(pickle.dumps(reranker)),
    ):
        assert other.model_dump() == reranker.model_dump()
        assert ids(other.compress_documents(documents(), QUERY)) == expected


def test_a_given_reranker_is_pickled_and_copied_but_not_dropped_from_json(joint: Reranker) -> None:
    reranker = ResiftReranker(reranker=joint)
    assert pickle.loads(pickle.dumps(reranker)).reranker.fingerprint == joint.fingerprint
    assert reranker.model_copy(deep=True).reranker is joint
    with pytest.raises(ValueError, match="Reranker"):
        reranker.model_dump_json()


def test_it_works_in_a_chain_and_tells_the_receipt(in_one_runtime: Reranker) -> None:
    reranker = ResiftReranker(reranker=in_one_runtime, top_n=2)
    listener = Listener()
    retrieve = RunnableLambda(lambda query: documents())
    chain = {"documents": retrieve, "query": RunnablePassthrough()} | RunnableLambda(
        lambda step: reranker.compress_documents(**step),
        afunc=lambda step: reranker.acompress_documents(**step),
    )
    assert ids(chain.invoke(QUERY, {"callbacks": [listener]})) == ["d1", "d4"]
    assert ids(chain.batch([QUERY, "dog"])[0]) == ["d1", "d4"]
    assert [data["query"] for _, data in listener.events] == [QUERY]
    waiting = AsyncListener()
    assert ids(asyncio.run(chain.ainvoke(QUERY, {"callbacks": [waiting]}))) == ["d1", "d4"]
    assert [name for name, _ in waiting.events] == [EVENT]


def test_without_langchain_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "from resift.errors import MissingExtra\n"
        "try: import resift.integrations.langchain\n"
        "except MissingExtra as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'resift[langchain]'" in run.stdout, run.stderr


def test_documents_may_come_from_any_iterable(in_one_runtime: Reranker) -> None:
    compressor = ResiftReranker(reranker=in_one_runtime, top_n=None)
    documents = [Document("a text"), Document("another text")]
    assert len(compressor.compress_documents(iter(documents), "a text")) == 2  # type: ignore[arg-type]
    with pytest.raises(InputError, match="documents: expected a list"):
        compressor.compress_documents(None, "a text")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected LangChain's Document, got 'a text'"):
        compressor.compress_documents(["a text"], "a text")
