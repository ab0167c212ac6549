"""`CrossEncoder` gives the scores of sentence-transformers for the same weights, pair by pair.

Random checkpoints are opened by both packages. resift keeps most of them in float32, because their
int8 form is not close enough, so the scores agree within 1e-5; of one in int8, they agree within
0.03 where they differ by 0.2. What resift cannot do is refused, not ignored.
"""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from convert.plain_checkpoints import TRAINED, pairs, write_checkpoint
from integrations.stand_ins import Reversing
from resift import Document, DocumentLike, InputError, QueryError, Reranker
from resift.errors import RerankerError
from resift.integrations.cross_encoder import CrossEncoder
from resift.types import Ranking

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch and transformers

TOLERANCE = 1e-5
QUERY = "How do I reset my password?"
TEXTS = ["Password reset is under Settings.", "We serve soup.", "Ask the support for a new one."]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("safetensors")
    pytest.importorskip("onnx")
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", spread=TRAINED)


@pytest.fixture(scope="module")
def converted(checkpoint: Path) -> CrossEncoder:
    return CrossEncoder(checkpoint)


@pytest.fixture(scope="module")
def model(in_one_runtime: Reranker) -> CrossEncoder:
    return CrossEncoder(in_one_runtime)


def theirs(checkpoint: Path, **options: Any) -> Any:
    package = pytest.importorskip("sentence_transformers")
    return package.CrossEncoder(str(checkpoint), device="cpu", **options)


@pytest.mark.torch
def test_scores_of_pairs_are_those_of_sentence_transformers(
    checkpoint: Path, converted: CrossEncoder
) -> None:
    batch = [list(pair) for pair in pairs(40)]
    batch += [[batch[0][0], text] for _, text in batch[1:9]]
    expected = theirs(checkpoint).predict(batch, batch_size=7, show_progress_bar=False)
    scores = converted.predict(batch, batch_size=7, show_progress_bar=False)
    assert (scores.dtype, scores.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE)
    assert np.ptp(scores) > 1000 * TOLERANCE
    single = converted.predict(batch[3])
    assert type(single) is type(theirs(checkpoint).predict(batch[3]))
    assert single == pytest.approx(expected[3], abs=TOLERANCE)


@pytest.mark.torch
def test_scores_in_int8_are_close(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "int8", "roberta", spread=0.2)
    model = CrossEncoder(folder)
    assert model.reranker.quantisation.startswith("static int8")
    batch = [list(pair) for pair in pairs(60)]
    scores, expected = model.predict(batch), theirs(folder).predict(batch)
    np.testing.assert_allclose(scores, expected, atol=0.03)
    assert np.corrcoef(scores, expected)[0, 1] > 0.98 and np.ptp(expected) > 0.15


@pytest.mark.torch
@pytest.mark.parametrize("name", ["Identity", "Sigmoid", "Tanh"])
def test_activations_are_those_of_torch(
    checkpoint: Path, converted: CrossEncoder, name: str
) -> None:
    activation = getattr(pytest.importorskip("torch").nn, name)()
    batch = pairs(5)
    expected = theirs(checkpoint).predict(batch, activation_fn=activation)
    for scores in (
        converted.predict(batch, activation_fn=activation),
        converted.predict(sentences=batch, activation_fct=activation),
        CrossEncoder(checkpoint, activation_fn=activation).predict(batch),
    ):
        np.testing.assert_allclose(scores, expected, atol=TOLERANCE)


