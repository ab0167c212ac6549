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

from resift import Candidate, Document, Explanation, Ranking, Reranker
from resift.errors import InputError, QueryError
from resift.rerank.explain import Occlusion
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


@pytest.fixture(params=["split", "cross_encoder"])
def reranker(request: pytest.FixtureRequest, bundled: Reranker, joint: Reranker) -> Reranker:
    """Each kind of model in turn, in each runtime."""
    return bundled if request.param == "split" else joint


def _without(explanation: Explanation, title: str, text: str) -> list[str]:
    """What is read where each part is left out, by its own places."""
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
    found = reranker.explain(QUERY, document)
    assert found.logit == pytest.approx(reranker.score(QUERY, [document])[0], abs=BOTH)
    for part, rest in zip(found.parts, _without(found, title, text), strict=True):
        alone = reranker.score(QUERY, [rest])[0]
        assert part.effect == pytest.approx(found.logit - alone, abs=BOTH)


def test_parts_are_the_title_and_all_of_the_text(bundled: Reranker) -> None:
    text = "".join([*DULL, ANSWER])
    found = bundled.explain(QUERY, Document("d", text, TITLE))
    assert (found.parts[0].where, found.parts[0].text) == ("title", TITLE)
    assert [part.text for part in found.parts[1:]] == [*DULL, ANSWER]
    assert all(text[part.start : part.end] == part.text for part in found.parts[1:])
    assert (found.id, found.rank, found.span, found.unread) == ("d", None, (0, len(text)), 0)


@pytest.mark.parametrize("place", range(4))
def test_the_sentence_that_answers_moves_the_score_most(bundled: Reranker, place: int) -> None:
    parts = [*DULL[:place], ANSWER, *DULL[place:]]
    found = bundled.rank(QUERY, ["".join(parts), *DULL]).explain(0)
    best, *_ = found.strongest()
    assert best.text == ANSWER and (best.effect or 0) > 1
    assert max(_effects(found)) == best.effect


def test_the_strongest_are_by_how_far_they_move_it_either_way(bundled: Reranker) -> None:
    found = bundled.explain(QUERY, "".join([*DULL, ANSWER]))
    sizes = [abs(part.effect or 0) for part in found.strongest(9)]
    assert len(sizes) == 4 and sizes == sorted(sizes, reverse=True)
    assert len(found.strongest(2)) == 2


def test_the_logit_is_of_every_stage_whatever_the_hit_was_ranked_by(bundled: Reranker) -> None:
    raced = bundled.rank(QUESTIONS[0], passages(40, 400), 3)
    assert raced.receipt.pruned
    hit = replace(raced[2], logit=99.0, stages=1)
    found = replace(raced, hits=(*raced.hits[:2], hit)).explain(2)
    assert found.logit == pytest.approx(raced[2].logit, abs=BOTH)


def test_a_hit_that_time_did_not_suffice_for_is_scored_now(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, ["".join(DULL), ANSWER], budget_ms=0)
    assert [hit.status for hit in ranking] == ["late", "late"]
    found = ranking.explain(1)
    assert found.logit == pytest.approx(bundled.score(QUERY, [ANSWER])[0], abs=BOTH)
    assert (found.rank, found.span) == (2, (0, len(ANSWER)))


def test_of_a_cut_text_only_what_was_read_has_parts(bundled: Reranker) -> None:
    text = " ".join(["This is a sentence of some length about nothing at all."] * 200)
    hit = bundled.rank(QUERY, [text])[0]
    found = bundled.explain(QUERY, hit)
    assert hit.status == "cut"
    assert found.span == hit.span and found.parts[-1].end == hit.span[1]
    assert found.unread == len(text) - hit.span[1] > 0
    read = text[: hit.span[1]]
    first = read[found.parts[0].end :]  # nothing of the rest moves up
    lost = found.logit - bundled.score(QUERY, [first])[0]
    assert found.parts[0].effect == pytest.approx(lost, abs=BOTH)
    assert found.logit == pytest.approx(hit.logit, abs=BOTH)


def test_a_title_that_fills_the_model_leaves_no_text(bundled: Reranker) -> None:
    found = bundled.explain(QUERY, Document("d", ANSWER, "word " * 600))
    assert [(part.where, part.effect) for part in found.parts] == [("title", None)]
    assert (found.span, found.unread) == ((0, 0), len(ANSWER))


@pytest.mark.parametrize("text", [ANSWER, "x", "中"])
def test_without_anything_left_there_is_no_effect(bundled: Reranker, text: str) -> None:
    found = bundled.explain(QUERY, text)
    assert [(part.text, part.effect) for part in found.parts] == [(text, None)]
    assert found.strongest() == ()
    no_title: Any = None
    assert bundled.explain(QUERY, Document("0", text, no_title)) == found


def test_beside_a_title_a_single_sentence_has_an_effect(bundled: Reranker) -> None:
    found = bundled.explain(QUERY, Document("d", ANSWER, TITLE))
    assert len(found.parts) == 2 and (found.parts[1].effect or 0) > 1
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
    found = bundled.explain(QUERY, text)
    (texts,) = scored
    assert len(texts) == len(found.parts) + 1 <= MAX_PARTS + 1
    assert sum(map(len, texts)) <= 7_000_000


@pytest.mark.parametrize(
    ("text", "reason"), [("", "nothing in it"), ("物", "nothing in it"),
                         (" \n", "nothing in it"), ("\x00", "nothing in it"),
                         (None, "no string"), (b"x", "no string"), ("a\udcff", "no string")]
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
    assert [ranking.explain(place).rank for place in range(3)] == [1, 2, 3]
    for place in (3, -4):
        with pytest.raises(IndexError, match=f"hit {place}: there are 3"):
            ranking.explain(place)
        with pytest.raises(IndexError, match=f"hit {place}: there are 3"):
            ranking.compare(0, place)


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
    """Nobody asks for a text without its third sentence again."""
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
