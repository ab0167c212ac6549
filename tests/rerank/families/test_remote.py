"""Whatever a service does, a call ends in time with a whole ranking that says who made it."""

import asyncio
import copy
import logging
import pickle
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from families.service_peers import BEST_FIRST, KEY, TEXTS, usual
from resift import Candidate, Ranking, Reranker
from resift.errors import (
    InputError,
    Overloaded,
    QueryError,
    RerankerClosed,
    RerankerError,
    SettingsError,
)
from resift.outages import is_outage
from resift.rerank.deadline import Deadline
from resift.rerank.families import fallback
from resift.rerank.families.breaker import MAX_FAILURES
from resift.rerank.families.fallback import Fallback
from resift.rerank.families.remote import RemoteReranker
from resift.rerank.families.services.known import SERVICES
from resift.rerank.first_stage import first_stage_ranking
from resift.rerank.options import RankOptions
from resift.settings import Settings
from resift.transport import endpoint
from transport.peer import Action, Counted, Peer, Request, serving

QUERY = "which"


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.001)


class _Local:
    """A ranker that is always there: it keeps the order, and notes its arguments."""

    name = "the local one"

    def __init__(self, error: Exception | None = None, took_s: float = 0.0) -> None:
        self.calls: list[dict[str, Any]] = []
        self.error = error
        self.took_s = took_s

    def rank(self, query: str, documents: list[Candidate], **arguments: Any) -> Ranking:
        self.calls.append(arguments)
        time.sleep(self.took_s)
        if self.error is not None:
            raise self.error
        return first_stage_ranking(query, documents, arguments["top_n"] or len(documents))


def opened(peer: Peer, service: str = "cohere", **options: Any) -> RemoteReranker:
    options = {"fallback": None, "key": KEY, "timeout_s": 10, "settings": Settings()} | options
    return RemoteReranker(service, "m", url=peer.url, **options)


def order(ranking: Ranking) -> list[int]:
    return [hit.index for hit in ranking]


def status(code: int, body: Any = b"", **headers: str) -> Action:
    return lambda request: request.send(code, body, **headers)


def wrong(change: Callable[[Any], None]) -> Action:
    """A whole answer of Cohere's after a change of its results."""

    def answer(request: Request) -> None:
        results = [
            {"index": index, "relevance_score": 0.5}
            for index in range(len(request.body["documents"]))
        ]
        change(results)
        request.send(200, {"results": results})

    return answer


def cut_short(request: Request) -> None:
    request.send(200, b'{"results": [', Content_Length="500")
    request.hang_up()


def with_status(request: Request, code: object) -> None:
    data = f"HTTP/1.1 {code} denied {KEY}\r\nContent-Length: 0\r\n\r\n"
    request._handler.wfile.write(data.encode())


def huge(request: Request) -> None:
    request.send(200, b"[" + b" " * (endpoint.MAX_RESPONSE_BYTES + 10))


