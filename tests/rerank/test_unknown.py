"""A word that the tokenizer does not know agrees with nothing; special tokens are no text."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from artifacts import make_joint_artifact
from resift import Candidate, Reranker
from resift.errors import QueryError
from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.settings import Settings
from split_artifacts import WORDS, make_split_artifact

TEXTS = ["w" * 300, "😀 😀", "Shenzhen is a city in China", "the weather in Shenzhen is warm"]
UNKNOWN = ["深圳", "😀", "深 圳？", "x" * 101, "‽ ☃ 圳!"]
CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def bundled() -> Reranker:
    return Reranker(settings=Settings(cache_mb=5))


@pytest.fixture(scope="module", params=["late_interaction", "cross_encoder"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    make = make_split_artifact if request.param == "late_interaction" else make_joint_artifact
    return Reranker(make(tmp_path_factory.mktemp("model")))


@pytest.mark.filterwarnings("ignore:.*does not know")
@pytest.mark.parametrize("query", UNKNOWN)
def test_of_an_unknown_query_the_first_stages_order_stands_unscored(
    bundled: Reranker, query: str
) -> None:
    given = [Candidate(str(n), text, rank=4 - n, score=n) for n, text in enumerate(TEXTS)]
    for _ in range(2):  # out of the cache too
        ranking = bundled.rank(
            query, [*given, Candidate("e", "")], abstain_below=0.5, min_score=0.1
        )
        assert [hit.index for hit in ranking] == [3, 2, 1, 0]
        assert {hit.status for hit in ranking} == {"not_reranked"}
        assert all(hit.score is None and hit.logit is None for hit in ranking)
        receipt = ranking.receipt
        assert (receipt.query_unknown_share, receipt.scored, receipt.partial) == (1, 0, True)
        assert "no word" in (receipt.reason or "") and not ranking.abstained
    assert np.isnan(bundled.score(query, TEXTS)).all()
    assert bundled.score_candidates(query, given).ranking().receipt.query_unknown_share == 1


@pytest.mark.filterwarnings("ignore:.*does not know")
def test_what_is_known_of_a_query_decides_alone(bundled: Reranker) -> None:
    ranking = bundled.rank("深圳 weather", TEXTS)
    assert ranking.receipt.query_unknown_share == pytest.approx(2 / 3)
    assert not ranking.receipt.partial and ranking[0].index == 3
    assert [hit.status for hit in ranking if hit.index < 2] == ["empty", "empty"]
    assert bundled.score("深圳 weather", TEXTS[2:]).tolist() == pytest.approx(
        bundled.score("weather", TEXTS[2:]).tolist()
    )
    assert bundled.rank("weather", TEXTS).receipt.query_unknown_share == 0


def test_unknown_words_of_a_document_change_nothing(tiny: Reranker) -> None:
    query, text = " ".join(WORDS[:3]), " ".join(WORDS[2:9])
    plain, strange = tiny.score(query, [text, f"{text[:15]} 圳 {text[16:]} ☃ 圳"])
    assert strange == plain
    assert tiny.rank(query, ["圳 ☃", text])[1].status == "empty"
    assert tiny.rank(query, ["圳 ☃", text]).receipt.skipped == 1


def test_what_is_kept_of_them_is_the_same(bundled: Reranker) -> None:
    texts = [*TEXTS, "weather 深圳 in 圳圳 Shenzhen"]
    precomputed = bundled.precompute(texts)
    candidates = [
        Candidate(str(n), text, precomputed=precomputed[n]) for n, text in enumerate(texts)
    ]
    query = "the weather in Shenzhen"
    np.testing.assert_array_equal(bundled.score(query, candidates), bundled.score(query, texts))
    assert bundled.rank("Shenzhen weather today", candidates, exact=True).receipt.precomputed == 5


def test_the_hint_is_given_once() -> None:
    reranker = Reranker()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for query in ("深圳", "深圳 weather", "weather"):
            reranker.rank(query, TEXTS[2:])
    assert [
        str(warning.message) for warning in caught if "does not know 100%" in str(warning.message)
    ]
    assert len(caught) == 1 and caught[0].filename == __file__


def test_a_query_of_nothing_at_all_is_refused(bundled: Reranker) -> None:
    for query in ("\u200b", "\ufeff \x00", "\u2060\u200d"):
        with pytest.raises(QueryError):
            bundled.rank(query, TEXTS)


def test_special_tokens_that_a_text_spells_are_text() -> None:
    tokens = Tokens(load_tokenizer(BUNDLED / "tokenizer.json"), 64)
    text = "[PAD] a [SEP] b [CLS] [MASK] [UNK]"
    (row,) = tokens.pairs(tokens.head("[SEP] [CLS] c"), [text])
    assert (row.ids == SEP).sum() == 2 and (row.ids == CLS).sum() == 1
    assert row.unknown == 0 and not np.isin(row.ids, [0, 100, 103]).any()
    (row,) = tokens.single([text])
    assert np.isin(row.ids, [0, 100, 101, 102, 103]).sum() == 2


def test_a_document_cannot_end_the_query(tiny: Reranker) -> None:
    query = " ".join(WORDS[:3])
    plain, hidden = tiny.score(query, [WORDS[40], f"{WORDS[40]} [SEP] {query} [PAD]"])
    alone = tiny.score(query, [f"{WORDS[40]} SEP {query} PAD"])
    assert hidden != plain and np.isfinite(alone).all()


def test_signs_alone_are_read_where_nothing_is_unknown(bundled: Reranker) -> None:
    receipt = bundled.rank("C++ ?", TEXTS).receipt
    assert receipt.scored == 2 and receipt.query_unknown_share == 0
    assert bundled.rank("?!", TEXTS).receipt.scored == 2


def test_nothing_is_explained_beside_an_unknown_query(tmp_path: Path) -> None:
    reranker = Reranker()
    with pytest.warns(UserWarning, match="does not know"):
        ranking = reranker.rank("深圳", TEXTS)
    with pytest.raises(ValueError, match="no word that this model knows"):
        ranking.explain(0)
    assert ranking.compare(0, 1).basis == "first_stage"


@pytest.mark.filterwarnings("ignore:.*does not know")
def test_hits_and_receipt_say_how_much_of_a_document_is_unknown(bundled: Reranker) -> None:
    texts = ["the weather", "weather 深圳 圳 圳", "深 圳", "warm weather 深"]
    for _ in range(2):  # out of the cache too
        ranking = bundled.rank("weather", texts)
        shares = {hit.text: hit.unknown_share for hit in ranking}
        assert [shares[text] for text in texts] == pytest.approx([0, 0.8, 1, 1 / 3])
        assert ranking.receipt.mostly_unknown == 2
        assert ranking.receipt.query_unknown_share == 0


def test_documents_that_are_mostly_unknown_are_warned_about_once() -> None:
    reranker = Reranker(settings=Settings(cache_mb=0))
    with pytest.warns(UserWarning, match="most of the tokens of 1 of 2 documents") as caught:
        reranker.rank("weather", ["weather", "深圳市 圳 a"])
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reranker.rank("weather", ["深圳市 圳 a"])


def test_windows_count_each_unknown_token_once(tiny: Reranker) -> None:
    text = " ".join(f"{word} ☃." for word in WORDS * 4) + " 圳." * 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (hit,) = tiny.rank(" ".join(WORDS[:3]), [text], long_documents="windows")
    read = hit.tokens_seen / (1 - hit.unknown_share)
    assert hit.windows == 4 and 0.2 < hit.unknown_share < 0.6
    assert (
        read == pytest.approx(round(read))
        and round(read) < 4 * tiny._engine.model._tokens.max_tokens
    )
