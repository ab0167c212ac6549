"""Connections are used again while they are whole, and requests end in time."""

import multiprocessing
import os
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from resift.transport import pool as module
from resift.transport.client import Response, TooLarge
from resift.transport.endpoint import Endpoint, EndpointError, RetryLimits
from resift.transport.pool import Pool
from transport.peer import Counted, Request, serving

ONCE = RetryLimits(timeout_s=10, tries=1, max_wait_s=1)
FEW = RetryLimits(timeout_s=10, tries=5, max_wait_s=10)


def fine(request: Request) -> None:
    request.send(200, {"path": request.path})


def ask(pool: Pool, seconds: float = 10, most: int = 1000) -> Response:
    return pool.send("POST", "/x", {"A": "b"}, b"{}", time.monotonic() + seconds, most)


def test_requests_in_turn_share_a_connection() -> None:
    with serving(fine) as peer:
        endpoint = Endpoint(f"{peer.url}/a?b=c")
        for _ in range(5):
            assert endpoint.post({}, ONCE) == {"path": "/a?b=c"}
        assert endpoint.get(ONCE) == {"path": "/a?b=c"}
        assert len({request.connection for request in peer.requests}) == 1
        endpoint.close()
        endpoint.post({}, ONCE)
        assert len({request.connection for request in peer.requests}) == 2
        endpoint.close()


def test_an_error_keeps_the_connection_and_a_broken_answer_does_not() -> None:
    def refuse(request: Request) -> None:
        request.send(500, {"error": "no"})

    def cut(request: Request) -> None:
        request.send(200, b"{", Content_Length="50")
        request.hang_up()

    with serving(fine, fine, refuse, cut) as peer:
        endpoint = Endpoint(peer.url)
        endpoint.post({}, ONCE)
        for _ in range(2):
            with pytest.raises(EndpointError):
                endpoint.post({}, ONCE)
        endpoint.post({}, ONCE)
        connections = [request.connection for request in peer.requests]
        assert len(set(connections[:3])) == 1 and connections[3] != connections[2]
        endpoint.close()


def test_a_connection_that_the_server_closed_meanwhile_is_replaced_without_a_try() -> None:
    def last(request: Request) -> None:
        fine(request)
        request.hang_up()

    with serving(fine, last) as peer:
        endpoint = Endpoint(peer.url)
        for _ in range(3):
            assert endpoint.post({}, ONCE) == {"path": "/"}
        endpoint.close()


def test_a_used_connection_that_breaks_under_the_request_is_replaced_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_is_open", lambda _: True)
    with serving(fine, fine, Request.reset) as peer:
        pool = Pool(peer.url)
        assert [ask(pool).status for _ in range(2)] == [200, 200]
        assert len(peer.requests) == 3
        pool.close()
    with serving(fine, Request.reset) as peer, pytest.raises(ConnectionError):
        ask(Pool(peer.url))  # of a new connection it is the server's answer


def test_only_so_many_connections_stay_open() -> None:
    together = threading.Barrier(module.MAX_IDLE + 4)

    def wait(request: Request) -> None:
        together.wait(20)
        fine(request)

    with serving(wait) as peer:
        pool = Pool(peer.url)
        with ThreadPoolExecutor(module.MAX_IDLE + 4) as threads:
            list(threads.map(lambda _: ask(pool), range(module.MAX_IDLE + 4)))
        assert len(pool._idle) == module.MAX_IDLE
        pool.close()
        assert not pool._idle


@pytest.mark.parametrize("action", [Request.hang, Request.trickle])
def test_a_request_ends_at_its_time_however_slowly_bytes_arrive(action: object) -> None:
    with serving(action) as peer:  # type: ignore[arg-type]
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(Pool(peer.url), 0.3, 1 << 30)
        assert time.monotonic() - began < 15
        with pytest.raises(TimeoutError):
            ask(Pool(peer.url), -1)
        assert len(peer.requests) == 1


def test_a_large_answer_is_refused() -> None:
    with serving(lambda request: request.send(200, b"x" * 1001)) as peer:
        with pytest.raises(TooLarge):
            ask(Pool(peer.url))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_response(code: int) -> None:
    with serving(fine) as other:
        location = {"Location": other.url}
        with serving(lambda request: request.send(code, b"", **location)) as peer:
            assert ask(Pool(peer.url)).status == code
        assert not other.requests


def test_tls_with_a_server_that_does_not_speak_it_is_an_error() -> None:
    with serving(fine) as peer, pytest.raises((ssl.SSLError, ConnectionError)):
        ask(Pool(peer.url.replace("http:", "https:")))


def test_a_proxy_gets_the_whole_url_and_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(fine) as peer:
        monkeypatch.setenv("http_proxy", peer.url.replace("//", "//me:s3cret@"))
        assert ask(Pool("http://nowhere.invalid:81/x")).status == 200
        (request,) = peer.requests
        assert request.path == "http://nowhere.invalid:81/x"
        assert request.headers["Proxy-Authorization"] == "Basic bWU6czNjcmV0"
        assert ask(Pool(peer.url, use_proxies=False)).status == 200


def _ask_in_child(pool: Pool) -> None:
    os._exit(0 if ask(pool).status == 200 and len(pool._idle) == 1 else 1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_opens_its_own_connection() -> None:
    with serving(fine) as peer:
        pool = Pool(peer.url)
        ask(pool)
        child = multiprocessing.get_context("fork").Process(target=_ask_in_child, args=(pool,))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert ask(pool).status == 200
        connections = [request.connection for request in peer.requests]
        assert connections[0] == connections[2] != connections[1]
        pool.close()


def test_all_tries_together_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with serving(lambda request: request.send(503, b"", Retry_After="5")) as peer:
        with pytest.raises(EndpointError, match="1 of 5 tries for lack of time") as raised:
            Endpoint(peer.url).post({}, FEW, time.monotonic() + 3)
    assert raised.value.cause == "busy" and raised.value.wait_s == 5
    assert waits == [] and len(peer.requests) == 1


def test_a_try_takes_no_longer_than_the_call() -> None:
    with serving(Request.hang) as peer:
        began = time.monotonic()
        with pytest.raises(EndpointError, match=r"no answer within 0\.3 s") as raised:
            Endpoint(peer.url).post({}, FEW, began + 0.3)
        assert raised.value.cause == "late" and time.monotonic() - began < 9


def test_so_many_requests_run_at_once_and_others_wait_until_their_time() -> None:
    count = Counted(fine, 0.05)

    with serving(count) as peer, ThreadPoolExecutor(9) as threads:
        endpoint = Endpoint(peer.url, max_requests=3)
        list(threads.map(lambda _: endpoint.post({}, ONCE), range(9)))
        endpoint.close()
    assert count.most == 3
    with serving(Request.hang) as peer, ThreadPoolExecutor(1) as threads:
        endpoint = Endpoint(peer.url, max_requests=1)
        first = threads.submit(endpoint.post, {}, ONCE, time.monotonic() + 5)
        while not peer.requests:
            time.sleep(0.01)
        with pytest.raises(EndpointError, match="too many wait"):
            endpoint.post({}, ONCE, time.monotonic() + 0.2)
        assert len(peer.requests) == 1
        peer.closing.set()
        with pytest.raises(EndpointError):
            first.result(20)


def test_an_error_can_be_pickled() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(EndpointError("no", "busy", 3.0)))
    assert (str(error), error.cause, error.wait_s) == ("no", "busy", 3.0)
