"""A ranking of our own server is asked for with all that decides it, and taken whole or refused.

Every field of a hit and of the receipt is checked; a call ends in time, whatever the server does.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from families.service_peers import BEST_FIRST, KEY, TEXTS, resift_answer, usual
from resift import Candidate, Chain, Ranking
from resift.errors import RerankerError
from resift.rerank.families.remote import RemoteReranker
from resift.rerank.families.services.resift_ranking import answer, body
from resift.rerank.first_stage import first_stage_ranking
from resift.rerank.options import RankOptions
from resift.settings import Settings
from resift.transport import endpoint
from transport.peer import Peer, Request, serving

QUERY = "which"
CANDIDATES = [Candidate(str(number), text) for number, text in enumerate(TEXTS)]
DEFAULTS = RankOptions()
Change = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.001)


class _Local:
    """A fallback that keeps the order, and notes its arguments."""

    name = "the local one"

    def __init__(self, took_s: float = 0.0, error: Exception | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self.took_s, self.error = took_s, error

    def rank(self, query: str, documents: list[Candidate], **arguments: Any) -> Ranking:
        self.calls.append(arguments)
        time.sleep(self.took_s)
        if self.error is not None:
            raise self.error
        return first_stage_ranking(query, documents, len(documents))


def opened(peer: Peer, **options: Any) -> RemoteReranker:
    options = {"fallback": None, "key": KEY, "settings": Settings()} | options
    return RemoteReranker("resift", url=peer.url, **options)


def response(options: RankOptions = DEFAULTS, change: Change | None = None) -> Any:
    """The usual answer for the candidates, as it comes out of JSON, after a change."""
    content = resift_answer(body("m", QUERY, CANDIDATES, options, None))
    if change is not None:
        change(content)
    return json.loads(json.dumps(content))


def read(options: RankOptions = DEFAULTS, change: Change | None = None) -> Any:
    return answer(response(options, change), CANDIDATES, options)


def on_hit(**values: Any) -> Change:
    return lambda content: content["hits"][0].update(values)


def on_receipt(**values: Any) -> Change:
    return lambda content: content["receipt"].update(values)


def test_a_request_has_the_documents_with_their_first_stage_and_no_metadata() -> None:
    candidates = [
        Candidate("a \ud800", "text", "Title", {"secret": 1}, rank=7, score=2.5),
        Candidate("b", "", score=math.nan),
        Candidate("c", None),  # type: ignore[arg-type]
        Candidate("d", "\ud800 alone"),
        Candidate("e", "x" * 70_000 + "\ud800"),
    ]
    content = body("m", QUERY, candidates, RankOptions(), None)
    assert content == {
        "model": "m",
        "query": QUERY,
        "documents": [
            {"id": "a \ufffd", "text": "text", "title": "Title", "rank": 7, "score": 2.5},
            {"id": "b", "text": "", "score": "NaN"},
            {"id": "c", "text": None},
            {"id": "d", "text": None},
            {"id": "e", "text": "x" * 70_000 + "\ufffd"},
        ],
    }
    assert json.loads(endpoint.encoded(content)) == content


def test_a_request_has_the_options_that_are_set() -> None:
    options = RankOptions(3, 0.5, True, 0.1, 0.2, 0.3, "windows")
    assert {key: value for key, value in body(None, QUERY, [], options, 40.0).items()} == {
        "query": QUERY, "documents": [], "top_n": 3, "fusion_weight": 0.5, "exact": True,
        "tolerance": 0.1, "min_score": 0.2, "abstain_below": 0.3, "long_documents": "windows",
        "budget_ms": 40.0,
    }  # fmt: skip
    assert body(None, QUERY, [], RankOptions(10**12, 0.0), None) == {
        "query": QUERY, "documents": [], "top_n": 1_000_000, "fusion_weight": 0.0,
    }  # fmt: skip


def test_a_whole_answer_is_read() -> None:
    hits, receipt = read()
    assert [hit.index for hit in hits] == BEST_FIRST and [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert (hits[0].score, hits[0].logit, hits[0].feedback) == (0.25, 0.9, 0.5)
    assert hits[0].text == TEXTS[1] and hits[0].span == (0, len(TEXTS[1]))
    assert (receipt.model, receipt.calibration, receipt.notes) == ("theirs", "model", ("a note",))
    assert len(read(RankOptions(2))[0]) == 2 and len(read(RankOptions(9))[0]) == 4


FIELDS = ["index", "score", "logit", "tokens_seen", "tokens_dropped", "span", "status", "stages",
          "fusion", "feedback", "dropped_counted", "windows", "unknown_share"]  # fmt: skip
NEEDED = ["model", "fingerprint", "runtime", "depth", "scored", "cut", "skipped", "partial",
          "timings_ms", "tokens", "padding_share", "fusion_weight", "feedback_weight",
          "calibration", "query_unknown_share"]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", ["missing", None, math.nan, -1, "1", [], {}, True, 10**400])
def test_a_hit_with_a_field_that_is_none_is_refused(name: str, value: Any) -> None:
    if (name, value) in (("logit", -1), ("fusion", -1), ("feedback", -1)) or (
        name == "dropped_counted" and value is True
    ):
        return
    change = on_hit(**{name: value}) if value != "missing" else (
        lambda content: content["hits"][0].pop(name)
    )  # fmt: skip
    with pytest.raises(ValueError):
        read(change=change)


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("value", ["missing", None, math.nan, -1, [], "nonsense"])
def test_a_receipt_with_a_field_that_is_none_is_refused(name: str, value: Any) -> None:
    if value == "nonsense" and name in ("model", "fingerprint", "runtime"):
        return
    change = on_receipt(**{name: value}) if value != "missing" else (
        lambda content: content["receipt"].pop(name)
    )  # fmt: skip
    with pytest.raises(ValueError):
        read(change=change)


WRONG: dict[str, Change] = {
    "no receipt": lambda content: content.pop("receipt"),
    "no hits": lambda content: content.pop("hits"),
    "fewer": lambda content: content["hits"].pop(),
    "more": lambda content: content["hits"].append(content["hits"][0]),
    "repeated": on_hit(index=0),
    "too high": on_hit(index=4),
    "score over one": on_hit(score=1.01),
    "span backwards": on_hit(span=[5, 2]),
    "span of one": on_hit(span=[5]),
    "unknown status": on_hit(status="nonsense"),
    "empty with a score": on_hit(status="empty"),
    "late before others": lambda content: (
        content["hits"][0].update(status="late", score=None, logit=None),
        content["receipt"].update(partial=True),
    ),
    "late in a whole ranking": lambda content: content["hits"][-1].update(
        status="late", score=None, logit=None
    ),
    "another depth": on_receipt(depth=5),
    "more left out": on_receipt(below_min_score="1"),
    "notes": on_receipt(notes=[1]),
    "timings": on_receipt(timings_ms={"score": "1"}),
    "reason": on_receipt(reason=3),
    "late": on_receipt(late=1.5),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_is_no_ranking_is_refused_whole(wrong: str) -> None:
    with pytest.raises(ValueError):
        read(change=WRONG[wrong])
    with serving(lambda request: request.send(200, response(change=WRONG[wrong]))) as peer:
        local = _Local()
        with opened(peer, fallback=local) as reranker:
            ranking = reranker.rank(QUERY, TEXTS)
        assert len(peer.requests) == 2, "it is asked for once more"
    assert len(local.calls) == 1 and len(ranking) == 4
    assert "its answer is no ranking" in str(ranking.receipt.reason)


def test_min_score_leaves_out_as_many_as_the_receipt_says() -> None:
    options = RankOptions(min_score=0.2)

    def change(content: Any) -> None:
        del content["hits"][2:]
        content["receipt"].update(below_min_score=1, skipped=1)

    assert [hit.index for hit in read(options, change)[0]] == BEST_FIRST[:2]
    with pytest.raises(ValueError, match="4 hits: expected 2"):
        read(options, on_receipt(below_min_score=1, skipped=1))


def test_an_older_server_need_not_say_everything() -> None:
    receipt = read(change=on_receipt(unheard_of=3))[1]
    assert (receipt.late, receipt.exact) == (0, True)


def test_a_long_list_is_one_request_and_its_scores_are_several() -> None:
    texts = [f"text {number / 10}" for number in range(2_100)]
    with serving(usual("resift")) as peer, opened(peer) as reranker:
        ranking = reranker.rank(QUERY, texts)
        assert len(peer.requests) == 1 and len(ranking) == 2_100
        scores = reranker.score(QUERY, texts)
        assert len(peer.requests) == 4
    assert scores[7] == pytest.approx(0.7) and len(scores) == 2_100


def test_the_receipt_is_the_servers_with_the_whole_time() -> None:
    with serving(usual("resift")) as peer, opened(peer) as reranker:
        receipt = reranker.rank(QUERY, TEXTS).receipt
        host = peer.url.partition("//")[2]
    assert (receipt.model, receipt.fingerprint) == ("theirs", "0123456789abcdef")
    assert receipt.runtime == f"resift at {host}" and receipt.notes == ("a note",)
    assert list(receipt.timings_ms) == ["score", "network", "total"]
    assert receipt.timings_ms["total"] >= receipt.timings_ms["network"] > 0


@pytest.mark.parametrize("timeout_s", [10, 0.5])
def test_the_server_gets_a_little_less_time_than_is_left(timeout_s: float) -> None:
    with serving(usual("resift")) as peer, opened(peer, timeout_s=timeout_s) as reranker:
        reranker.rank(QUERY, TEXTS)
        reranker.rank(QUERY, TEXTS, budget_ms=5_000)
        asyncio.run(reranker.arank(QUERY, TEXTS, budget_ms=5_000))
        first, *others = [request.body.get("budget_ms") for request in peer.requests]
    assert first is None
    most = min(timeout_s * 1000, 5_000)
    assert all(0 < budget_ms < most for budget_ms in others)


def partly(scored: int) -> Callable[[Request], None]:
    """An answer that comes when most of the budget has passed, with so many scores."""

    def act(request: Request) -> None:
        request.hang(request.body["budget_ms"] / 1000)
        content = resift_answer(request.body)
        content["receipt"].update(partial=True, reason="time was up", scored=scored)
        for hit in content["hits"][scored:]:
            hit.update(status="late", score=None, logit=None)
        request.send(200, content)

    return act


@pytest.mark.parametrize("fallback", [None, _Local(), _Local(error=RerankerError("oh"))])
def test_an_answer_in_part_counts_though_the_fallback_was_sooner(fallback: _Local | None) -> None:
    async def run(reranker: RemoteReranker) -> Ranking:
        return await reranker.arank(QUERY, TEXTS, budget_ms=1_500)

    with serving(partly(2)) as peer, opened(peer, fallback=fallback) as reranker:
        rankings = [reranker.rank(QUERY, TEXTS, budget_ms=1_500), asyncio.run(run(reranker))]
    for ranking in rankings:
        receipt = ranking.receipt
        assert (receipt.partial, receipt.reason, receipt.scored) == (True, "time was up", 2)
        assert [hit.status for hit in ranking] == ["ok", "ok", "late", "late"]
        assert receipt.receipts == () and receipt.model == "theirs"


def test_an_answer_without_a_score_counts_less_than_the_fallbacks() -> None:
    class _Scoring(_Local):
        def rank(self, query: str, documents: list[Candidate], **arguments: Any) -> Ranking:
            return whole.rank(query, documents)

    with serving(usual("tei")) as peer, serving(partly(0)) as late:
        whole = RemoteReranker("tei", url=peer.url, fallback=None, settings=Settings())
        with whole, opened(late, fallback=_Scoring()) as reranker:
            ranking = reranker.rank(QUERY, TEXTS, budget_ms=1_000)
        with opened(late) as reranker:
            alone = reranker.rank(QUERY, TEXTS, budget_ms=1_000)
    assert ranking[0].index == BEST_FIRST[0]
    assert ranking.receipt.reason == "resift: time was up; the local one ranked instead"
    assert {hit.status for hit in alone} == {"late"} and alone.receipt.reason == "time was up"


def test_a_server_that_hangs_leaves_the_fallback_its_time() -> None:
    local = _Local()
    with serving(Request.hang) as peer, opened(peer, fallback=local) as reranker:
        began = time.monotonic()
        ranking = reranker.rank(QUERY, TEXTS, budget_ms=600)
        many = reranker.rank_many(["a"] * 2, [TEXTS] * 2, budget_ms=1_500)
        assert time.monotonic() - began < 8
    assert 0 < local.calls[0]["budget_ms"] <= 300
    assert "no answer within" in str(ranking.receipt.reason) and len(local.calls) == 3
    assert all(call["budget_ms"] > 0 for call in local.calls) and len(many) == 2


def test_a_reason_names_the_service_once() -> None:
    def fail(request: Request) -> None:
        request.send(503, b"")

    second = _Local()
    with serving(fail) as peer:
        with opened(peer, fallback=_Local(), tries=1) as reranker:
            chain = Chain(second, reranker, depths=(4, 2))
            taken_over = chain.rank(QUERY, TEXTS).receipt.reason
        with opened(peer, tries=1) as reranker:
            failed = Chain(second, reranker, depths=(4, 2)).rank(QUERY, TEXTS).receipt.reason
        both = _Local(error=RerankerError("oh"))
        with opened(peer, fallback=both, tries=1) as reranker:
            with pytest.raises(RerankerError) as raised:
                reranker.rank(QUERY, TEXTS)
    for reason in (str(taken_over), str(failed), str(raised.value)):
        assert "503" in reason and reason.count("resift: ") <= 1, reason
    assert f"resift: {peer.url}" in str(taken_over)
    assert f"resift failed: RerankerError: {peer.url}" in str(failed)


@pytest.mark.parametrize("span", [[10**9, 10**9], [0, 10**9], [2, 1], [-1, 1], [0, True], [0]])
def test_a_span_outside_the_text_is_refused(span: Any) -> None:
    with pytest.raises(ValueError, match="span"):
        read(change=on_hit(span=span))


@pytest.mark.parametrize("logit", [1e308, -1e39, 10**400])
def test_a_logit_that_overflows_is_refused(logit: Any) -> None:
    with pytest.raises(ValueError, match="logit"):
        read(change=on_hit(logit=logit))


def test_a_later_try_says_the_time_that_is_left_then() -> None:
    def busy(request: Request) -> None:
        time.sleep(0.2)
        request.send(503, b"")

    with serving(usual("resift"), busy) as peer, opened(peer) as reranker:
        reranker.rank(QUERY, TEXTS, budget_ms=5_000)
        first, second = [request.body["budget_ms"] for request in peer.requests]
    assert second < first - 150


def test_a_receipt_that_echoes_the_key_does_not_show_it() -> None:
    def echo(request: Request) -> None:
        content = resift_answer(request.body)
        content["receipt"] |= {"model": KEY, "notes": [f"for {KEY}"], "timings_ms": {KEY: 1.0}}
        request.send(200, content)

    with serving(echo) as peer, opened(peer) as reranker:
        receipt = reranker.rank(QUERY, TEXTS).receipt
    assert receipt.model == "…" and receipt.notes[0] == "for …"
    assert KEY not in repr(receipt)


@pytest.mark.parametrize("span", [[10**9, 0], [0, 10**9], [-1, -5], ["a", None], 3])
def test_scores_of_a_server_with_spans_of_nonsense_are_scores(span: Any) -> None:
    def odd(request: Request) -> None:
        content = resift_answer(request.body)
        content["hits"][0]["span"] = span
        request.send(200, content)

    with serving(odd) as peer, opened(peer) as reranker:
        assert len(reranker.score(QUERY, TEXTS)) == len(TEXTS)
