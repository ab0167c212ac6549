"""An effect is the difference of two scores, and the sentence that answers has the largest."""

import copy
import json
import pickle
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resift import Candidate, Document, Explanation, Hit, Part, Ranking, Reranker
from resift.errors import InputError, QueryError
from resift.rerank.explain import Occlusion, make_comparison
from resift.rerank.result import ScoredCandidates
from resift.rerank.sentences import MAX_PARTS
from resift.settings import Settings
from texts import QUESTIONS, passages

QUERY = "what stops an object from being deleted"
ANSWER = "Object lock keeps an object from being deleted until a date. "
DULL = ["A bucket has an owner. ", "Functions run code. ", "Queues hold messages. "]
TITLE = "Retention of objects"
BOTH = 1e-4  # a logit alone and among others


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


@pytest.fixture(params=["late_interaction", "cross_encoder"])
def reranker(request: pytest.FixtureRequest, bundled: Reranker, joint: Reranker) -> Reranker:
    """Each kind of model in turn, in each runtime."""
    return bundled if request.param == "late_interaction" else joint


def _without(explanation: Explanation, title: str, text: str) -> list[str]:
    """What is read where each part is left out, by its positions."""
    head = f"{title}\n" if title else ""
    return [
        text if part.where == "title" else head + text[: part.start] + text[part.end :]
        for part in explanation.parts
    ]


def _effects(explanation: Explanation) -> list[float]:
    return [cast(float, part.effect) for part in explanation.parts]


@pytest.mark.parametrize("title", ["", TITLE])
@pytest.mark.parametrize(
    "text", ["".join([*DULL, ANSWER]), passages(9, 1500)[8], "物。次。é\u0301! Ω\x1b."]
)
def test_an_effect_is_what_the_logit_falls_by_when_scored_without_the_part(
    reranker: Reranker, text: str, title: str
) -> None:
    document = Document("d", text, title)
    explanation = reranker.explain(QUERY, document)
    assert explanation.logit == pytest.approx(reranker.score(QUERY, [document])[0], abs=BOTH)
    for part, rest in zip(explanation.parts, _without(explanation, title, text), strict=True):
        alone = reranker.score(QUERY, [rest])[0]
        assert part.effect == pytest.approx(explanation.logit - alone, abs=BOTH)


def test_parts_are_the_title_and_all_of_the_text(bundled: Reranker) -> None:
    text = "".join([*DULL, ANSWER])
    explanation = bundled.explain(QUERY, Document("d", text, TITLE))
    assert (explanation.parts[0].where, explanation.parts[0].text) == ("title", TITLE)
    assert [part.text for part in explanation.parts[1:]] == [*DULL, ANSWER]
    assert all(text[part.start : part.end] == part.text for part in explanation.parts[1:])
    assert (explanation.id, explanation.rank, explanation.span, explanation.unread) == (
        "d",
        None,
        (0, len(text)),
        0,
    )


@pytest.mark.parametrize("index", range(4))
def test_the_sentence_that_answers_moves_the_score_most(bundled: Reranker, index: int) -> None:
    parts = [*DULL[:index], ANSWER, *DULL[index:]]
    explanation = bundled.rank(QUERY, ["".join(parts), *DULL]).explain(0)
    best, *_ = explanation.strongest()
    assert best.text == ANSWER and (best.effect or 0) > 1
    assert max(_effects(explanation)) == best.effect


def test_the_strongest_are_by_how_far_they_move_it_either_way(bundled: Reranker) -> None:
    explanation = bundled.explain(QUERY, "".join([*DULL, ANSWER]))
    sizes = [abs(part.effect or 0) for part in explanation.strongest(9)]
    assert len(sizes) == 4 and sizes == sorted(sizes, reverse=True)
    assert len(explanation.strongest(2)) == 2


def test_the_logit_is_of_every_stage_whatever_the_hit_was_ranked_by(bundled: Reranker) -> None:
    pruned = bundled.rank(QUESTIONS[0], passages(40, 400), 3)
    assert pruned.receipt.pruned
    hit = replace(pruned[2], logit=99.0, stages=1)
    explanation = replace(pruned, hits=(*pruned.hits[:2], hit)).explain(2)
    assert explanation.logit == pytest.approx(pruned[2].logit, abs=BOTH)


