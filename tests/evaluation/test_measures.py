"""Our figures are trec_eval's, by its own C code, on runs of every kind."""

import math
import random
from collections.abc import Callable

import pytest
import pytrec_eval

from resift.evaluation.measures import Evaluator, means, measure_names, scores_by_rank

DEPTHS = (10, 20, 50, 100)
Run = dict[str, dict[str, float]]
QUERIES = [f"q{number}" for number in range(40)]


def _qrels(grades: tuple[int, ...], judged: int) -> dict[str, dict[str, int]]:
    draw = random.Random(7)
    return {
        query: {f"d{draw.randrange(300)}": draw.choice(grades) for _ in range(judged)}
        for query in QUERIES
    }


def _run(score: Callable[[random.Random], float], size: int, seed: int) -> Run:
    draw = random.Random(seed)
    return {
        query: {f"d{number}": score(draw) for number in draw.sample(range(300), size)}
        for query in QUERIES
    }


RUNS: dict[str, tuple[Run, dict[str, dict[str, int]]]] = {
    "bm25-like, binary": (_run(lambda d: d.gammavariate(2, 4), 100, 1), _qrels((0, 1), 40)),
    "graded": (_run(lambda d: d.gauss(0, 1), 100, 2), _qrels((0, 0, 1, 2, 3), 60)),
    "ties everywhere": (_run(lambda d: float(d.randrange(4)), 100, 3), _qrels((0, 1, 2), 60)),
    "shorter than the cutoffs": (_run(lambda d: d.random(), 7, 4), _qrels((0, 1), 100)),
    "half of the queries are missing": (
        dict(list(_run(lambda d: d.random(), 60, 5).items())[::2]),
        _qrels((0, 1, 2), 50),
    ),
}


def _by_trec_eval(qrels: dict[str, dict[str, int]], run: Run) -> dict[str, dict[str, float]]:
    """Measure → query → value; RR@10 is recip_rank of the first ten in trec_eval's own order."""
    cuts = ",".join(map(str, DEPTHS))
    measures = {"ndcg_cut.10", "P.1,10", f"recall.{cuts}", "success.10", "recip_rank"}
    full = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    heads = {
        query: dict(sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)[:10])
        for query, scores in run.items()
    }
    cut = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(heads)
    ours = {"nDCG@10": "ndcg_cut_10", "P@10": "P_10", "P@1": "P_1", "Success@10": "success_10"}
    ours |= {f"R@{depth}": f"recall_{depth}" for depth in DEPTHS}
    values = {
        name: {query: full.get(query, {}).get(theirs, 0.0) for query in qrels}
        for name, theirs in ours.items()
    }
    values["RR@10"] = {query: cut.get(query, {}).get("recip_rank", 0.0) for query in qrels}
    return values


@pytest.mark.parametrize("kind", RUNS)
def test_every_measure_equals_trec_evals(kind: str) -> None:
    run, qrels = RUNS[kind]
    ours = Evaluator(qrels, measure_names(DEPTHS, 1)).per_query(run)
    theirs = _by_trec_eval(qrels, run)
    assert ours.keys() == theirs.keys() | {"Judged@10"}
    for measure, values in theirs.items():
        assert ours[measure] == pytest.approx(values, abs=1e-9), measure
    assert any(value not in (0.0, 1.0) for value in ours["nDCG@10"].values())


def test_judged_is_the_share_of_the_first_ten_with_a_grade() -> None:
    qrels = {"q": {"a": 0, "b": 1}}
    run = {"q": scores_by_rank(["b", "x", "a", "y"])}
    assert Evaluator(qrels, ["Judged@10"]).per_query(run)["Judged@10"]["q"] == 0.5


def test_a_higher_least_grade_counts_for_all_but_ndcg() -> None:
    qrels, run = {"q": {"a": 1, "b": 2}}, {"q": scores_by_rank(["a", "b"])}
    values = Evaluator(qrels, measure_names((10,), 2)).per_query(run)
    assert values["RR(rel=2)@10"]["q"] == 0.5
    assert values["R(rel=2)@10"]["q"] == 1.0
    assert 0 < values["nDCG@10"]["q"] < 1


def test_a_query_without_results_counts_as_nothing_found() -> None:
    qrels = {"q": {"a": 1}, "r": {"b": 1}}
    values = Evaluator(qrels, ["nDCG@10", "RR@10"]).per_query({"q": scores_by_rank(["a"]), "r": {}})
    assert means(values) == {"nDCG@10": 0.5, "RR@10": 0.5}
    assert means(Evaluator(qrels, ["P@1"]).per_query({})) == {"P@1": 0.0}


@pytest.mark.parametrize("grade", [-1, -2, -1_000])
def test_a_grade_below_zero_counts_as_zero(grade: int) -> None:
    qrels = {"q1": {"d1": grade, "d2": 1_000}, "q2": {"d1": grade}}
    run = {"q1": scores_by_rank(["d1", "d2"]), "q2": scores_by_rank(["d1"])}
    values = Evaluator(qrels, measure_names([10], 1)).per_query(run)
    as_zero = {"q1": {"d1": 0, "d2": 1_000}, "q2": {"d1": 0}}
    assert values == Evaluator(as_zero, measure_names([10], 1)).per_query(run)
    assert values["RR@10"] == {"q1": 0.5, "q2": 0.0} and values["Judged@10"] == {"q1": 1, "q2": 1}


def test_a_fractional_grade_is_a_gain_of_ndcg_and_rounded_down_elsewhere() -> None:
    qrels = {"q": {"a": 1.5, "b": 0.5, "c": 3}}
    values = Evaluator(qrels, measure_names([10], 1)).per_query(
        {"q": scores_by_rank(["b", "a", "x", "c"])}
    )
    gained = 0.5 / math.log2(2) + 1.5 / math.log2(3) + 3 / math.log2(5)
    ideal = 3 / math.log2(2) + 1.5 / math.log2(3) + 0.5 / math.log2(4)
    assert values["nDCG@10"]["q"] == pytest.approx(gained / ideal, abs=1e-12)
    assert values["RR@10"]["q"] == 0.5  # b is below 1
    assert values["P@10"]["q"] == 0.2 and values["Judged@10"]["q"] == 0.75
    doubled = {"q": {"a": 3, "b": 1, "c": 6}}
    theirs = Evaluator(doubled, ["nDCG@10"]).per_query({"q": scores_by_rank(["b", "a", "x", "c"])})
    assert values["nDCG@10"]["q"] == pytest.approx(theirs["nDCG@10"]["q"], abs=1e-12)


def test_a_least_grade_of_two_is_not_reached_by_less() -> None:
    qrels = {"q": {"a": 1.999, "b": 2.001}}
    values = Evaluator(qrels, measure_names((10,), 2)).per_query({"q": scores_by_rank(["a", "b"])})
    assert values["RR(rel=2)@10"]["q"] == 0.5 and values["R(rel=2)@10"]["q"] == 1
