"""The promises of the README, each kept by the bundled model and a joint one in every runtime."""

import copy
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift import Candidate, Document, Reranker
from resift.errors import InputError
from resift.settings import Settings

WORDS = re.findall(r"\S+", " ".join(topics[name] for name in sorted(topics)))
TEXTS = [" ".join(WORDS[start : start + 3 + start % 170]) for start in range(0, 6000, 120)]
QUERY = "how are attributes of an instance looked up"


@pytest.fixture(scope="module", params=["bundled", "joint"])
def reranker(request: pytest.FixtureRequest, runtime: str, joint_folder: Path) -> Reranker:
    """Both kinds of model in each runtime."""
    folder = None if request.param == "bundled" else joint_folder
    return Reranker(folder, settings=Settings(runtime=runtime))


@pytest.fixture(scope="module")
def expected(reranker: Reranker) -> dict[str, float]:
    """Each text's logit when it is scored alone."""
    return {text: float(reranker.score(QUERY, [text])[0]) for text in TEXTS[::5]}


@given(st.data())
@settings(max_examples=6, deadline=None)
def test_a_pairs_score_is_its_own_alone_and_among_others_in_any_order(
    reranker: Reranker, expected: dict[str, float], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(TEXTS)))
    order = data.draw(st.permutations(TEXTS))[:size]
    for text, logit in zip(order, reranker.score(QUERY, order), strict=True):
        if text in expected:
            assert abs(float(logit) - expected[text]) <= 1e-3


def test_one_bad_document_never_spoils_a_call(reranker: Reranker) -> None:
    bad = ["", "   \n", None, b"bytes", 7, "\ud800", "\x00\x01"]
    statuses = ["empty", "empty", "not_text", "not_text", "not_text", "not_text", "empty"]
    clean = reranker.score(QUERY, TEXTS[:5])
    mixed = reranker.score(QUERY, [*TEXTS[:3], *bad, *TEXTS[3:5]])  # type: ignore[list-item]
    assert np.array_equal(np.concatenate([mixed[:3], mixed[-2:]]), clean)
    assert np.isnan(mixed[3:-2]).all()
    ranking = reranker.rank(QUERY, [*bad, *TEXTS[:5]], top_n=None)  # type: ignore[list-item]
    assert [hit.status for hit in sorted(ranking, key=lambda hit: hit.index)][:7] == statuses
    assert [hit.index for hit in ranking][5:] == list(range(7))  # behind, in first-stage order
    assert (ranking.receipt.scored, ranking.receipt.skipped) == (5, 7)
    assert not ranking.receipt.partial


def test_an_overlong_document_is_cut_and_says_by_how_much(reranker: Reranker) -> None:
    long = " ".join(WORDS[:3000])
    hit = reranker.rank(QUERY, [long, TEXTS[1]]).hits
    cut = next(own for own in hit if own.index == 0)
    assert cut.status == "cut"
    assert cut.tokens_seen > 0 and cut.tokens_dropped > 2000
    start, end = cut.span
    assert start == 0 and 0 < end < len(long)
    assert next(own for own in hit if own.index == 1).status == "ok"


def test_late_is_an_answer_in_first_stage_order(reranker: Reranker) -> None:
    candidates = [Candidate(str(i), text, rank=50 - i) for i, text in enumerate(TEXTS[:20])]
    ranking = reranker.rank(QUERY, candidates, top_n=None, budget_ms=0)
    assert ranking.receipt.partial and ranking.receipt.reason == "time was up"
    assert ranking.receipt.scored == 0
    assert {hit.status for hit in ranking} == {"late"}
    assert [hit.first_stage_rank for hit in ranking] == sorted(50 - i for i in range(20))
    assert all(hit.score is None and hit.logit is None for hit in ranking)


