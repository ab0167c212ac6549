"""From readings and grades to pairs: what counts as an answer, as none, and not at all."""

import pytest

from resift import Candidate, Citation, Reranker
from resift.errors import DatasetError
from resift.evaluation.first_stage import doc_id
from resift.evaluation.judged import Grades, JudgedPairs, Reckoning, calibrate, judge
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.result import ScoredCandidates
from texts import QUESTIONS, passages

pytest.importorskip("scipy")

POOL = passages(12)
WINDOW = [Candidate(f"d{n}", text, score=30.0 - n) for n, text in enumerate(POOL)]
GRADES = {"d0": 2, "d1": 1, "d2": 0, "absent": 3}
MANIFEST = load_artifact(BUNDLED).manifest


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


@pytest.fixture(scope="module")
def reading(bundled: Reranker) -> ScoredCandidates:
    return bundled.score_candidates(QUESTIONS[0], WINDOW)


def _answers(judged: JudgedPairs) -> tuple[int, int]:
    """Pairs, and answers among them."""
    return len(judged.plain.logits), int(judged.plain.relevant.sum())


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Reckoning(), (12, 2)),
        (Reckoning(least=2), (12, 1)),
        (Reckoning(judged_only=True), (3, 2)),
        (Reckoning(least=2, judged_only=True), (3, 1)),
    ],
)
def test_grades_and_unjudged_candidates_count_as_was_said(
    scored: ScoredCandidates, how: Reckoning, expected: tuple[int, int]
) -> None:
    assert _answers(judge([(scored, GRADES)], how)) == expected


def test_logits_are_the_readings_plain_and_with_the_first_stages_say(
    scored: ScoredCandidates,
) -> None:
    judged = judge([(scored, GRADES), (scored, {})], Reckoning())
    ranking = scored.ranking()
    assert judged.fused is not None
    assert judged.plain.logits[:12].tolist() == [hit.logit for hit in ranking]
    assert judged.fused.logits[:12].tolist() == [
        (hit.logit or 0) + hit.fusion + hit.feedback for hit in ranking
    ]
    assert judged.plain.queries.tolist() == judged.fused.queries.tolist() == [0] * 12 + [1] * 12
    weights = judged.fusion_weight, judged.feedback_weight
    assert weights == (MANIFEST.fusion_weight, MANIFEST.feedback_weight)


def test_without_first_stage_scores_there_is_no_fused_scale(bundled: Reranker) -> None:
    plain = bundled.score_candidates(QUESTIONS[0], POOL)
    found = judge([(bundled.score_candidates(QUESTIONS[0], WINDOW), {}), (plain, {})], Reckoning())
    assert found.fused is None and found.fusion_weight == 0


def test_what_has_no_logit_is_no_pair(bundled: Reranker) -> None:
    own = bundled.score_candidates(QUESTIONS[0], [*WINDOW, Candidate("d12", "", score=0.0)])
    assert _answers(judge([(own, {"d12": 1})], Reckoning())) == (12, 0)
    empty = bundled.score_candidates(QUESTIONS[0], [])
    assert _answers(judge([(empty, GRADES)], Reckoning())) == (0, 0)


def test_of_the_passages_of_an_answering_document_the_best_counts(bundled: Reranker) -> None:
    parts = [Candidate(f"p{n}", text, score=1.0 * n,
                       citation=Citation("u", f"d{n % 3}", 0, 9))
             for n, text in enumerate(POOL)]  # fmt: skip
    scored = bundled.score_candidates(QUESTIONS[0], parts)
    judged = judge([(scored, {"d1": 1, "d2": 0})], Reckoning())
    assert _answers(judged) == (9, 1)
    best = next(hit for hit in scored.ranking() if doc_id(hit) == "d1")
    assert judged.plain.logits[judged.plain.relevant].tolist() == [best.logit]


def test_no_query_at_all_is_refused() -> None:
    with pytest.raises(DatasetError, match="both asked and judged"):
        judge([], Reckoning())


def test_a_calibration_says_what_it_was_fitted_on(bundled: Reranker) -> None:
    judged = judge(_queries(bundled), Reckoning())
    report = calibrate(judged, {"at": "a day"})
    own = report.calibration
    assert (own.model, own.fingerprint) == (MANIFEST.name, MANIFEST.fingerprint)
    assert (own.queries, own.pairs, own.relevant) == (12, 144, 24)
    assert (own.fusion_weight, own.feedback_weight) == (0.3, 4.0)
    assert own.made == {"at": "a day"} and own.bins == 15
    for fit in (own.plain, own.fused):
        assert fit is not None
        assert set(fit.log_loss) == set(fit.calibration_error) == {
            "none", "model", "platt", "isotonic",
        }  # fmt: skip
        best = min(("platt", "isotonic"), key=lambda way: fit.log_loss[way])
        assert fit.curve.method == best and fit.error == fit.calibration_error[best]


def _queries(bundled: Reranker) -> list[tuple[ScoredCandidates, Grades]]:
    """Twelve queries, each a passage's own words; that passage and the next one answer."""
    return [
        (
            bundled.score_candidates(" ".join(POOL[n].split()[:12]), WINDOW),
            {f"d{n}": 1, f"d{(n + 1) % len(POOL)}": 1},
        )
        for n in range(12)
    ]
