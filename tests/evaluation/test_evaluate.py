"""A whole evaluation, over a small collection and the bundled model."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from evaluation.small_collection import make_collection, make_run
from resift import Reranker
from resift.errors import DatasetError, InputError
from resift.evaluation.collection import Task, open_collection
from resift.evaluation.evaluate import EvaluationPlan, ablate, evaluate
from resift.evaluation.first_stage import from_run
from resift.evaluation.measures import Evaluator, scores_by_rank
from resift.evaluation.result import Evaluation
from resift.evaluation.second_stage import SecondStage, SystemOptions
from resift.evaluation.trec import read_run
from resift.search.index import Index
from resift.search.options import MODES
from resift.settings import Settings

QUERIES = {"q1": "what stops an object from being deleted", "q2": "where do messages wait"}
QRELS = {"q1": {"d2": 2, "d1": 0}, "q2": {"d4": 1}}
WRONG = {"q1": ["d4", "d3", "d1", "d2"], "q2": ["d1", "d4"]}
PLAN = EvaluationPlan(depths=[1, 2, 4])


@cache
def free() -> SecondStage:
    """The model alone."""
    return SecondStage(SystemOptions("alone", fusion_weight=0.0), Reranker(settings=Settings()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_collection(tmp_path / "made")


def measure(
    folder: Path,
    ranked: Mapping[str, Sequence[str]] = WRONG,
    qrels: Mapping[str, Mapping[str, int]] = QRELS,
    systems: Sequence[SecondStage] = (),
    queries: Mapping[str, str] = QUERIES,
) -> Evaluation:
    run = read_run(make_run(folder / "run", ranked))
    first_stage = from_run(open_collection(folder), run, "run", 4)
    return evaluate(Task("made", queries, qrels), first_stage, systems or [free()], PLAN)


def test_first_stage_and_every_depth_are_measured(folder: Path) -> None:
    evaluation = measure(folder)
    first = Evaluator(QRELS, ["RR@10"]).per_query(
        {q: scores_by_rank(doc_ids) for q, doc_ids in WRONG.items()}
    )
    assert evaluation.first["RR@10"] == sum(first["RR@10"].values()) / 2 == 0.375
    rows = evaluation.systems[0].rows
    assert [row.depth for row in rows] == [1, 2, 4]
    assert rows[0].measures == evaluation.first  # the order of one candidate is what it was
    assert rows[1].measures["RR@10"] == (0.25 + 1) / 2
    assert rows[2].measures["RR@10"] == 1.0
    assert [row.pairs for row in rows] == [1, 2, 3]
    assert rows[0].tokens < rows[1].tokens < rows[2].tokens


def test_each_query_lists_the_documents_that_moved(folder: Path) -> None:
    changes = {each.query_id: each for each in measure(folder).systems[0].changes}
    assert (changes["q1"].query, changes["q1"].after) == (QUERIES["q1"], 1.0)
    best = changes["q1"].moved[0]
    assert (best.doc_id, best.grade, best.rank_before, best.rank_after) == ("d2", 2, 4, 1)
    assert {each.doc_id: each.grade for each in changes["q1"].moved}["d4"] is None
    assert best.title.startswith("Object lock keeps")


def test_a_model_does_not_differ_from_itself(folder: Path) -> None:
    evaluation = measure(folder, systems=[free(), free()])
    against = evaluation.systems[1].against
    assert evaluation.systems[0].against is None and against is not None
    assert (against.difference, against.p_bootstrap, against.p_randomisation) == (0, 1, 1)


def test_a_large_fusion_weight_gives_the_first_stages_order(folder: Path) -> None:
    evaluation = measure(
        folder, systems=[SecondStage(SystemOptions("w", fusion_weight=1e6), free().reranker)]
    )
    assert evaluation.systems[0].rows[-1].measures == evaluation.first
    assert evaluation.systems[0].verdict.startswith("changes nothing")
    assert all(not change.moved for change in evaluation.systems[0].changes)


def test_without_judgments_the_rest_is_measured(folder: Path) -> None:
    evaluation = measure(folder, qrels={})
    system = evaluation.systems[0]
    assert system.verdict == "cannot tell: there are no judgments"
    assert (evaluation.first, system.compared, system.changes, system.advice) == ({}, {}, (), None)
    assert [row.pairs for row in system.rows] == [1, 2, 3] and system.rows[0].measures == {}
    assert evaluation.main() is None


def test_unusual_queries_are_noted_with_the_first_of_them(folder: Path) -> None:
    queries = {**QUERIES, "q3": "nothing found", "q4": "unjudged", "q5": "word " * 600}
    ranked = {**WRONG, "q4": ["d1", "d3", "d4", "x1", "d2"], "q5": ["d1", "d2"]}  # depth is 4
    qrels = {**QRELS, "q3": {"d1": 1}, "q4": {"d2": 1}, "q5": {"d2": 1}}
    evaluation = measure(folder, ranked, qrels, queries=queries)
    notes = "\n".join(evaluation.notes)
    assert "1 of 5 queries have no candidate: they count as 0; the first is q3" in notes
    assert "1 of 5 queries have no judged document among their candidates" in notes
    assert "cannot be read by the reranker (empty or too long)" in notes and "is q5" in notes
    unchanged = {change.query_id: change for change in evaluation.systems[0].changes}["q5"]
    assert unchanged.before == unchanged.after > 0
    assert evaluation.judged == 5 and len(evaluation.systems[0].changes) == 5


def test_ties_of_a_run_are_broken_as_by_trec_eval(folder: Path) -> None:
    (folder / "run").write_text(
        "".join(f"q2 Q0 {name} 1 5.0 made\n" for name in ("d4", "d1", "d5"))
    )
    first_stage = from_run(open_collection(folder), read_run(folder / "run"), "run", 4)
    task = Task("made", {"q2": QUERIES["q2"]}, {"q2": {"d4": 1}})
    evaluation = evaluate(task, first_stage, [free()], PLAN)
    assert evaluation.first["RR@10"] == 0.5  # d5, d4, d1
    assert any("equal scores" in note and "the first is q2" in note for note in evaluation.notes)


def test_no_candidates_for_any_query_is_an_error(folder: Path) -> None:
    with pytest.raises(DatasetError, match="no candidate for any of 1 queries"):
        measure(folder, queries={"q7": "?"}, qrels={"q7": {"d1": 1}})


def test_the_result_is_plain_json(folder: Path) -> None:
    evaluation = measure(folder)
    value = json.loads(json.dumps(evaluation.as_dict()))
    assert value["systems"][0]["compared"]["nDCG@10"]["before"] == evaluation.first["nDCG@10"]
    assert value["systems"][0]["advice"]["depth"] == 0  # two queries show nothing
    assert evaluation.main() == (
        evaluation.first["nDCG@10"],
        evaluation.systems[0].rows[-1].measures["nDCG@10"],
    )


@pytest.mark.parametrize("depths", [[], [0, 1], [20, 10], [10, 10]])
def test_depths_rise(depths: list[int]) -> None:
    with pytest.raises(InputError, match="expected rising whole numbers"):
        EvaluationPlan(depths=depths)


def test_an_invalid_latency_target_is_refused() -> None:
    with pytest.raises(InputError, match="target_ms=0"):
        EvaluationPlan(target_ms=0)


def test_an_ablation_measures_every_mode_and_reranking(folder: Path, tmp_path: Path) -> None:
    index = Index(str(tmp_path / "index"), settings=Settings())
    index.sync(str(folder / "corpus.jsonl"))
    variants = ablate(Task("made", QUERIES, QRELS), index, free(), 4, 1)
    assert [(variant.mode, variant.reranking) for variant in variants] == [
        (mode, second) for mode in MODES for second in ("none", "alone", "fused")
    ]
    assert all((variant.compared is None) == (variant.reranking == "none") for variant in variants)
    by_name = {(variant.mode, variant.reranking): variant for variant in variants}
    assert by_name["dense", "alone"].measures["RR@10"] == 1.0
    assert all(variant.latency is not None and variant.latency.p50 > 0 for variant in variants)
    with pytest.raises(InputError, match="no judgments"):
        ablate(Task("made", QUERIES, {}), index, free(), 4, 1)


def test_the_first_query_is_timed_where_there_is_no_other(folder: Path) -> None:
    evaluation = measure(folder, queries={"q1": QUERIES["q1"]}, qrels={"q1": QRELS["q1"]})
    latency = evaluation.systems[0].rows[-1].latency
    assert latency is not None and latency.queries == 1 and latency.p50 == latency.p95 > 0
    assert evaluation.systems[0].rows[0].latency is None  # only ever read as a whole
