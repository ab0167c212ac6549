"""Proves the DSPy modules: called directly, as `rm`, in programs that are copied and saved."""

import asyncio
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dspy")
import dspy
from dspy.dsp.utils import dotdict
from dspy.utils.callback import BaseCallback

from integrations.stand_ins import PETS, Reversing, pets_index
from resift import Candidate, Index, InputError, QueryError, Reranker
from resift.integrations.dspy import Passages, ResiftReranker, ResiftRetriever
from resift.integrations.passage_records import records_of_lists, records_of_passages

QUERY = "capital of Germany"
TEXTS = [
    "Paris is the capital of France.",
    "Berlin is the capital of Germany.",
    "Most cats sleep for thirteen hours of the day.",
]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return pets_index(tmp_path)


@pytest.fixture
def reranker(in_one_runtime: Reranker) -> ResiftReranker:
    return ResiftReranker(lambda query: TEXTS, reranker=in_one_runtime)


class Program(dspy.Module):
    def __init__(self, retriever: Any) -> None:
        super().__init__()
        self.retriever = retriever
        self.answer = dspy.Predict("context, question -> answer")

    def forward(self, question: str) -> Any:
        return self.answer(context=self.retriever(question).passages, question=question)


def test_a_search_gives_the_passages_of_the_index(index: Index) -> None:
    ranking = index.search("the cat", top_n=3)
    passages = ResiftRetriever(index)("the cat")
    assert passages.passages == [hit.text for hit in ranking]
    assert passages.scores == [hit.score for hit in ranking]
    assert all(type(score) is float for score in passages.scores)
    assert passages.ids == [hit.id for hit in ranking]
    assert passages.titles == [hit.title for hit in ranking]
    assert passages.statuses == [hit.status for hit in ranking] == ["ok"] * 3
    assert [metadata["keeper"] for metadata in passages.metadata] == ["Ada"] * 3
    assert passages.receipt["version"] == 1 and passages.receipt["depth"] == 5
    claim = {"text": passages.passages[0], "citation": passages.citations[0]}
    assert index.verify_citation({"id": passages.ids[0], **claim}).status == "verified"


def test_it_is_dspys_configured_retriever_too(index: Index) -> None:
    retriever = ResiftRetriever(index, k=1)
    wanted = index.search("the cat", top_n=2)
    with dspy.context(rm=retriever):
        assert dspy.Retrieve(k=2)("the cat").passages == [hit.text for hit in wanted]
        only = dspy.Retrieve(k=2)("the cat", where="title = 'The dog'").passages
        assert only == ["# About\n\nThe dog is an animal."]


def test_iterating_gives_a_record_for_each_passage(index: Index) -> None:
    passages = ResiftRetriever(index)("the cat")
    records = list(passages)
    assert [record.long_text for record in records] == passages.passages
    assert [record.score for record in records] == passages.scores
    assert records[0]["id"] == passages.ids[0]
    assert set(dict(passages)) == set(passages.keys())  # it is a Prediction as well
    assert passages.toDict()["passages"] == passages.passages
    assert list(ResiftReranker(lambda query: [], reranker=Reversing())("q")) == []


def test_options_of_a_call_replace_those_of_the_constructor(index: Index) -> None:
    retriever = ResiftRetriever(index, k=1, rerank=False)
    first_stage = index.search("the cat", top_n=1, rerank=False)[0]
    assert retriever("the cat").scores == [first_stage.first_stage_score]
    assert len(retriever("the cat", k=4).passages) == 4
    assert retriever("the cat", rerank=True).scores == [1.0]
    with pytest.raises(InputError, match="limit"):
        retriever("the cat", limit=3)


def test_acall_gives_the_same(index: Index, reranker: ResiftReranker) -> None:
    for module in (ResiftRetriever(index), reranker):
        wanted = module(QUERY)
        passages = asyncio.run(module.acall(QUERY))
        assert isinstance(passages, Passages)
        assert [*passages] == [*wanted] and list(passages.keys()) == list(wanted.keys())


def test_the_order_and_the_scores_are_the_rerankers(
    reranker: ResiftReranker, in_one_runtime: Reranker
) -> None:
    ranking = in_one_runtime.rank(QUERY, TEXTS, top_n=3)
    passages = reranker(QUERY)
    assert passages.passages == [hit.text for hit in ranking]
    assert passages.passages[0] == TEXTS[1]
    assert passages.scores == [hit.score for hit in ranking]
    assert passages.first_stage_ranks == [hit.index + 1 for hit in ranking]
    assert passages.receipt["scored"] == 3


def test_the_configured_retriever_can_be_a_reranker(reranker: ResiftReranker) -> None:
    with dspy.context(rm=reranker):
        assert dspy.Retrieve(k=1)(QUERY).passages == [TEXTS[1]]


