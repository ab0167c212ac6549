"""``mteb.evaluate`` runs resift on a task that is made here, and judges the order of `Reranker`.

The task has four documents, of which an empty one, and three queries. Nothing is downloaded.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

mteb = pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol  # noqa: E402

from integrations.stand_ins import Reversing  # noqa: E402
from resift import InputError, Reranker  # noqa: E402
from resift.integrations.mteb import ResiftCrossEncoder  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of mteb, datasets and torch

CORPUS = {
    "soup": "We serve soup on Mondays.",
    "empty": "",
    "password": "Choose Settings, then press Reset password.",
    "closed": "The office is closed on Sundays.",
}
QUERIES = {
    "q1": "How do I reset my password?",
    "q2": "When is the office closed?",
    "q3": "What is there to eat on Mondays?",
}
RELEVANT = {"q1": {"password": 1}, "q2": {"closed": 1}, "q3": {"soup": 1}}


def rows(texts: dict[str, str], **fields: str) -> Any:
    return datasets.Dataset.from_list([{"id": id, "text": t, **fields} for id, t in texts.items()])


class Handbook(AbsTaskRetrieval):
    metadata = TaskMetadata(
        name="Handbook",
        type="Reranking",
        main_score="ndcg_at_10",
        description="Questions about a handbook.",
        dataset={"path": "none", "revision": "1"},
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        modalities=["text"],
    )

    def load_data(self, num_proc: int | None = None, **options: Any) -> None:
        split = RetrievalSplitData(
            corpus=rows(CORPUS, title=""),
            queries=rows(QUERIES),
            relevant_docs={query: dict(judged) for query, judged in RELEVANT.items()},
            top_ranked={query: list(CORPUS) for query in QUERIES},
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


@pytest.fixture(scope="module")
def model(in_one_runtime: Reranker) -> ResiftCrossEncoder:
    return ResiftCrossEncoder(reranker=in_one_runtime)


def batches(texts: list[Any], size: int = 2) -> list[dict[str, list[Any]]]:
    return [{"text": texts[start : start + size]} for start in range(0, len(texts), size)]


def evaluated(model: ResiftCrossEncoder, **options: Any) -> Any:
    return mteb.evaluate(model, tasks=[Handbook()], show_progress_bar=False, **options)


def test_a_task_is_evaluated(model: ResiftCrossEncoder) -> None:
    result = evaluated(model, cache=None, co2_tracker=False)
    assert (result.model_name, result.model_revision) == (
        "resift/resift-minilm-l6",
        model.reranker.fingerprint,
    )
    (task,) = result.task_results
    assert task.task_name == "Handbook" and task.get_score() == 1.0


def test_the_order_decides_the_figure(in_one_runtime: Reranker) -> None:
    good, bad = (
        evaluated(ResiftCrossEncoder(reranker=ranker), cache=None).task_results[0].get_score()
        for ranker in (in_one_runtime, Reversing())
    )
    assert bad < good


def test_predictions_are_the_rerankers_logits(
    model: ResiftCrossEncoder, tmp_path: Path, in_one_runtime: Reranker
) -> None:
    evaluated(model, cache=None, prediction_folder=tmp_path)
    (file,) = tmp_path.rglob("*.json")
    predictions = json.loads(file.read_text())
    for name, query in QUERIES.items():
        scores = predictions["default"]["test"][name]
        expected = in_one_runtime.rank(query, list(CORPUS.values()))
        order = sorted(scores, key=scores.get, reverse=True)
        assert order == [list(CORPUS)[hit.index] for hit in expected]
        assert scores[order[0]] == pytest.approx(expected[0].logit, abs=1e-2)


def test_results_are_cached_by_fingerprint(model: ResiftCrossEncoder, tmp_path: Path) -> None:
    cache = mteb.ResultCache(cache_path=tmp_path)
    evaluated(model, cache=cache)
    assert [file.parent.name for file in tmp_path.rglob("Handbook.json")] == [
        model.reranker.fingerprint
    ]
    broken = ResiftCrossEncoder(reranker=model.reranker)
    broken.predict = None  # type: ignore[assignment,method-assign]
    assert evaluated(broken, cache=cache).task_results[0].get_score() == 1.0


def test_it_is_a_cross_encoder_and_nothing_else(model: ResiftCrossEncoder) -> None:
    assert isinstance(model, CrossEncoderProtocol)
    assert not isinstance(model, EncoderProtocol | SearchProtocol)
    assert model.mteb_model_meta.is_cross_encoder
    assert model.mteb_model_meta.max_tokens == model.reranker.max_tokens


def test_pairs_come_in_input_order_and_unscored_ones_last(
    model: ResiftCrossEncoder, in_one_runtime: Reranker
) -> None:
    queries = [*QUERIES.values(), " ", QUERIES["q1"]]
    documents = ["Press Reset password.", "Closed on Sundays.", "", "soup", "Sundays."]
    before = list(queries), list(documents)
    logits = model.predict(batches(queries), batches(documents), batch_size=2)
    assert (queries, documents) == before
    assert logits.dtype == np.float32 and logits.shape == (5,)
    for index in (0, 1, 4):
        expected = in_one_runtime.score(queries[index], [documents[index]])[0]
        assert logits[index] == pytest.approx(expected, abs=1e-2)
    assert logits[2] == logits[3] < logits[[0, 1, 4]].min()


def test_a_query_that_is_too_long_is_cut(
    model: ResiftCrossEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    long = "password " * 3000
    (logit,) = model.predict(batches([long]), batches(["Press Reset password."]))
    assert np.isfinite(logit) and "1 queries are longer" in caplog.text


def test_without_time_all_pairs_are_equal(in_one_runtime: Reranker) -> None:
    model = ResiftCrossEncoder(reranker=in_one_runtime, budget_ms=0)
    logits = model.predict(batches(["a question of nobody yet"] * 2), batches(["a b", "c d"]))
    assert logits.tolist() == [0.0, 0.0]


def test_nothing_and_odd_inputs(model: ResiftCrossEncoder) -> None:
    assert model.predict([], []).shape == (0,)
    with pytest.raises(InputError, match="1 texts for 2 queries"):
        model.predict(batches(["a", "b"]), batches(["c"]))
    with pytest.raises(InputError, match="texts only"):
        model.predict([{"image": [1]}], batches(["c"]))
    with pytest.raises(InputError, match="expected None beside a reranker"):
        ResiftCrossEncoder("a model", reranker=model.reranker)
    with pytest.raises(InputError, match="a method rank"):
        ResiftCrossEncoder(reranker="a model")  # type: ignore[arg-type]


def test_the_bundled_model_is_the_default(in_one_runtime: Reranker) -> None:
    model = ResiftCrossEncoder()
    assert model.mteb_model_meta.revision == in_one_runtime.fingerprint
    model.reranker.close()