def test_a_hit_that_time_did_not_suffice_for_is_scored_now(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, ["".join(DULL), ANSWER], budget_ms=0)
    assert [hit.status for hit in ranking] == ["late", "late"]
    explanation = ranking.explain(1)
    assert explanation.logit == pytest.approx(bundled.score(QUERY, [ANSWER])[0], abs=BOTH)
    assert (explanation.rank, explanation.span) == (2, (0, len(ANSWER)))


def test_of_a_cut_text_only_what_was_read_has_parts(bundled: Reranker) -> None:
    text = " ".join(["This is a sentence of some length about nothing at all."] * 200)
    hit = bundled.rank(QUERY, [text])[0]
    explanation = bundled.explain(QUERY, hit)
    assert hit.status == "cut"
    assert explanation.span == hit.span and explanation.parts[-1].end == hit.span[1]
    assert explanation.unread == len(text) - hit.span[1] > 0
    read = text[: hit.span[1]]
    first = read[explanation.parts[0].end :]  # nothing of the rest moves up
    lost = explanation.logit - bundled.score(QUERY, [first])[0]
    assert explanation.parts[0].effect == pytest.approx(lost, abs=BOTH)
    assert explanation.logit == pytest.approx(hit.logit, abs=BOTH)


def test_a_title_that_fills_the_model_leaves_no_text(bundled: Reranker) -> None:
    explanation = bundled.explain(QUERY, Document("d", ANSWER, "word " * 600))
    assert [(part.where, part.effect) for part in explanation.parts] == [("title", None)]
    assert (explanation.span, explanation.unread) == ((0, 0), len(ANSWER))


@pytest.mark.parametrize("text", [ANSWER, "x", "中"])
def test_without_anything_left_there_is_no_effect(bundled: Reranker, text: str) -> None:
    explanation = bundled.explain(QUERY, text)
    assert [(part.text, part.effect) for part in explanation.parts] == [(text, None)]
    assert explanation.strongest() == ()
    no_title: Any = None
    assert bundled.explain(QUERY, Document("0", text, no_title)) == explanation


def test_beside_a_title_a_single_sentence_has_an_effect(bundled: Reranker) -> None:
    explanation = bundled.explain(QUERY, Document("d", ANSWER, TITLE))
    assert len(explanation.parts) == 2 and (explanation.parts[1].effect or 0) > 1
    (only,) = bundled.explain(QUERY, Document("d", "", TITLE)).parts
    assert (only.where, only.effect) == ("title", None)


@pytest.mark.parametrize(
    "text",
    [
        "A. " * 300_000,
        "word" + " " * 3_000_000 + "word. And.",
        "x" * 99 + " x" * 500_000,
        ". " * 9999,
    ],
)
def test_a_huge_text_costs_no_more_than_a_long_one(
    bundled: Reranker, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Sequence[str]] = []
    engine: Any = bundled._engine
    step = engine.score

    def noted(query: str, texts: Sequence[str], **others: Any) -> Any:
        scored.append(texts)
        return step(query, texts, **others)

    monkeypatch.setattr(engine, "score", noted)
    explanation = bundled.explain(QUERY, text)
    (texts,) = scored
    assert len(texts) == len(explanation.parts) + 1 <= MAX_PARTS + 1
    assert sum(map(len, texts)) <= 7_000_000


@pytest.mark.parametrize(
    ("text", "reason"), [("", "nothing in it"), ("物", "nothing in it"),
                         (" \n", "nothing in it"), ("\x00", "nothing in it"),
                         (None, "not a string"), (b"x", "not a string"),
                         ("a\udcff", "not a string")]
)  # fmt: skip
def test_what_cannot_be_read_cannot_be_explained(bundled: Reranker, text: Any, reason: str) -> None:
    ranking = bundled.rank(QUERY, [Candidate("first", ANSWER), Candidate("bad", text)])
    with pytest.raises(InputError, match=f"document bad: nothing to explain: .*{reason}"):
        ranking.explain(1)
    with pytest.raises(InputError, match=reason):
        bundled.explain(QUERY, Candidate("bad", text))
    refused = reason if isinstance(text, str) else "expected str, Document"
    with pytest.raises(InputError, match=refused):
        bundled.explain(QUERY, text)


@pytest.mark.parametrize("query", ["", "  ", "word " * 600, None])
def test_a_query_that_cannot_be_used_is_refused(bundled: Reranker, query: Any) -> None:
    with pytest.raises(QueryError):
        bundled.explain(query, ANSWER)