@pytest.mark.torch
@pytest.mark.parametrize(
    "settings",
    [
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
    ],
)
def test_the_activation_of_a_checkpoints_configuration_is_used(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = write_checkpoint(tmp_path / "logits", spread=TRAINED, **settings)
    expected = theirs(folder).predict(pairs(5))
    np.testing.assert_allclose(CrossEncoder(folder).predict(pairs(5)), expected, atol=TOLERANCE)


@pytest.mark.torch
def test_ranks_and_tensors_are_those_of_sentence_transformers(
    checkpoint: Path, converted: CrossEncoder
) -> None:
    torch = pytest.importorskip("torch")
    query, texts = pairs(1)[0][0], [text for _, text in pairs(20)]
    expected = theirs(checkpoint).rank(query, texts, top_k=4, return_documents=True)
    rows = converted.rank(query, texts, top_k=4, return_documents=True)
    for row, other in zip(rows, expected, strict=True):
        assert list(row) == list(other) and type(row["score"]) is float
        assert (row["corpus_id"], row["text"]) == (other["corpus_id"], other["text"])
        assert row["score"] == pytest.approx(other["score"], abs=TOLERANCE)
    batch = [(query, text) for text in texts]
    tensor = converted.predict(batch, convert_to_tensor=True)
    assert torch.equal(tensor, torch.from_numpy(converted.predict(batch)))
    rows_of_tensors = converted.predict(batch, convert_to_numpy=False)
    assert isinstance(rows_of_tensors, list) and torch.equal(torch.stack(rows_of_tensors), tensor)
    assert converted.predict(batch[0], convert_to_tensor=True) == tensor[0]


def test_pairs_of_many_queries_keep_their_order_and_depend_on_nothing_else(
    model: CrossEncoder, in_one_runtime: Reranker
) -> None:
    batch = [(query, text) for text in TEXTS for query in (QUERY, "What is for lunch?")]
    before = list(batch)
    scores = model.predict(batch)
    assert batch == before and scores.dtype == np.float32
    for (query, text), score in zip(batch, scores, strict=True):
        hit = in_one_runtime.rank(query, [text])[0]
        assert score == pytest.approx(hit.score, abs=1e-3)
    again = model.predict(np.array(batch), activation_fn="identity")
    expected = [in_one_runtime.score(query, [text])[0] for query, text in batch]
    np.testing.assert_allclose(again, expected, atol=1e-2)


def test_the_order_is_the_rerankers(model: CrossEncoder, in_one_runtime: Reranker) -> None:
    documents: list[DocumentLike] = [
        *TEXTS,
        Document("d", "Settings, then Password.", title="Reset"),
    ]
    ranking = in_one_runtime.rank(QUERY, documents, 3)
    rows = model.rank(QUERY, documents, 3, True, batch_size=4, num_workers=2)
    assert [row["corpus_id"] for row in rows] == [hit.index for hit in ranking]
    assert [row["text"] for row in rows] == [documents[hit.index] for hit in ranking]
    assert [row["score"] for row in rows] == pytest.approx([hit.score for hit in ranking])
    identity = model.rank(QUERY, documents, activation_fn="identity", exact=True)
    assert identity[0]["score"] == pytest.approx(in_one_runtime.rank(QUERY, documents)[0].logit)


def test_documents_that_cannot_be_read_are_nan_and_last(model: CrossEncoder) -> None:
    scores = model.predict([(QUERY, None), (QUERY, TEXTS[0]), ("soup", ""), ("soup", 3)])
    assert np.isnan(scores).tolist() == [True, False, True, True]
    assert np.isnan(model.predict((QUERY, None)))
    rows = model.rank(QUERY, [None, TEXTS[1], "", TEXTS[0]])  # type: ignore[list-item]
    assert [row["corpus_id"] for row in rows] == [3, 1, 0, 2]
    assert np.isnan([row["score"] for row in rows]).tolist() == [False, False, True, True]


def test_without_time_nothing_is_scored(in_one_runtime: Reranker) -> None:
    model = CrossEncoder(in_one_runtime)
    batch = [("a question of nobody yet", text) for text in TEXTS]
    assert np.isnan(model.predict(batch, budget_ms=0)).all()
    rows = model.rank(batch[0][0], TEXTS, budget_ms=0)
    assert [row["corpus_id"] for row in rows] == [0, 1, 2]


def test_a_ranker_without_rank_many_ranks_each_query() -> None:
    ranker: Any = Reversing()
    ranker.max_tokens = 128
    scores = CrossEncoder(ranker).predict([("a", "x"), ("b", "y"), ("a", "z")])
    assert len(scores) == 3
    asked = [
        (query, [document.text for document in documents])
        for query, documents, _, _ in ranker.calls
    ]
    assert asked == [("a", ["x", "z"]), ("b", ["y"])]


def test_a_ranking_that_is_none_is_refused() -> None:
    class Repeating(Reversing):
        def rank(self, *arguments: Any, **options: Any) -> Ranking:
            ranking = super().rank(*arguments, **options)
            return replace(ranking, hits=(ranking[0], ranking[0]))

    with pytest.raises(RerankerError, match="2 hits, 1 of them of different candidates"):
        CrossEncoder(cast(Reranker, Repeating())).predict([("q", "a"), ("q", "b")])


def test_many_pairs_go_in_portions(model: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [(f"query {number}", text) for number in range(5) for text in TEXTS]
    expected, sizes = model.predict(batch), []
    rank_many = model.reranker.rank_many

    def counted(queries: list[str], *arguments: Any, **options: Any) -> Any:
        sizes.append(len(queries))
        return rank_many(queries, *arguments, **options)

    monkeypatch.setattr(model.reranker, "rank_many", counted)
    monkeypatch.setattr("resift.integrations.pairs.PAIRS_AT_ONCE", 4)
    np.testing.assert_allclose(model.predict(batch), expected, atol=1e-3)
    assert sizes == [2, 2, 1]


def test_nothing_and_one_pair(model: CrossEncoder) -> None:
    assert model.predict([]).shape == (0,) and model.rank(QUERY, []) == []
    pair = model.predict([QUERY, TEXTS[0]])
    assert pair.shape == () and pair == model.predict([[QUERY, TEXTS[0]]])[0]
    assert model.predict(np.array([QUERY, TEXTS[0]])) == pair
    assert (model.num_labels, model.max_seq_length) == (1, model.reranker.max_tokens)


@pytest.mark.parametrize(
    "inputs", [None, "a pair", 3, [("a",)], [("a", "b", "c")], ["a", "b", "c"], {"a": "b"}]
)
def test_what_is_no_list_of_pairs_is_refused(model: CrossEncoder, inputs: Any) -> None:
    with pytest.raises(InputError, match="pair"):
        model.predict(inputs)


def test_a_query_that_cannot_be_read_is_named(model: CrossEncoder) -> None:
    with pytest.raises(QueryError, match=r"^inputs\[1\]: query: empty"):
        model.predict([(QUERY, "a"), ("", "b")])
    with pytest.raises(QueryError, match="expected text"):
        model.predict([(None, "a")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apply_softmax": True}, "label="),
        ({"prompt_name": "web"}, "prompt"),
        ({"processing_kwargs": {"text": {}}}, "no such option"),
        ({"activation_fn": "relu"}, "expected sigmoid, identity"),
        ({"budget_ms": -1}, "milliseconds"),
    ],
)
def test_options_that_would_change_scores_are_refused(
    model: CrossEncoder, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model.predict([(QUERY, "a")], **options)


def test_options_of_the_model_that_would_change_scores_are_refused(
    in_one_runtime: Reranker,
) -> None:
    for options in ({"num_labels": 3}, {"max_length": 16}, {"prompts": {"a": "b"}}):
        with pytest.raises(InputError, match=next(iter(options))):
            CrossEncoder(in_one_runtime, **options)
    CrossEncoder(
        in_one_runtime, num_labels=1, max_length=100_000, device="cpu", trust_remote_code=True
    )


@pytest.mark.parametrize("top_k", [0, -1, "two"])
def test_a_top_k_out_of_range_is_refused(model: CrossEncoder, top_k: Any) -> None:
    with pytest.raises(InputError, match="top_k"):
        model.rank(QUERY, TEXTS, top_k)


def test_it_pickles(model: CrossEncoder) -> None:
    copy = pickle.loads(pickle.dumps(CrossEncoder(model.reranker, activation_fn="identity")))
    assert copy.predict((QUERY, TEXTS[0])) == model.predict(
        (QUERY, TEXTS[0]), activation_fn="identity"
    )


def test_receipts_and_asynchronous_calls_are_the_rerankers(model: CrossEncoder) -> None:
    import asyncio

    ranking = asyncio.run(model.reranker.arank(QUERY, TEXTS))
    assert ranking.receipt.depth == len(TEXTS)
    assert [hit.index for hit in ranking] == [row["corpus_id"] for row in model.rank(QUERY, TEXTS)]


@pytest.mark.parametrize("option", ["revision", "label", "calibration", "settings"])
def test_an_open_reranker_is_not_opened_otherwise(option: str, in_one_runtime: Reranker) -> None:
    with pytest.raises(InputError, match=f"{option}='a': this reranker is open; leave it out"):
        CrossEncoder(in_one_runtime, **{option: "a"})  # type: ignore[arg-type]
