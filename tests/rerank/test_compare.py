"""Why one hit stands above another adds up to what the order is by, and says so in a sentence."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resift import Candidate, Explanation, Part, Reranker
from resift.errors import InputError
from resift.rerank.compare import compared
from resift.rerank.scored import ScoredCandidates
from resift.types import Hit

QUERY = "what stops an object from being deleted"
TEXTS = [
    "A bucket has an owner. Versions keep deleted objects.",
    "Queues hold messages. Object lock keeps an object from being deleted until a date.",
    "Functions run code.",
    "",
    "Deleting an object needs rights. An owner has them.",
    "A policy says who may delete an object.",
]
shared = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


def _window(scores: list[float] | None = None) -> list[Candidate]:
    given = scores or [float(9 - n) for n in range(len(TEXTS))]
    return [Candidate(str(n), TEXTS[n], rank=n + 1, score=given[n]) for n in range(len(TEXTS))]


@pytest.fixture(scope="module")
def reading(bundled: Reranker) -> ScoredCandidates:
    return bundled.score_candidates(QUERY, _window())


def _hit(rank: int, logit: float | None, **more: float | str) -> Hit:
    plain = Hit(
        rank=rank, index=rank - 1, id=str(rank), score=None, logit=logit, text="",
        first_stage_rank=rank, first_stage_score=None, tokens_seen=0, tokens_dropped=0,
        span=(0, 0), status="ok" if logit is not None else "late", stages=3,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


@shared
@given(
    st.lists(st.floats(-9, 9, width=32), min_size=len(TEXTS), max_size=len(TEXTS)),
    st.floats(0, 5),
    st.integers(1, len(TEXTS)),
)
def test_the_parts_of_a_lead_add_up_to_it_whatever_the_first_stage_said(
    scored: ScoredCandidates, scores: list[float], weight: float, depth: int
) -> None:
    ranking = replace(scored, candidates=_window(scores)).ranking(depth=depth, fusion_weight=weight)
    for one in ranking:
        for other in ranking.hits[one.rank :]:
            found = compared(one, other, None, None)
            if other.logit is None:
                assert (found.basis, found.lead, found.logit) == ("unscored", None, None)
                continue
            assert found.basis in ("score", "tie")
            lead, parts = found.lead, (found.logit, found.fusion, found.feedback)
            assert lead is not None and lead >= 0
            assert sum(part or 0.0 for part in parts) == pytest.approx(lead, abs=1e-12)
            assert found.fusion == one.fusion - other.fusion
            assert found.feedback == one.feedback - other.feedback


def test_a_summary_says_what_each_part_adds_and_quotes_the_strongest_sentences(
    bundled: Reranker,
) -> None:
    ranking = bundled.rank(QUERY, _window())
    found = ranking.compare(0, 1)
    assert (found.above, found.below, found.basis) == (ranking[0], ranking[1], "score")
    assert found.above_explained == ranking.explain(0)
    assert found.below_explained == ranking.explain(1)
    assert found.summary.startswith(f"rank 1 stands above rank 2 by {found.lead:.2f}: ")
    assert f"{found.logit:+.2f} from reading (“Object lock keeps an obj" in found.summary
    assert f"{found.fusion:+.2f} from the first stage, " in found.summary
    assert found.summary.endswith(f"{found.feedback:+.2f} from feedback to the leaders")
    assert " against “Deleting an object needs rights.” +" in found.summary


def test_either_order_of_two_places_asks_the_same(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, TEXTS[:3])
    assert ranking.compare(2, 0) == ranking.compare(0, -1)
    with pytest.raises(InputError, match="rank 2: compared with itself"):
        ranking.compare(1, 1)


def test_without_a_first_stage_only_reading_and_likeness_are_named(bundled: Reranker) -> None:
    found = bundled.rank(QUERY, TEXTS[:3]).compare(0, 1)
    assert found.fusion == 0 and "first stage" not in found.summary


def test_a_hit_that_cannot_be_read_is_below_for_that(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, TEXTS)
    found = ranking.compare(0, -1)
    assert (found.basis, found.below_explained) == ("unscored", None)
    assert found.summary == "rank 1 stands above rank 6, which has no score: empty"


def test_equal_documents_are_level_and_the_earlier_comes_first(joint: Reranker) -> None:
    found = joint.rank(QUERY, [TEXTS[0], TEXTS[0]]).compare(0, 1)
    assert (found.basis, found.lead) == ("tie", 0)
    assert found.summary == "rank 1 and rank 2 are level; an earlier place in the list came first"


def test_of_equal_sums_the_higher_logit_comes_first() -> None:
    found = compared(_hit(1, 2.0, fusion=0.5), _hit(2, 1.0, fusion=1.5), None, None)
    assert (found.basis, found.lead, found.logit, found.fusion) == ("tie", 0, 1, -1)
    assert "level; a higher logit came first: +1.00 from reading, -1.00 from" in found.summary


def test_who_was_let_go_stands_behind_with_a_higher_sum() -> None:
    found = compared(_hit(1, 1.0), _hit(2, 1.5, stages=2), None, None)
    assert (found.basis, found.lead) == ("exit", -0.5)
    assert "let go after stage 2 of the model although it led by 0.50 then" in found.summary


def test_without_scores_the_first_stages_order_is_the_reason() -> None:
    found = compared(_hit(1, None), _hit(2, None, status="empty"), None, None)
    assert (found.basis, found.lead) == ("first_stage", None)
    assert found.summary == "rank 1 and rank 2 keep the first stage's order: late, empty"


def test_a_long_sentence_is_quoted_by_its_beginning_on_one_line() -> None:
    part = Part("word\n" * 99, 0, 495, 2.5)
    own = Explanation("1", 1, 3.0, (part,), (0, 495), 0)
    summary = compared(_hit(1, 3.0), _hit(2, 1.0), own, None).summary
    assert "from reading (“word word " in summary and "…” +2.50)" in summary
    assert len(summary) < 140 and "\n" not in summary
