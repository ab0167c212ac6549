"""Proves that a cluster answers as one server does, also while replicas die and versions change."""

import importlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from jobs.cluster_load import load, wait_until
from resift import Index
from resift.errors import InputError
from resift.jobs.serve_options import ReplicaOptions
from resift.serve.options import ServeOptions
from resift.serve.service import Service
from serve.conftest import DOCUMENTS
from serve.running import running

pytest.importorskip("ray")

from resift.jobs.serve import Deployment
from resift.jobs.serve_application import bound

KEY = "the-key-of-a-caller"
QUERY = {"query": "who approves vacation"}
TEXTS = list(DOCUMENTS.values())
REPLICAS = ReplicaOptions(2, 2)
EVENTS = ["first_stage", "ranking"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of documents."""
    folder = tmp_path_factory.mktemp("source")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def index(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index(tmp_path_factory.mktemp("index") / "handbook") as index:
        index.sync(str(source))
        yield index


@pytest.fixture(scope="module")
def options(index: Index, tmp_path_factory: pytest.TempPathFactory) -> ServeOptions:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{KEY}\n")
    return ServeOptions(port=0, indexes=(str(index.uri),), keys=keys)


@pytest.fixture(scope="module")
def deployment(ray_cluster: Any, options: ServeOptions) -> Iterator[Deployment]:
    """Two replicas that run in a cluster, to which this process is connected."""
    import ray

    ray.init(address=ray_cluster.address, log_to_driver=False)
    deployment = Deployment(options)
    try:
        deployment.open_port()
        deployment.run(bound(options, REPLICAS), threading.Event())
        yield deployment
    finally:
        deployment.delete()
        ray.shutdown()


@pytest.fixture(scope="module")
def url(deployment: Deployment) -> str:
    return url_of(deployment)


def url_of(deployment: Deployment) -> str:
    """Where the cluster answers."""
    match = re.search(r"http://[\d.:]+", deployment.line())
    assert match is not None
    return match[0]


@pytest.fixture(scope="module")
def plain_url(options: ServeOptions) -> Iterator[str]:
    """A server in this process with the same options."""
    service = Service.open(options.models, options.indexes)
    with running(service, options) as url:
        yield url
    service.close()


def replicas() -> dict[str, int]:
    """The process of each replica that runs, by its name."""
    context = importlib.import_module("ray.serve.context")
    details = context._get_global_client().get_serve_details()["applications"]["resift"]
    return {
        replica["replica_id"]: replica["pid"]
        for replica in details["deployments"]["Replica"]["replicas"]
        if replica["state"] == "RUNNING"
    }


def ask(url: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {KEY}"} | headers
    method = "GET" if body is None else "POST"
    return httpx2.request(method, url + path, json=body, headers=headers, timeout=60)


def series(url: str, name: str) -> list[float]:
    """The values of all series of a metric."""
    text = ask(url, "/metrics").text
    return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M)]


def without_times(response: httpx2.Response) -> Any:
    """A body without what differs from call to call."""
    text = re.sub(
        r'"(\w+_ms|\w*timings\w*|id|created|uuid)":("[^"]*"|{[^}]*}|[\d.e-]+)', "", response.text
    )
    return re.sub(r"[\d.]+ ms", "", text)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rank", QUERY | {"documents": TEXTS, "top_n": 2}),
        ("/v1/rank", QUERY | {"documents": TEXTS, "no such field": 1}),
        ("/v1/rank", QUERY | {"documents": []}),
        ("/v1/search", QUERY | {"top_n": 2}),
        ("/v1/search", QUERY | {"index": "other"}),
        ("/v1/search", QUERY | {"stream": True}),
        ("/v1/rank", QUERY | {"documents": ["vacation " * 100_000, "office " * 100_000]}),
        ("/tei/rerank", {"query": "vacation", "texts": TEXTS, "return_text": True}),
        ("/tei/rerank", {"query": "vacation"}),
        ("/cohere/v2/rerank", QUERY | {"documents": TEXTS, "model": "bundled"}),
        ("/jina/v1/rerank", QUERY | {"documents": TEXTS, "model": "none"}),
        ("/v1/indexes", None),
        ("/nothing", None),
        ("/", None),
    ],
)
def test_answers_are_those_of_one_server(url: str, plain_url: str, path: str, body: Any) -> None:
    here, there = ask(url, path, body), ask(plain_url, path, body)
    assert here.status_code == there.status_code
    assert without_times(here) == without_times(there)
    for name in ("content-type", "x-partial", "x-model-fingerprint"):
        assert here.headers.get(name) == there.headers.get(name)


def test_an_agent_gets_the_answer_of_one_server(url: str, plain_url: str) -> None:
    pytest.importorskip("mcp")
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "search", "arguments": QUERY},
    }
    accept = "application/json, text/event-stream"
    results = [ask(to, "/mcp", body, accept=accept) for to in (url, plain_url)]
    assert [result.status_code for result in results] == [200, 200]
    assert without_times(results[0]) == without_times(results[1])
    assert "approves vacation" in results[0].text


def test_events_come_as_they_are_made(url: str) -> None:
    many = QUERY | {"documents": ["vacation " * 300] * 40}
    body = QUERY | {"stream": True}
    key = {"authorization": f"Bearer {KEY}"}
    with load(f"{url}/v1/rank", many, 4, KEY) as loaded:  # so that the reranking waits for a while
        loaded.wait_for(lambda seen: len(seen.responses) > 2)
        with httpx2.stream(
            "POST", f"{url}/v1/search", json=body, headers=key, timeout=60
        ) as response:
            parts = [(time.monotonic(), part) for part in response.iter_text() if part]
    text = "".join(part for _, part in parts)
    assert re.findall(r"^event: (\w+)", text, re.M) == EVENTS
    came = [next(at for at, part in parts if f"event: {name}" in part) for name in EVENTS]
    assert came[1] - came[0] > 0.003, "the first one was held back"


def test_requests_keep_their_ids_and_say_which_replica_answered(url: str) -> None:
    response = ask(url, "/v1/rank", QUERY | {"documents": TEXTS}, **{"x-request-id": "mine"})
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert response.headers["x-replica"] in replicas()


def test_the_ingress_refuses_before_a_replica_hears_of_it(url: str) -> None:
    unknown = httpx2.post(f"{url}/v1/rank", json=QUERY)
    assert unknown.status_code == 401 and unknown.json()["error"]["kind"] == "unauthorized"
    elsewhere = ask(url, "/v1/rank", QUERY, host="elsewhere.example")
    assert elsewhere.status_code == 403
    assert "x-replica" not in {**unknown.headers, **elsewhere.headers}


def test_probes_and_metrics_tell_of_every_replica(url: str) -> None:
    assert httpx2.get(f"{url}/health").json() == {"status": "ok"}
    ready = httpx2.get(f"{url}/ready")
    assert ready.status_code == 200
    assert ready.json()["replicas"] == {name: [] for name in replicas()}
    text = ask(url, "/metrics").text
    for name in replicas():
        assert f'resift_index_open{{index="handbook",replica="{name}"}} 1.0' in text
    assert text.count("# TYPE resift_requests_total counter") == 1
    assert sum(series(url, "resift_ingress_requests_total")) > 0
    assert 'status="499"' not in text, "nobody has gone away"


def test_a_replica_that_hangs_hides_no_other(url: str) -> None:
    (hangs, process), (other, _) = replicas().items()
    os.kill(process, signal.SIGSTOP)
    try:
        ready = httpx2.get(f"{url}/ready", timeout=30)
        text = ask(url, "/metrics").text
    finally:
        os.kill(process, signal.SIGCONT)
    assert ready.status_code == 200 and ready.json()["replicas"] == {other: []}
    assert f'replica="{other}"' in text and f'replica="{hangs}"' not in text
    assert "resift_ingress_requests_total" in text


def test_replicas_report_the_tokens_that_wait(url: str, deployment: Deployment) -> None:
    from ray import serve

    handle = serve.get_deployment_handle("Replica", "resift")

    def tokens() -> list[float]:
        reports = handle.broadcast("record_autoscaling_stats").results(timeout_s=10)
        return [report["queued_tokens"] for report in reports]

    assert tokens() == [0, 0]
    many = QUERY | {"documents": ["vacation " * 300] * 40}
    with load(f"{url}/v1/rank", many, 4, KEY):
        wait_until(lambda: min(tokens()) > 10_000)
    wait_until(lambda: tokens() == [0, 0])


def test_a_caller_that_goes_away_stops_the_work(url: str) -> None:
    many = QUERY | {"documents": ["vacation " * 300] * 400}
    assert gone(url, "ingress") == []
    for timeout in (1, *[0.5] * 5):
        with pytest.raises(httpx2.TimeoutException):
            httpx2.post(
                f"{url}/v1/rank",
                json=many,
                timeout=timeout,
                headers={"authorization": f"Bearer {KEY}"},
            )
    start = time.monotonic()
    wait_until(lambda: series(url, "resift_queue_tokens") == [0, 0])
    wait_until(lambda: sum(gone(url, "ingress")) == 6)
    assert sum(gone(url, "replica")) >= 1
    assert time.monotonic() - start < 60
    assert not re.search(r'ingress_requests_total{.*status="500"', ask(url, "/metrics").text)


def gone(url: str, where: str) -> list[float]:
    """How many callers have gone, as each ingress, or each replica, has counted them."""
    name = {"ingress": "resift_ingress_requests_total", "replica": "resift_requests_total"}[where]
    page = ask(url, "/metrics").text
    return [float(count) for count in re.findall(rf'^{name}{{.*status="499"}} (\S+)$', page, re.M)]


def test_a_new_version_is_taken_up_without_a_failed_request(
    url: str, index: Index, source: Path
) -> None:
    first, second = "Your manager approves vacation.", "The board approves vacation."
    with load(f"{url}/v1/search", QUERY | {"top_n": 1}, 4, KEY) as loaded:
        loaded.wait_for(lambda seen: len(seen.responses) > 20)
        (source / "vacation.md").write_text(f"# Vacation\n\n{second}")
        index.sync(str(source))
        wait_until(lambda: new_replicas(loaded.responses, second) == set(replicas()))
    assert loaded.failures == []
    read = [response.json()["hits"][0]["text"] for response in loaded.responses]
    assert any(first in text for text in read) and any(second in text for text in read)


def new_replicas(responses: list[httpx2.Response], text: str) -> set[str]:
    """The replicas that have answered with a text."""
    return {entry.headers["x-replica"] for entry in list(responses) if text in entry.text}


def test_a_replica_that_is_killed_fails_no_request(url: str) -> None:
    before = replicas()
    body = QUERY | {"documents": ["vacation " * 300] * 20}  # each replica always has some
    with load(f"{url}/v1/rank", body, 8, KEY) as loaded:
        loaded.wait_for(lambda seen: len(seen.responses) > 16)
        name, process = next(iter(before.items()))
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: name not in replicas() and len(replicas()) == 2)
        count = len(loaded.responses)
        loaded.wait_for(lambda seen: len(seen.responses) > count + 16)
    assert loaded.failures == []
    assert 1 <= sum(series(url, "resift_ingress_retried_requests_total")) <= 8
    assert sum(series(url, "resift_ingress_lost_requests_total")) == 0
    answered = {entry.headers["x-replica"] for entry in loaded.responses}
    assert answered == {*before, *replicas()}


@pytest.mark.long
def test_without_any_replica_it_is_not_ready(url: str) -> None:
    before = replicas()
    for process in before.values():
        os.kill(process, signal.SIGKILL)
    seen: list[tuple[int, list[str]]] = []

    def is_back() -> bool:
        response = httpx2.get(f"{url}/ready", timeout=30)
        seen.append((response.status_code, response.json()["waiting_for"]))
        metrics = ask(url, "/metrics")
        assert metrics.status_code == 200 and "resift_ingress_requests_total" in metrics.text
        return response.status_code == 200 and not set(before) & set(replicas())

    wait_until(is_back)
    wait_until(lambda: len(replicas()) == 2)
    assert (503, ["a replica"]) in seen
    assert {status for status, _ in seen} == {200, 503}


@pytest.mark.long
def test_a_deployment_is_replaced_without_a_failed_request(
    url: str, deployment: Deployment, options: ServeOptions
) -> None:
    before = set(replicas())
    with load(f"{url}/v1/search", QUERY, 4, KEY) as loaded:
        loaded.wait_for(lambda seen: len(seen.responses) > 8)
        deployment.run(bound(options, REPLICAS), threading.Event())
        count = len(loaded.responses)
        loaded.wait_for(lambda seen: len(seen.responses) > count + 8)
    assert loaded.failures == []
    assert not before & set(replicas())


def test_another_port_of_a_cluster_that_serves_is_refused(deployment: Deployment) -> None:
    with pytest.raises(InputError, match=r"runs in this cluster already, at 127.0.0.1:\d+; give"):
        Deployment(ServeOptions(port=1)).open_port()


@pytest.mark.long
def test_replicas_follow_the_queue(url: str, deployment: Deployment, options: ServeOptions) -> None:
    few = replace(options, max_queue_tokens=100_000)
    deployment.delete()  # else Ray ends the second replica minutes later
    deployment.open_port()
    deployment.run(bound(few, ReplicaOptions(1, 2)), threading.Event())
    assert len(replicas()) == 1
    body = QUERY | {"documents": ["vacation " * 300] * 40}
    with load(f"{url_of(deployment)}/v1/rank", body, 4, KEY) as loaded:
        wait_until(lambda: len(replicas()) == 2)
        wait_until(lambda: len({entry.headers["x-replica"] for entry in loaded.responses}) == 2)
    assert loaded.failures == []