def test_places_count_as_in_the_ranking(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, [*DULL, ANSWER], top_n=3)
    assert ranking.explain(-1).id == ranking[-1].id
    assert [ranking.explain(index).rank for index in range(3)] == [1, 2, 3]
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"hit {index}: there are 3"):
            ranking.explain(index)
        with pytest.raises(IndexError, match=f"hit {index}: there are 3"):
            ranking.compare(0, index)


def test_a_pickle_or_copy_of_a_ranking_leaves_the_model_behind(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, [*DULL, ANSWER])
    data = pickle.dumps(ranking)
    assert len(data) < 5000
    for other in (pickle.loads(data), copy.deepcopy(ranking)):
        assert other == ranking and other.explainer is None
        with pytest.raises(ValueError, match=r"no reranker .*use Reranker\(\)\.explain"):
            other.explain(0)
        assert bundled.explain(QUERY, other[0]) == ranking.explain(0)
    assert json.loads(json.dumps(asdict(ranking)))["explainer"] is None
    assert copy.copy(ranking).explainer is replace(ranking).explainer is ranking.explainer
    assert "explainer" not in repr(ranking) and isinstance(ranking.explainer, Occlusion)


def test_a_ranking_is_made_and_compared_as_before(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, [*DULL, ANSWER])
    plain = Ranking(ranking.query, ranking.hits, ranking.receipt)
    assert plain == ranking and plain.explainer is None


async def _arank(reranker: Reranker) -> Ranking:
    return await reranker.arank(QUERY, [*DULL, ANSWER])


def test_what_was_ranked_asynchronously_can_be_explained(bundled: Reranker) -> None:
    import asyncio

    assert asyncio.run(_arank(bundled)).explain(0).parts[0].text == ANSWER


def test_an_explanation_fills_no_cache(tmp_path: Path) -> None:
    """No query asks for a text without its third sentence again."""
    text = "The sky is blue. Grass is green. Snow is white. Coal is black."
    settings = Settings(cache_mb=1, cache_file=str(tmp_path / "pairs.db"), state_cache_mb=1)
    reranker = Reranker(settings=settings)
    ranking = reranker.rank("which colour has snow", [text])
    pairs, states = reranker._engine._cache, reranker._engine._state_cache
    assert pairs is not None and states is not None
    before = len(pairs._memory._values), len(states._values)
    explained = ranking.explain(0)
    assert len(explained.parts) == 4 and explained.logit == ranking[0].logit
    assert (len(pairs._memory._values), len(states._values)) == before == (1, 1)
    with closing(sqlite3.connect(tmp_path / "pairs.db")) as connection:
        assert connection.execute("SELECT count(*) FROM pairs").fetchone() == (1,)


COMPARED = [
    "A bucket has an owner. Versions keep deleted objects.",
    "Queues hold messages. Object lock keeps an object from being deleted until a date.",
    "Functions run code.",
    "",
    "Deleting an object needs rights. An owner has them.",
    "A policy says who may delete an object.",
]
shared = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _compared(scores: list[float] | None = None) -> list[Candidate]:
    given = scores or [float(9 - n) for n in range(len(COMPARED))]
    return [
        Candidate(str(n), COMPARED[n], rank=n + 1, score=given[n]) for n in range(len(COMPARED))
    ]


@pytest.fixture(scope="module")
def scored(bundled: Reranker) -> ScoredCandidates:
    return bundled.score_candidates(QUERY, _compared())


