"""Proves that the metrics say what a server has done and how it stands, also of two processes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resift import Index
from resift.errors import InputError
from resift.rerank.watchers import BatchRun
from resift.serve.admission import Admission
from resift.serve.metrics import Metrics, by_status, shared_by_processes
from resift.serve.options import ServeOptions
from resift.serve.problems import Kind
from resift.serve.service import Service
from serve.exposed import Exposed, exposed
from serve.processes import started
from serve.running import running

RANK: dict[str, Any] = {"query": "reset password", "documents": ["a cat", "press reset", ""]}
KEY = "a-key-of-prometheus"

linux_only = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@pytest.fixture
def counted(service: Service) -> Service:
    """The models and indexes of `service`, in a service that nothing was asked of yet."""
    return Service(service.models, service.indexes, Admission())


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of this process start at once: the first call may be slow here."""
    monkeypatch.setattr("resift.serve.app.warm_up", lambda reranker: None)


@pytest.fixture
def url(counted: Service) -> Iterator[str]:
    with running(counted) as url:
        yield url


def until(true: Callable[[], bool]) -> None:
    """Wait for what follows a response, or a process."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def when(url: str, true: Callable[[Exposed], bool]) -> Exposed:
    """The metrics once a condition holds: a request is counted just after its response."""
    until(lambda: true(exposed(url)))
    return exposed(url)


def test_a_ranking_is_counted_with_its_documents_stages_and_batches(url: str) -> None:
    receipt = httpx2.post(f"{url}/v1/rank", json=RANK | {"top_n": 1}).json()["receipt"]
    metrics = when(url, lambda seen: "resift_requests_total" in names(seen, path="/v1/rank"))
    value = metrics.value
    assert value("resift_requests_total", dialect="native", path="/v1/rank", status="200") == 1
    assert value("resift_rankings_total", operation="rank", model=receipt["model"]) == 1
    assert value("resift_partial_rankings_total") == 0
    assert value("resift_documents_total", status="ok") == 2
    assert value("resift_documents_total", status="unreadable") == 1
    assert value("resift_documents_total") == receipt["depth"] == 3
    assert value("resift_pruned_documents_total") == receipt["pruned"]
    for stage, took_ms in receipt["timings_ms"].items():
        took_s = value("resift_stage_duration_seconds_sum", operation="rank", stage=stage)
        assert took_s == pytest.approx(took_ms / 1000)
    assert value("resift_batch_tokens_sum", model_stage="0") == receipt["tokens"]
    padding = 1 - receipt["tokens"] / value("resift_batch_positions_total", model_stage="0")
    assert padding == pytest.approx(receipt["padding_share"])
    assert value("resift_batch_rows_total", model_stage="0") == 2
    assert value("resift_batch_rows_total", model_stage="1") == 2 - receipt["pruned"]
    assert value("resift_batch_duration_seconds_count", model_stage="0") == 1


def names(metrics: Exposed, **labels: str) -> set[str]:
    return {sample.name for sample in metrics.samples if labels.items() <= sample.labels.items()}


def test_a_late_ranking_is_partial_and_its_documents_are_late(url: str) -> None:
    httpx2.post(f"{url}/v1/rank", json=RANK | {"budget_ms": 0.0001})
    metrics = exposed(url)
    assert metrics.value("resift_partial_rankings_total", operation="rank") == 1
    assert metrics.value("resift_documents_total", status="late") == 2


def test_a_search_is_counted_with_the_stages_of_retrieval(url: str, counted: Service) -> None:
    receipt = httpx2.post(f"{url}/v1/search", json={"query": "vacation"}).json()["receipt"]
    metrics = exposed(url)
    assert metrics.value("resift_rankings_total", operation="search") == 1
    stages = metrics.label_values("resift_stage_duration_seconds_count", "stage")
    assert stages == set(receipt["timings_ms"]) >= {"lexical", "embed", "dense", "fuse", "fetch"}
    opened = counted.index().opened
    assert opened is not None
    assert metrics.value("resift_index_open", index="handbook") == 1
    assert metrics.value("resift_index_version", index="handbook") == opened.number
    assert metrics.value("resift_index_passages", index="handbook") == opened.passages == 3
    age = time.time() - metrics.value("resift_index_created_timestamp_seconds", index="handbook")
    assert 0 < age < 86_400


def test_an_index_that_is_not_open_is_0_without_a_version(tmp_path: Path, service: Service) -> None:
    missing = Service(service.models, {"later": Index(tmp_path / "none")}, Admission())
    with running(missing) as url:
        metrics = exposed(url)
    assert metrics.value("resift_index_open", index="later") == 0
    assert "resift_index_version" not in names(metrics)


def test_models_and_versions_are_named(url: str, service: Service) -> None:
    metrics = exposed(url)
    reranker = service.reranker()
    for alias in ("bundled", "second"):
        labels = {"alias": alias, "model": reranker.name, "fingerprint": reranker.fingerprint}
        assert metrics.value("resift_model_info", **labels) == 1
    assert metrics.value("resift_build_info") == 1
    assert metrics.value("process_cpu_seconds_total") > 0
    assert 0 < time.time() - metrics.value("process_start_time_seconds") < 600


@linux_only
def test_memory_and_files_of_the_process_are_measured(url: str) -> None:
    metrics = exposed(url)
    assert metrics.value("process_resident_memory_bytes") > 50_000_000
    assert 3 < metrics.value("process_open_fds") < metrics.value("process_max_fds")


def test_problems_are_counted_by_dialect_and_kind(url: str) -> None:
    httpx2.post(f"{url}/v1/rank", json=RANK | {"query": ""})
    httpx2.post(f"{url}/v1/rank", json=RANK | {"model": "none"})
    httpx2.post(f"{url}/v2/rerank", content=b"{")
    metrics = when(url, lambda seen: "cohere" in dialects(seen))
    value = metrics.value
    assert value("resift_problems_total", dialect="native", kind="malformed") == 1
    assert value("resift_problems_total", dialect="native", kind="unknown_model") == 1
    assert value("resift_problems_total", dialect="cohere", kind="malformed") == 1
    kinds = metrics.label_values("resift_problems_total", "kind")
    assert kinds == {kind.value for kind in Kind}, "each has a series before its first problem"


def dialects(metrics: Exposed) -> set[str]:
    return metrics.label_values("resift_requests_total", "dialect")


def test_what_callers_make_up_adds_no_series(url: str, counted: Service) -> None:
    def send(name: str) -> None:
        httpx2.get(f"{url}/{name}")
        httpx2.get(f"{url}/page/{name}")
        httpx2.get(f"{url}/v1/passages/{name}")
        httpx2.post(f"{url}/v1/rank", json=RANK | {"model": name})
        httpx2.post(f"{url}/v1/search", json={"query": name, "index": name})
        httpx2.post(f"{url}/v2/rerank", json=RANK | {"model": name})

    send("zq0")
    count = len(when(url, lambda seen: "cohere" in dialects(seen)).samples)
    for number in range(1, 5):
        send(f"zq{number}")
    metrics = when(url, lambda seen: seen.value("resift_requests_total", path="/v2/rerank") == 5)
    paths = {path for path in metrics.label_values("resift_requests_total", "path") if path}
    assert paths - {"/metrics"} == {
        "other", "/page/{name}", "/v1/passages/{passage_id}", "/v1/rank", "/v1/search",
        "/v2/rerank",
    }  # fmt: skip
    assert len(metrics.samples) <= count + 1  # that of /metrics itself
    assert not any("zq" in str(sample) for sample in metrics.samples)


def test_the_queue_is_measured_and_refused_calls_are_counted(url: str, counted: Service) -> None:
    counted.admission.max_tokens = 5_000
    with counted.admission.admit(4_990):
        assert httpx2.post(f"{url}/v1/rank", json=RANK).status_code == 429
        metrics = exposed(url)
        assert metrics.value("resift_queue_tokens") == 4_990
        assert metrics.value("resift_queue_limit_tokens") == 5_000
        assert metrics.value("resift_open_calls") == 1
        assert metrics.value("resift_refused_calls_total") == 1
    metrics = exposed(url)
    assert metrics.value("resift_queue_tokens") == metrics.value("resift_open_calls") == 0
    assert metrics.value("resift_refused_calls_total") == 1
    speed = metrics.value("resift_tokens_per_second")
    assert speed == pytest.approx(1 / counted.admission.seconds(1))


def test_totals_that_are_counted_elsewhere_are_added_once() -> None:
    metrics = Metrics()
    for total in (2, 5, 5):
        metrics.set_process(dropped_lines=total)
    assert b"resift_dropped_log_lines_total 5.0" in metrics.exposition("")[0]


def test_a_stage_that_nobody_knows_is_other(service: Service) -> None:
    metrics, receipt = Metrics(), service.reranker().rank("red", ["red"]).receipt
    object.__setattr__(receipt, "timings_ms", {"made up": 2.0})
    metrics.ranking("rank", receipt)
    text = metrics.exposition("")[0]
    assert b'stage="other"' in text and b"made up" not in text


def test_the_documents_of_a_receipt_have_one_status_each(service: Service) -> None:
    documents = ["red", "", "word " * 2_000]
    receipt = service.reranker().rank("red", documents).receipt
    rest = {"late": 0, "failed": 0, "not_reranked": 0}
    assert by_status(receipt) == {"ok": 1, "cut": 1, "unreadable": 1, **rest}


def test_batches_of_several_models_are_told_apart() -> None:
    metrics = Metrics()
    metrics.batch("small", BatchRun(0, 10, 900, 1_000, 0.25))
    metrics.batch("large", BatchRun(1, 5, 400, 500, 0.5))
    text = metrics.exposition("")[0].decode()
    assert 'resift_batch_rows_total{model="small",model_stage="0"} 10.0' in text
    assert 'resift_batch_tokens_sum{model="large",model_stage="1"} 400.0' in text


def test_a_key_is_asked_for_if_the_server_has_keys(counted: Service, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY + "\n")
    with running(counted, ServeOptions(keys=keys)) as url:
        assert httpx2.get(f"{url}/metrics").status_code == 401
        assert exposed(url, authorization=f"Bearer {KEY}").value("resift_build_info") == 1


def test_openmetrics_is_given_to_those_who_accept_it(url: str) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    response = httpx2.get(f"{url}/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n") and "_created{" not in response.text
    plain = httpx2.get(f"{url}/metrics")
    assert plain.headers["content-type"].startswith("text/plain")


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"none.*no such file.*set TMPDIR"), shared_by_processes():
        pass


@linux_only
@pytest.mark.long
def test_two_processes_are_added_up_and_outlived(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with started(tmp_path / "log", "--workers", "2", TMPDIR=str(folder)) as server:
        for _ in range(12):
            httpx2.post(f"{server.url}/v1/rank", json=RANK)
        for _ in range(5):  # whichever of them answers
            when(server.url, lambda seen: seen.value("resift_rankings_total") == 12)
        both = when(server.url, lambda seen: seen.value("resift_queue_limit_tokens") == 1_000_000)
        httpx2.post(f"{url}/v1/rank", json=RANK)
        alone = when(url, lambda seen: "resift_requests_total" in names(seen, path="/v1/rank"))
        assert {name: kind for name, kind in alone.types.items() if "index" not in name} == (
            both.types
        )
        for sample in both.samples:
            assert set(sample.labels) == alone.labels(sample.name), sample
        ended = server.children()[0]
        os.kill(ended, signal.SIGKILL)
        until(lambda: not list(folder.glob(f"resift-metrics-*/gauge_livesum_{ended}.db")))
        httpx2.post(f"{server.url}/v1/rank", json=RANK)
        outlived = when(server.url, lambda seen: seen.value("resift_rankings_total") == 13)
        assert outlived.value("resift_model_info") == 1
        when(server.url, lambda seen: seen.value("resift_queue_limit_tokens") == 1_000_000)
        assert list(folder.glob("resift-metrics-*")) and server.stop() == 0
        assert list(folder.glob("resift-metrics-*")) == []