def test_the_first_stage_keeps_the_say_that_the_receipt_states(reranker: Reranker) -> None:
    documents = [Document(str(i), text) for i, text in enumerate(TEXTS[:10])]
    scored = [Candidate(d.id, d.text, rank=i + 1, score=10.0 - i) for i, d in enumerate(documents)]
    plain = reranker.rank(QUERY, documents)
    assert plain.receipt.fusion_weight == 0
    off = reranker.rank(QUERY, scored, fusion_weight=0)
    assert [hit.id for hit in off] == [hit.id for hit in plain]
    assert off.receipt.fusion_weight == 0
    heavy = reranker.rank(QUERY, scored, fusion_weight=1000)
    assert [hit.id for hit in heavy] == [document.id for document in documents]
    assert {hit.id: hit.logit for hit in heavy} == {hit.id: hit.logit for hit in plain}
    unscored = [*scored[:-1], Candidate("9", TEXTS[9])]
    assert reranker.rank(QUERY, unscored, fusion_weight=1000).receipt.fusion_weight == 0


def test_the_fitted_weight_is_used_where_all_candidates_have_scores(bundled: Reranker) -> None:
    scored = [Candidate(str(i), text, score=1.0 / (i + 1)) for i, text in enumerate(TEXTS[:10])]
    spoiled = [*scored, Candidate("empty", "")]  # what is not scored needs no score
    assert bundled.rank(QUERY, scored).receipt.fusion_weight == 0.3
    assert bundled.rank(QUERY, spoiled).receipt.fusion_weight == 0.3


def test_threads_share_one_reranker(reranker: Reranker) -> None:
    alone = reranker.score(QUERY, TEXTS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: reranker.score(QUERY, TEXTS), range(16)))
    assert all(np.array_equal(own, alone) for own in found)


def test_inputs_are_never_mutated(reranker: Reranker) -> None:
    metadata = {"page": 3, "tags": ["a"]}
    given_documents = [
        Candidate("a", TEXTS[0], "Title", metadata, rank=2, score=1.0),
        Document("b", TEXTS[1]),
        TEXTS[2],
        None,
    ]
    before = copy.deepcopy(given_documents)
    ranking = reranker.rank(QUERY, given_documents, top_n=None)  # type: ignore[arg-type]
    assert given_documents == before
    hit = next(own for own in ranking if own.id == "a")
    assert (hit.title, hit.metadata, hit.first_stage_rank) == ("Title", metadata, 2)
    assert hit.first_stage_score == 1.0


def test_equal_texts_keep_their_input_order(reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, [TEXTS[1]] * 6 + [TEXTS[2]], top_n=None)
    assert [hit.index for hit in ranking if hit.index < 6] == list(range(6))
    assert len({hit.score for hit in ranking if hit.index < 6}) == 1


@pytest.mark.parametrize("query", ["", "  ", None, 3, "word " * 600, "\x00"])
def test_a_query_that_cannot_be_read_whole_is_refused_in_one_line(
    reranker: Reranker, query: str
) -> None:
    with pytest.raises(InputError, match="query") as caught:
        reranker.rank(query, TEXTS[:2])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("top_n", [0, -1, 1.5, "3"])
def test_a_top_n_below_one_is_refused(reranker: Reranker, top_n: int) -> None:
    with pytest.raises(InputError, match="top_n"):
        reranker.rank(QUERY, TEXTS[:2], top_n)


def test_top_n_of_more_than_there_are_gives_all_and_no_documents_give_none(
    reranker: Reranker,
) -> None:
    assert len(reranker.rank(QUERY, TEXTS[:3], top_n=50)) == 3
    assert len(reranker.rank(QUERY, TEXTS[:20])) == 10
    nothing = reranker.rank(QUERY, [])
    assert len(nothing) == 0 and nothing.receipt.depth == 0 and not nothing.receipt.partial
    assert reranker.score(QUERY, []).shape == (0,)


def test_a_lone_document_is_not_taken_for_a_list_of_letters(reranker: Reranker) -> None:
    with pytest.raises(InputError, match="expected a list"):
        reranker.rank(QUERY, "Paris is the capital of France.")