def _hit(rank: int, logit: float | None, **more: float | str) -> Hit:
    plain = Hit(
        rank=rank, index=rank - 1, id=str(rank), score=None, logit=logit, text="",
        first_stage_rank=rank, first_stage_score=None, tokens_seen=0, tokens_dropped=0,
        span=(0, 0), status="ok" if logit is not None else "late", stages=3,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


@shared
@given(
    st.lists(st.floats(-9, 9, width=32), min_size=len(COMPARED), max_size=len(COMPARED)),
    st.floats(0, 5),
    st.integers(1, len(COMPARED)),
)
def test_the_parts_of_a_lead_add_up_to_it_whatever_the_first_stage_said(
    scored: ScoredCandidates, scores: list[float], weight: float, depth: int
) -> None:
    ranking = replace(scored, candidates=_compared(scores)).ranking(
        depth=depth, fusion_weight=weight
    )
    for above in ranking:
        for below in ranking.hits[above.rank :]:
            comparison = make_comparison(above, below, None, None)
            if below.logit is None:
                assert (comparison.basis, comparison.lead, comparison.logit) == (
                    "unscored",
                    None,
                    None,
                )
                continue
            assert comparison.basis in ("score", "tie")
            lead, parts = (
                comparison.lead,
                (comparison.logit, comparison.fusion, comparison.feedback),
            )
            assert lead is not None and lead >= 0
            assert sum(part or 0.0 for part in parts) == pytest.approx(lead, abs=1e-12)
            assert comparison.fusion == above.fusion - below.fusion
            assert comparison.feedback == above.feedback - below.feedback


def test_a_summary_says_what_each_part_adds_and_quotes_the_strongest_sentences(
    bundled: Reranker,
) -> None:
    ranking = bundled.rank(QUERY, _compared())
    comparison = ranking.compare(0, 1)
    assert (comparison.above, comparison.below, comparison.basis) == (
        ranking[0],
        ranking[1],
        "score",
    )
    assert comparison.above_explained == ranking.explain(0)
    assert comparison.below_explained == ranking.explain(1)
    assert comparison.summary.startswith(f"rank 1 is above rank 2 by {comparison.lead:.2f}: ")
    assert (
        f"{comparison.logit:+.2f} from the logit (“Object lock keeps an obj" in comparison.summary
    )
    assert f"{comparison.fusion:+.2f} from the first stage, " in comparison.summary
    assert comparison.summary.endswith(f"{comparison.feedback:+.2f} from feedback")
    assert " against “Deleting an object needs rights.” +" in comparison.summary


def test_either_order_of_two_places_asks_the_same(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, COMPARED[:3])
    assert ranking.compare(2, 0) == ranking.compare(0, -1)
    with pytest.raises(InputError, match="rank 2: compared with itself"):
        ranking.compare(1, 1)


def test_without_a_first_stage_only_logit_and_feedback_are_named(bundled: Reranker) -> None:
    comparison = bundled.rank(QUERY, COMPARED[:3]).compare(0, 1)
    assert comparison.fusion == 0 and "first stage" not in comparison.summary


def test_a_hit_that_cannot_be_read_is_below_for_that(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, COMPARED)
    comparison = ranking.compare(0, -1)
    assert (comparison.basis, comparison.below_explained) == ("unscored", None)
    assert comparison.summary == "rank 1 is above rank 6, which has no score: empty"


def test_equal_documents_are_level_and_the_earlier_comes_first(joint: Reranker) -> None:
    comparison = joint.rank(QUERY, [COMPARED[0], COMPARED[0]]).compare(0, 1)
    assert (comparison.basis, comparison.lead) == ("tie", 0)
    assert (
        comparison.summary
        == "rank 1 and rank 2 are level; an earlier position in the list came first"
    )


def test_of_equal_sums_the_higher_logit_comes_first() -> None:
    comparison = make_comparison(_hit(1, 2.0, fusion=0.5), _hit(2, 1.0, fusion=1.5), None, None)
    assert (comparison.basis, comparison.lead, comparison.logit, comparison.fusion) == (
        "tie",
        0,
        1,
        -1,
    )
    assert (
        "level; a higher logit came first: +1.00 from the logit, -1.00 from" in comparison.summary
    )


def test_a_pruned_hit_is_behind_with_a_higher_sum() -> None:
    comparison = make_comparison(_hit(1, 1.0), _hit(2, 1.5, stages=2), None, None)
    assert (comparison.basis, comparison.lead) == ("exit", -0.5)
    assert "pruned after stage 2 of the model although it led by 0.50 then" in comparison.summary


def test_without_scores_the_first_stages_order_is_the_reason() -> None:
    comparison = make_comparison(_hit(1, None), _hit(2, None, status="empty"), None, None)
    assert (comparison.basis, comparison.lead) == ("first_stage", None)
    assert comparison.summary == "rank 1 and rank 2 keep the first stage's order: late, empty"


def test_a_long_sentence_is_quoted_by_its_beginning_on_one_line() -> None:
    part = Part("word\n" * 99, 0, 495, 2.5)
    explanation = Explanation("1", 1, 3.0, (part,), (0, 495), 0)
    summary = make_comparison(_hit(1, 3.0), _hit(2, 1.0), explanation, None).summary
    assert "from the logit (“word word " in summary and "…” +2.50)" in summary
    assert len(summary) < 140 and "\n" not in summary