NAN = b'{"results": [{"index": 0, "relevance_score": NaN}]}'
FAULTS: dict[str, Action] = {
    "500": status(500, {"message": f"oh {KEY}"}),
    "503": status(503),
    "529": status(529),
    "429": status(429, Retry_After="0"),
    "400": status(400, {"message": f"too long {KEY}"}),
    "401": status(401, {"message": f"invalid api token {KEY}"}),
    "403": status(403),
    "404": status(404),
    "422": status(422),
    "redirect": status(307, Location="http://127.0.0.1:9/"),
    "no JSON": status(200, b"<html>"),
    "empty": status(200, b""),
    "another JSON": status(200, {"detail": "fine"}),
    "NaN": status(200, NAN),
    "half an answer": cut_short,
    "reset": Request.reset,
    "huge": huge,
    "fewer": wrong(lambda results: results.pop()),
    "repeated": wrong(lambda results: results[0].update(index=1)),
    "out of range": wrong(lambda results: results[0].update(index=99)),
    "over one": wrong(lambda results: results[0].update(relevance_score=1.5)),
    "key as index": wrong(lambda results: results[0].update(index=KEY)),
    "key as score": wrong(lambda results: results[0].update(relevance_score=KEY)),
    "long key": wrong(lambda results: results[0].update(index=50 * "x" + KEY)),
    "key in the status": lambda request: with_status(request, 503),
    "key in a refusal": lambda request: with_status(request, 400),
    "key for HTTP": lambda request: with_status(request, KEY),
    "dates out of range": status(429, Retry_After=f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT"),
    "long wait": status(429, Retry_After="9" * 400),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_the_fallbacks_whole_ranking_and_the_receipt_says_so(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    local = _Local()
    with serving(FAULTS[fault]) as peer, opened(peer, fallback=local) as reranker:
        ranking = reranker.rank(QUERY, TEXTS, 3, fusion_weight=0.5)
    assert order(ranking) == [0, 1, 2] and len(local.calls) == 1
    assert local.calls[0] == {"top_n": 3, "budget_ms": None, "fusion_weight": 0.5}
    receipt = ranking.receipt
    assert receipt.partial and receipt.reason is not None
    assert receipt.reason.startswith("cohere/m: ")
    assert receipt.reason.endswith("; the local one ranked instead")
    failed, taken = receipt.receipts
    assert (failed.model, failed.scored, failed.partial) == ("cohere/m", 0, True)
    assert failed.runtime in peer.url and taken.model == "none"
    shown = repr(ranking) + caplog.text + repr(reranker)
    assert KEY not in shown and "overflow" not in shown.lower()
    assert KEY.encode() not in pickle.dumps(receipt)
    assert len(receipt.reason) < 600
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize("fault", FAULTS)
def test_without_a_fallback_a_fault_is_an_outage_of_one_line_without_the_key(fault: str) -> None:
    with serving(FAULTS[fault]) as peer, opened(peer) as reranker:
        with pytest.raises(RerankerError, match=r"^cohere/m: ") as raised:
            reranker.rank(QUERY, TEXTS)
    assert is_outage(raised.value) and "\n" not in str(raised.value)
    assert KEY not in "".join(traceback.format_exception(raised.value))
    error: BaseException | None = raised.value
    while error is not None:
        assert KEY not in repr(error) and KEY not in str(error)
        error = error.__cause__


TRIES = {"500": 3, "503": 3, "529": 3, "429": 3, "reset": 3, "half an answer": 3,
         "another JSON": 2, "NaN": 2, "fewer": 2, "over one": 2, "key as index": 2,
         "key as score": 2, "long key": 2, "key in the status": 3, "key for HTTP": 3,
         "dates out of range": 3}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_pass_is_tried_again_and_nothing_else(fault: str) -> None:
    with serving(FAULTS[fault]) as peer, opened(peer) as reranker:
        with pytest.raises(RerankerError):
            reranker.rank(QUERY, TEXTS)
        expected = TRIES.get(fault, 2 if fault in ("repeated", "out of range") else 1)
        assert len(peer.requests) == expected


@pytest.mark.parametrize(
    "faults",
    [["500", "500"], ["429"], ["reset"], ["half an answer"], ["NaN"], ["fewer"], ["503", "fewer"]],
)
def test_a_fault_that_passes_leaves_no_trace(faults: list[str]) -> None:
    actions = [FAULTS[fault] for fault in faults]
    with serving(usual("cohere"), *actions) as peer, opened(peer) as reranker:
        ranking = reranker.rank(QUERY, TEXTS)
        assert len(peer.requests) == len(faults) + 1
    assert order(ranking) == BEST_FIRST
    assert not ranking.receipt.partial and ranking.receipt.reason is None


def test_retry_after_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    actions = [status(429, Retry_After="7")]
    with serving(usual("cohere"), *actions) as peer, opened(peer) as reranker:
        assert order(reranker.rank(QUERY, TEXTS)) == BEST_FIRST
    assert waits == [7]


def test_a_wrong_key_says_which_variable_and_is_not_asked_for_again() -> None:
    local = _Local()
    with serving(FAULTS["401"]) as peer, opened(peer, fallback=local) as reranker:
        reasons = [reranker.rank(QUERY, TEXTS).receipt.reason for _ in range(3)]
        assert len(peer.requests) == 1 and len(local.calls) == 3
    assert "401" in str(reasons[0]) and "set RESIFT_RERANKER_KEY to a key" in str(reasons[0])
    assert "not asked for 60 s" in str(reasons[1])


@pytest.mark.parametrize("fault", [Request.hang, Request.trickle])
def test_a_service_that_hangs_costs_no_more_than_the_deadline(fault: Action) -> None:
    local = _Local()
    with serving(fault) as peer, opened(peer, fallback=local) as reranker:
        began = time.monotonic()
        ranking = reranker.rank(QUERY, TEXTS, budget_ms=600)
        took_s = time.monotonic() - began
    assert took_s < 5
    assert order(ranking) == [0, 1, 2, 3]
    assert "no answer within" in str(ranking.receipt.reason)
    assert 0 < local.calls[0]["budget_ms"] <= 300  # half of the time


def test_without_a_fallback_a_late_service_is_an_error_in_time() -> None:
    with serving(Request.hang) as peer, opened(peer) as reranker:
        began = time.monotonic()
        with pytest.raises(RerankerError, match="no answer within"):
            reranker.rank(QUERY, TEXTS, budget_ms=300)
        assert time.monotonic() - began < 5
        with pytest.raises(RerankerError, match="time was up before the request"):
            reranker.rank(QUERY, TEXTS, budget_ms=0)
        assert len(peer.requests) == 1


def test_without_a_budget_a_try_ends_at_its_timeout() -> None:
    with serving(Request.hang) as peer, opened(peer, timeout_s=0.2, tries=2) as reranker:
        began = time.monotonic()
        with pytest.raises(RerankerError, match=r"no answer within"):
            reranker.rank(QUERY, TEXTS)
        assert time.monotonic() - began < 5 and len(peer.requests) == 2


def test_an_answer_that_comes_while_the_fallback_works_is_used() -> None:
    def late(request: Request) -> None:
        request.hang(1.0)
        usual("cohere")(request)

    local = _Local(took_s=1.5)
    with serving(late) as peer, opened(peer, fallback=local) as reranker:
        ranking = reranker.rank(QUERY, TEXTS, budget_ms=1600)
    assert len(local.calls) == 1 and order(ranking) == BEST_FIRST
    assert not ranking.receipt.partial


def test_the_fallback_gets_more_of_the_time_the_slower_it_is() -> None:
    class _Measured(_Local):
        def rank(self, query: str, documents: list[Candidate], **arguments: Any) -> Ranking:
            return reranker.rank(query, documents)

    with serving(usual("cohere")) as peer, opened(peer) as reranker:
        measured = Fallback(_Measured(), Settings())
        assert measured.reserved_s(100, 2.0) == 1.0  # not measured yet
        candidates = [Candidate(str(index), text) for index, text in enumerate(TEXTS)]
        measured.rank(QUERY, candidates, RankOptions(), Deadline())
        assert measured.reserved_s(1, 1000.0) == 250.0
        assert measured.reserved_s(10**9, 1000.0) == 500.0


def test_the_bundled_model_takes_over(in_one_runtime: Reranker) -> None:
    texts = ["The office is closed.", "Press Reset password.", "", "Vacation is approved."]
    settings = Settings(model="/another", calibration="/another/calibration.json")  # not its own
    with (
        serving(status(503)) as peer,
        opened(peer, fallback="bundled", settings=settings) as reranker,
    ):
        ranking = reranker.rank("reset my password", texts)
        again = reranker.rank("reset my password", texts, budget_ms=30_000)
        assert ranking.explain(0).parts
    local = in_one_runtime.rank("reset my password", texts)
    assert order(ranking) == order(again) == order(local)
    assert ranking[0].logit == local[0].logit and ranking.receipt.scored == 3
    assert "; the bundled model ranked instead" in str(ranking.receipt.reason)
    assert ranking.receipt.receipts[1].fingerprint == in_one_runtime.fingerprint


def test_a_fallback_that_is_not_open_in_time_leaves_the_first_stages_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opening = threading.Event()

    def slow(*_: object, **__: object) -> Any:
        opening.wait(20)
        return _Local()

    monkeypatch.setattr(fallback, "Reranker", slow)
    with serving(Request.hang) as peer, opened(peer, fallback="bundled") as reranker:
        reranker._fallback._given = None  # type: ignore[union-attr]
        ranking = reranker.rank(QUERY, TEXTS, budget_ms=300)
        opening.set()
        reranker._fallback._opening.job().result(20)  # type: ignore[union-attr]
        reranker._fallback._opening.forget()  # type: ignore[union-attr]
    assert order(ranking) == [0, 1, 2, 3] and {hit.status for hit in ranking} == {"late"}
    assert "time was up before the fallback was opened" in str(ranking.receipt.reason)


def test_an_outage_of_both_names_both_and_a_mistake_is_raised() -> None:
    with serving(status(503)) as peer:
        with opened(peer, fallback=_Local(Overloaded(5, 1.0))) as reranker:
            with pytest.raises(RerankerError, match=r"503.*; and the fallback: 5 tokens"):
                reranker.rank(QUERY, TEXTS)
        with opened(peer, fallback=_Local(TypeError("oh"))) as reranker:
            with pytest.raises(TypeError, match="oh"):
                reranker.rank(QUERY, TEXTS)


def test_after_repeated_failures_the_service_is_left_alone() -> None:
    local = _Local()
    with serving(status(500)) as peer, opened(peer, fallback=local, tries=1) as reranker:
        reasons = [reranker.rank(QUERY, TEXTS).receipt.reason for _ in range(MAX_FAILURES + 2)]
        assert len(peer.requests) == MAX_FAILURES and len(local.calls) == MAX_FAILURES + 2
        assert "not asked for" in str(reasons[-1]) and "500" in str(reasons[-1])
        reranker._breaker._until = 0.0
        peer.usual = usual("cohere")
        assert order(reranker.rank(QUERY, TEXTS)) == BEST_FIRST


def test_callers_without_time_do_not_count_against_the_service() -> None:
    local = _Local()
    with serving(Request.hang) as peer, opened(peer, fallback=local) as reranker:
        for _ in range(2 * MAX_FAILURES):
            reason = reranker.rank(QUERY, TEXTS, budget_ms=20).receipt.reason
        assert "not asked" not in str(reason)
        for _ in range(MAX_FAILURES + 1):
            reason = reranker.rank(QUERY, TEXTS, budget_ms=400).receipt.reason
        assert "not asked" in str(reason)


def test_a_request_that_is_refused_does_not_count_against_the_service() -> None:
    with serving(status(422)) as peer, opened(peer, fallback=_Local()) as reranker:
        for _ in range(MAX_FAILURES + 2):
            reranker.rank(QUERY, TEXTS)
        assert len(peer.requests) == MAX_FAILURES + 2


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "resift"])
def test_a_long_list_is_split_and_one_failure_fails_all(service: str) -> None:
    texts = [f"text {number / 100}" for number in range(100)]
    with serving(usual(service)) as peer, opened(peer, service) as reranker:
        reranker._service = replace(reranker._service, max_documents=30)
        reranker._info = None
        ranking = reranker.rank(QUERY, texts)
        assert order(ranking) == list(range(99, -1, -1))
        assert len(peer.requests) == 4
        sizes = [
            len(request.body.get("documents") or request.body.get("texts"))
            for request in peer.requests
        ]
        assert sorted(sizes) == [10, 30, 30, 30]
        peer.actions.append(status(400))
        with pytest.raises(RerankerError, match="400"):
            reranker.rank(QUERY, texts)


def test_teis_own_limit_is_read_beside_the_first_long_call() -> None:
    texts = [f"text {number / 100}" for number in range(100)]
    with serving(usual("tei", 64)) as peer, opened(peer, "tei") as reranker:
        reranker.rank(QUERY, texts[:32])
        assert [request.method for request in peer.requests] == ["POST"]
        reranker.rank(QUERY, texts)
        assert reranker._reading is not None and reranker._reading.result(20) == 64
        peer.requests.clear()
        ranking = reranker.rank(QUERY, texts)
        assert sorted(len(request.body["texts"]) for request in peer.requests) == [36, 64]
    assert order(ranking) == list(range(99, -1, -1))


def test_a_tei_without_info_gets_32_texts_a_request() -> None:
    def answer(request: Request) -> None:
        if request.method == "GET":
            return request.send(404, b"")
        usual("tei")(request)

    with serving(answer) as peer, opened(peer, "tei") as reranker:
        for _ in range(2):
            reranker.rank(QUERY, TEXTS * 10)
            assert reranker._reading is not None and reranker._reading.result(20) is None
        posts = [request for request in peer.requests if request.method == "POST"]
        assert sorted(len(request.body["texts"]) for request in posts) == [8, 8, 32, 32]


def test_documents_without_a_text_are_not_sent_and_nothing_is_asked_without_any() -> None:
    with serving(usual("voyage")) as peer, opened(peer, "voyage") as reranker:
        mixed = reranker.rank(QUERY, ["", TEXTS[0], None, "  ", TEXTS[1]])  # type: ignore[list-item]
        assert peer.requests[0].body["documents"] == TEXTS[:2]
        blank = reranker.rank(QUERY, ["", " "])
        assert reranker.rank(QUERY, []).hits == ()
        assert len(peer.requests) == 1
    assert [(hit.index, hit.status) for hit in mixed] == [
        (4, "ok"), (1, "ok"), (0, "empty"), (2, "not_text"), (3, "empty"),
    ]  # fmt: skip
    assert {hit.status for hit in blank} == {"empty"} and not blank.receipt.partial


def test_a_receipt_says_what_is_not_known() -> None:
    with serving(usual("cohere")) as peer, opened(peer) as reranker:
        receipt = reranker.rank(QUERY, TEXTS).receipt
        hit = reranker.rank(QUERY, TEXTS)[0]
    assert "does not tell how much of each document it read" in receipt.notes[0]
    assert (receipt.tokens, receipt.scored, receipt.calibration) == (42, 4, "none")
    assert (hit.tokens_seen, hit.dropped_counted, hit.span) == (0, False, (0, len(TEXTS[1])))
    assert hit.score == pytest.approx(0.9) and type(hit.score) is float
    assert receipt.timings_ms["total"] >= receipt.timings_ms["service"] > 0


def test_equal_scores_keep_the_callers_order_and_thresholds_count() -> None:
    texts = ["a 0.5", "b 0.5", "c 1", "d 1", "e 0", "f 0"]
    with serving(usual("cohere")) as peer, opened(peer) as reranker:
        assert order(reranker.rank(QUERY, texts)) == [2, 3, 0, 1, 4, 5]
        with pytest.warns(UserWarning, match="not calibrated"):
            over = reranker.rank(QUERY, texts, min_score=0.5, abstain_below=0.9)
        assert order(over) == [2, 3, 0, 1] and not over.abstained
        assert reranker.rank(QUERY, texts[:2], abstain_below=0.9).abstained


def test_scores_are_logits_in_input_order() -> None:
    with serving(usual("tei")) as peer, opened(peer, "tei") as reranker:
        scores = reranker.score(QUERY, ["a 3", "", "b -2.5"])
        peer.usual = status(503)
        with pytest.raises(RerankerError):
            reranker.score(QUERY, TEXTS)
    assert scores.dtype == "float32" and scores[[0, 2]].tolist() == [3, -2.5]
    assert scores[1] != scores[1]


def test_many_queries_run_at_the_same_time_within_one_budget() -> None:
    with serving(usual("cohere")) as peer, opened(peer) as reranker:
        rankings = reranker.rank_many(["a", "b"], [TEXTS, TEXTS[:2]], 2)
        assert [order(ranking) for ranking in rankings] == [BEST_FIRST[:2], [1, 0]]
        assert sorted(request.body["query"] for request in peer.requests) == ["a", "b"]
        assert reranker.rank_many([], []) == []
        with pytest.raises(InputError, match=r"documents\[1\]: "):
            reranker.rank_many(["a", "b"], [TEXTS, [3]])  # type: ignore[list-item]
        with pytest.raises(QueryError, match=r"queries\[1\]: "):
            reranker.rank_many(["a", " "], [TEXTS, TEXTS])
    local = _Local()
    with serving(Request.hang) as peer, opened(peer, fallback=local) as reranker:
        began = time.monotonic()
        rankings = reranker.rank_many(["a"] * 5, [TEXTS] * 5, budget_ms=600)
        assert time.monotonic() - began < 5
        assert [order(ranking) for ranking in rankings] == [[0, 1, 2, 3]] * 5


def test_it_ranks_in_an_event_loop() -> None:
    async def run(reranker: RemoteReranker, **options: Any) -> list[Ranking]:
        calls = [reranker.arank(QUERY, TEXTS, **options) for _ in range(5)]
        return list(await asyncio.gather(*calls))

    with serving(usual("cohere")) as peer, opened(peer) as reranker:
        assert [order(ranking) for ranking in asyncio.run(run(reranker))] == [BEST_FIRST] * 5
    local = _Local()
    with serving(Request.hang) as peer, opened(peer, fallback=local) as reranker:
        began = time.monotonic()
        rankings = asyncio.run(run(reranker, budget_ms=600))
        assert time.monotonic() - began < 5
        assert [order(ranking) for ranking in rankings] == [[0, 1, 2, 3]] * 5
        assert all(ranking.receipt.partial for ranking in rankings)
    with serving(status(503)) as peer:
        with opened(peer, fallback="bundled") as reranker:
            (ranking, *_) = asyncio.run(run(reranker))
            assert "the bundled model ranked instead" in str(ranking.receipt.reason)
        with opened(peer) as reranker, pytest.raises(RerankerError):
            asyncio.run(run(reranker))


def test_a_task_that_is_cancelled_ends_at_once() -> None:
    async def run(reranker: RemoteReranker) -> None:
        task = asyncio.ensure_future(reranker.arank(QUERY, TEXTS))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with serving(Request.hang) as peer, opened(peer, timeout_s=2) as reranker:
        began = time.monotonic()
        asyncio.run(run(reranker))
        assert time.monotonic() - began < 1.9


def test_overlapping_calls_send_no_more_requests_at_once_than_allowed() -> None:
    count = Counted(usual("cohere"), 0.03)

    with serving(count) as peer, opened(peer, concurrency=2) as reranker:
        rankings = reranker.rank_many(["a"] * 12, [TEXTS] * 12)
        assert [order(ranking) for ranking in rankings] == [BEST_FIRST] * 12
        assert len({request.connection for request in peer.requests}) <= 4
    assert count.most == 2


def test_a_server_that_does_not_speak_tls_is_an_outage() -> None:
    with serving(usual("tei")) as peer:
        url = peer.url.replace("http:", "https:")
        with RemoteReranker("tei", url=url, fallback=None, settings=Settings(), tries=1) as tei:
            with pytest.raises(RerankerError, match=r"cannot be reached|the connection broke"):
                tei.rank(QUERY, TEXTS)
        assert not peer.requests


def test_a_certificate_counts_if_its_authority_is_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(usual("tei")) as peer:
        peer.socket = context.wrap_socket(peer.socket, server_side=True)
        url = peer.url.replace("http:", "https:")
        trusting = Settings(ca_file=str(tmp_path / "ca.pem"), reranker_key=KEY)
        with RemoteReranker("tei", url=url, fallback=None, settings=trusting) as tei:
            assert order(tei.rank(QUERY, TEXTS)) == order(tei.rank(QUERY, TEXTS)) == BEST_FIRST
        assert len({request.connection for request in peer.requests}) == 1
        with RemoteReranker("tei", url=url, fallback=None, settings=Settings()) as tei:
            with pytest.raises(RerankerError, match="certificate verify failed"):
                tei.rank(QUERY, TEXTS)
        assert len(peer.requests) == 2


def test_a_port_without_a_server_is_an_outage_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with RemoteReranker("tei", url=url, fallback=_Local(), settings=Settings()) as tei:
        assert "cannot be reached" in str(tei.rank(QUERY, TEXTS).receipt.reason)


def test_nothing_of_the_callers_is_changed_and_metadata_is_there() -> None:
    documents = [
        {"text": text, "id": str(index), "page": index} for index, text in enumerate(TEXTS)
    ]
    before = copy.deepcopy(documents)
    with serving(usual("cohere")) as peer, opened(peer) as reranker:
        ranking = reranker.rank(QUERY, documents)
    assert documents == before
    assert [hit.metadata for hit in ranking] == [{"page": index} for index in BEST_FIRST]


def test_a_pickle_ranks_and_its_representation_has_no_key() -> None:
    with serving(usual("cohere")) as peer, opened(peer) as reranker:
        assert KEY not in repr(reranker.__reduce__())
        copied = pickle.loads(pickle.dumps(reranker))
        with copied:
            assert order(copied.rank(QUERY, TEXTS)) == BEST_FIRST
        assert peer.requests[-1].headers["Authorization"] == f"Bearer {KEY}"
        assert copied.fingerprint == reranker.fingerprint and copied.name == "cohere/m"
        assert copy.copy(reranker) is copy.deepcopy(reranker) is reranker
    settings = Settings(reranker_key=KEY, openai_key="other")
    with serving(usual("tei")) as peer, opened(peer, "tei", key=None, settings=settings) as tei:
        data = pickle.dumps(tei)
        pickle.loads(data).rank(QUERY, TEXTS)
        assert peer.requests[-1].headers["Authorization"] == f"Bearer {KEY}"
        assert b"other" not in data


def test_names_and_fingerprints_tell_services_apart() -> None:
    with serving(usual("cohere")) as peer:
        prints = {opened(peer, service).fingerprint for service in SERVICES}
        prints.add(RemoteReranker("tei", url=f"{peer.url}/x", settings=Settings()).fingerprint)
        assert len(prints) == len(SERVICES) + 1 and all(len(item) == 16 for item in prints)
        assert RemoteReranker("tei", url=peer.url, settings=Settings()).name == "tei"
    settings = Settings(cohere_key="k", jina_key="k", voyage_key="k")
    names = [RemoteReranker(name, settings=settings).name for name in ("cohere", "jina", "voyage")]
    assert names[0] == "cohere/rerank-v3.5" and names[2] == "voyage/rerank-2.5"


def test_a_closed_one_refuses_and_closing_twice_is_fine() -> None:
    with serving(usual("cohere")) as peer:
        reranker = opened(peer)
        reranker.close()
        reranker.close()
        with pytest.raises(RerankerClosed, match="closed"):
            reranker.rank(QUERY, TEXTS)
        with pytest.raises(RerankerClosed), reranker:
            pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_s": 0}, "timeout_s=0: expected seconds"),
        ({"timeout_s": "x"}, "timeout_s='x'"),
        ({"tries": 0}, "tries=0: expected a whole number from 1"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"fallback": "bundle"}, "fallback='bundle': expected \"bundled\", None"),
        ({"fallback": 3}, "fallback=3"),
    ],
)
def test_arguments_out_of_range_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        RemoteReranker("tei", url="http://127.0.0.1:1", settings=Settings(), **options)
    assert message in str(raised.value)


def test_calls_that_are_wrong_are_refused_before_a_request() -> None:
    with pytest.raises(InputError, match="pass the url of your server"):
        RemoteReranker("tei", settings=Settings())
    with pytest.raises(SettingsError, match="JINA_API_KEY"):
        RemoteReranker("jina", settings=Settings())
    with pytest.raises(InputError, match="model=''"):
        RemoteReranker("tei", "", url="http://127.0.0.1:1", settings=Settings())
    with serving(usual("cohere")) as peer, opened(peer, fallback=_Local()) as reranker:
        for arguments in ({"top_n": 0}, {"budget_ms": -1}, {"long_documents": "x"}):
            with pytest.raises(InputError):
                reranker.rank(QUERY, TEXTS, **arguments)
        for query in ("", "  ", None, "\ud800"):
            with pytest.raises(QueryError):
                reranker.rank(query, TEXTS)  # type: ignore[arg-type]
        with pytest.raises(InputError):
            reranker.rank(QUERY, "text")
        assert not peer.requests