def test_it_reranks_dspys_embeddings_with_their_indices(in_one_runtime: Reranker) -> None:
    def embed(texts: list[str]) -> Any:
        return np.array([[len(text), 1.0] for text in texts])

    for kind in (dspy.retrievers.Embeddings, dspy.retrievers.EmbeddingsWithScores):
        embeddings = kind(TEXTS, embed, k=3)
        before = embeddings(QUERY)
        passages = ResiftReranker(embeddings, reranker=in_one_runtime)(QUERY)
        assert passages.passages[0] == TEXTS[1]
        assert [TEXTS[row] for row in passages.indices] == passages.passages
        assert [before.passages[rank - 1] for rank in passages.first_stage_ranks] == (
            passages.passages
        )
    scores = dict(zip(before.indices, before.scores, strict=True))
    assert passages.first_stage_scores == [scores[row] for row in passages.indices]


def test_it_reranks_another_module_sync_and_async(index: Index) -> None:
    first = ResiftRetriever(index, k=5, rerank=False)
    reranker = ResiftReranker(first, k=2, reranker=Reversing())
    wanted = first("the cat")
    for passages in (reranker("the cat"), asyncio.run(reranker.acall("the cat"))):
        # `Reversing` numbers its hits by their position in the list
        assert passages.ids == [wanted.ids[4], wanted.ids[3]]
        assert passages.citations[0] == wanted.citations[4]
        assert passages.first_stage_scores == [wanted.scores[4], wanted.scores[3]]


def test_depth_is_the_k_of_the_retriever_and_other_arguments_go_there_too() -> None:
    calls: list[Any] = []

    def retriever(query: str, k: int = 9, **more: Any) -> list[Any]:
        calls.append((query, k, more))
        return [dotdict(long_text=text, pid=number) for number, text in enumerate(TEXTS)]

    assert ResiftReranker(retriever, reranker=Reversing())("q").pid == [2, 1, 0]
    assert ResiftReranker(retriever, 1, depth=30, reranker=Reversing())("q", lang="en").pid == [2]
    assert calls == [("q", 9, {}), ("q", 30, {"lang": "en"})]


def test_what_a_retriever_returned_is_not_changed(in_one_runtime: Reranker) -> None:
    given = [dotdict(long_text=text, score=2.0, pid=number) for number, text in enumerate(TEXTS)]
    before = [dict(record) for record in given]
    passages = ResiftReranker(lambda query: given, reranker=in_one_runtime)(QUERY)
    assert [dict(record) for record in given] == before
    assert passages.pid[0] == 1 and passages.first_stage_scores == [2.0] * 3


def test_scores_of_the_retriever_count_only_if_wanted(in_one_runtime: Reranker) -> None:
    given = [{"text": text, "score": float(-row)} for row, text in enumerate(TEXTS)]
    candidates = [Candidate(str(row), text, score=-row) for row, text in enumerate(TEXTS)]
    for weight in (None, 9.0):
        fused = ResiftReranker(
            lambda query: given, reranker=in_one_runtime, use_scores=True, fusion_weight=weight
        )
        ranking = in_one_runtime.rank(QUERY, candidates, top_n=3, fusion_weight=weight)
        assert fused(QUERY).scores == [hit.score for hit in ranking]
    plain = ResiftReranker(lambda query: given, reranker=in_one_runtime)(QUERY)
    assert plain.receipt["fusion_weight"] == 0.0


def test_unreadable_and_double_passages_stay(in_one_runtime: Reranker) -> None:
    texts = [None, TEXTS[1], "  ", TEXTS[1]]
    passages = ResiftReranker(lambda query: texts, k=9, reranker=in_one_runtime)(QUERY)
    assert passages.passages == [TEXTS[1], TEXTS[1], None, "  "]
    assert passages.statuses == ["ok", "ok", "not_text", "empty"]
    assert passages.scores[2:] == [None, None] and passages.first_stage_ranks == [2, 4, 1, 3]


def test_a_budget_of_nothing_leaves_the_order_and_says_so(in_one_runtime: Reranker) -> None:
    reranker = ResiftReranker(lambda query: TEXTS, reranker=in_one_runtime, budget_ms=0)
    passages = reranker("never asked")
    assert passages.passages == TEXTS and passages.statuses == ["late"] * 3
    assert passages.scores == [None] * 3 and passages.receipt["partial"]


def test_a_ranker_gets_the_options_that_are_set_and_no_others() -> None:
    ranker = Reversing()  # raises TypeError for more
    ResiftReranker(lambda query: TEXTS, k=2, budget_ms=50, reranker=ranker)(QUERY)
    assert ranker.calls[0][2:] == (2, 50.0)


@pytest.mark.parametrize("result", [None, "text", b"text", {"a": 1}, 7, [7], [{"body": "x"}]])
def test_what_is_no_list_of_passages_is_refused(result: Any) -> None:
    with pytest.raises(InputError, match=r"retriever: it returned .* expected a Prediction"):
        ResiftReranker(lambda query: result, reranker=Reversing())("q")


def test_a_prediction_without_passages_is_refused() -> None:
    result = dspy.Prediction(answer="42")
    with pytest.raises(InputError, match="answer"):
        ResiftReranker(lambda query: result, reranker=Reversing())("q")


def test_records_of_other_shapes() -> None:
    class Passage:
        long_text = "a"

    assert records_of_passages([Passage(), None, "b", {"text": "c", "x": 1}]) == [
        {"long_text": "a"},
        {"long_text": None},
        {"long_text": "b"},
        {"long_text": "c", "x": 1},
    ]
    lists = {"docs": ["a", "b"], "doc_ids": [1, 2], "others": [1], "query": "ab"}
    assert records_of_lists(lists) == [
        {"long_text": "a", "doc_ids": 1},
        {"long_text": "b", "doc_ids": 2},
    ]
    assert records_of_lists({"passages": [], "scores": []}) == []


@pytest.mark.parametrize("k", [0, -1, 1.5, None, "many", True])
def test_a_wrong_k_is_refused(k: Any, index: Index) -> None:
    with pytest.raises(InputError, match="k="):
        ResiftRetriever(index, k=k)
    with pytest.raises(InputError, match="k="):
        ResiftReranker(lambda query: TEXTS, k=k)
    if k is not None:
        with pytest.raises(InputError, match="k="):
            ResiftRetriever(index)("the cat", k=k)


def test_other_wrong_arguments_are_refused(index: Index, reranker: ResiftReranker) -> None:
    with pytest.raises(InputError, match="mode="):
        ResiftRetriever(index, mode="best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="index=3"):
        ResiftRetriever(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="retriever='texts'"):
        ResiftReranker("texts")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="empty"):
        reranker(" ")


def test_copies_share_what_is_expensive(index: Index, reranker: ResiftReranker) -> None:
    program = Program(ResiftRetriever(index))
    for copied in (program.deepcopy(), program.reset_copy()):
        assert copied.retriever is not program.retriever
        assert copied.retriever.index is index
        copied.retriever.options["depth"] = 1
        copied.retriever.k = 1
    assert program.retriever.options["depth"] == 30 and program.retriever.k == 3
    assert reranker.deepcopy().ranker is reranker.ranker
    assert reranker.deepcopy()(QUERY).passages == reranker(QUERY).passages


def test_a_retriever_below_a_reranker_is_seen_by_optimisers(index: Index) -> None:
    reranker = ResiftReranker(Program(ResiftRetriever(index)), reranker=Reversing())
    assert [name for name, _ in reranker.named_predictors()] == ["retriever.answer"]


def test_the_state_of_a_program_is_saved_and_loaded(index: Index, tmp_path: Path) -> None:
    program = Program(ResiftRetriever(index))
    program.answer.demos = [{"question": "q", "answer": "a"}]
    program.save(tmp_path / "program.json")
    again = Program(ResiftRetriever(index))
    again.load(tmp_path / "program.json")
    assert again.answer.demos == program.answer.demos


@pytest.fixture
def by_uri(index: Index) -> ResiftRetriever:
    return ResiftRetriever(index.uri, 2, mode="lexical", rerank=False)


def test_a_whole_program_is_saved_and_loaded(by_uri: ResiftRetriever, tmp_path: Path) -> None:
    by_uri.save(tmp_path / "program", save_program=True)
    again = dspy.load(tmp_path / "program", allow_pickle=True)
    assert again("the cat").passages == by_uri("the cat").passages


def test_pickles_open_the_index_and_the_model_again(
    by_uri: ResiftRetriever, in_one_runtime: Reranker
) -> None:
    module = ResiftReranker(by_uri, reranker=in_one_runtime)
    module("the cat")
    again = pickle.loads(pickle.dumps(module))
    assert again.retriever.index is not by_uri.index
    assert again("the cat").passages == module("the cat").passages


@pytest.fixture
def events() -> Iterator[list[str]]:
    names: list[str] = []

    class Listener(BaseCallback):
        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            names.append(type(instance).__name__)

        def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            names.append(type(exception or outputs).__name__)

    with dspy.context(callbacks=[Listener()]):
        yield names


def test_callbacks_see_the_calls(events: list[str], reranker: ResiftReranker) -> None:
    reranker(QUERY)
    with pytest.raises(QueryError):
        reranker("")
    assert events == ["ResiftReranker", "Passages", "ResiftReranker", "QueryError"]


def test_a_program_answers_from_the_passages(index: Index) -> None:
    model = dspy.utils.DummyLM([{"answer": "an animal"}])
    program = Program(ResiftRetriever(index, k=len(PETS)))
    with dspy.context(lm=model, track_usage=True):
        assert program(question="What is a cat?").answer == "an animal"
    prompt = str(model.history[0]["messages"])
    assert all(f"The {pet} is an animal." in prompt for pet in PETS)


def test_modules_run_in_dspys_threads(reranker: ResiftReranker) -> None:
    examples = [dspy.Example(query=QUERY).with_inputs("query") for _ in range(6)]
    results = reranker.batch(examples, num_threads=3, disable_progress_bar=True)
    assert [result.passages[0] for result in results] == [TEXTS[1]] * 6
