"""Proves that a server starts with one line, loses no request at its end, and outlives workers."""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resift import Index
from resift.errors import InputError
from resift.serve.options import ServeOptions
from serve.processes import ServerProcess, started

BODY = {"query": "reset password", "documents": ["a cat", "press reset password"]}

linux_only = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


def ask(url: str, body: Any = BODY, **options: Any) -> Any:
    return httpx2.post(f"{url}/v1/rank", json=body, timeout=60, **options)


def test_one_line_says_where_it_is_and_what_it_has(tmp_path: Path, served_index: Index) -> None:
    arguments = ("--model", "mine=bundled", "--index", f"docs={served_index.uri}")
    with started(tmp_path / "log", *arguments) as server:
        assert server.line == (
            f"resift serves models mine; indexes docs at {server.url}; page {server.url}/\n"
        )
        assert httpx2.get(f"{server.url}/ready").json()["ready"]
        assert ask(server.url, BODY | {"model": "mine"}).status_code == 200
        search = httpx2.post(f"{server.url}/v1/search", json={"query": "vacation"})
        assert search.json()["hits"][0]["status"] == "ok"
        assert server.stop() == 0
        assert server.process.stdout is not None and server.process.stdout.read() == ""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_server_that_stops_answers_what_it_has_begun(tmp_path: Path, number: int) -> None:
    documents = [f"{row} " + "the office is closed on sundays " * 40 for row in range(300)]
    responses: list[Any] = []
    with started(tmp_path / "log") as server:
        body = {"query": "office", "documents": documents}
        thread = threading.Thread(target=lambda: responses.append(ask(server.url, body)))
        thread.start()
        wait_for_open_call(server.url)
        code = server.stop(number)
        thread.join()
        assert code == (130 if number == signal.SIGINT else 0)
    assert responses[0].status_code == 200 and len(responses[0].json()["hits"]) == 300


def wait_for_open_call(url: str) -> None:
    until = time.monotonic() + 30
    while httpx2.get(f"{url}/models").json()["data"][0]["stats"]["queue_absolute"] == 0:
        assert time.monotonic() < until
        time.sleep(0.02)


@linux_only
def test_a_killed_worker_returns_and_the_others_serve(tmp_path: Path) -> None:
    with started(tmp_path / "log", "--workers", "2") as server:
        first = wait_for_workers(server, 2)
        statuses: list[int] = []
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                try:
                    statuses.append(ask(server.url).status_code)
                except httpx2.TransportError:  # was being answered by the killed worker
                    statuses.append(0)

        threads = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        os.kill(first[0], signal.SIGKILL)
        until = time.monotonic() + 60
        while len(workers := wait_for_workers(server, 2)) < 2 or first[0] in workers:
            assert time.monotonic() < until
            time.sleep(0.1)
        asked = len(statuses)
        while len(statuses) < asked + 20:
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        assert statuses.count(0) <= len(threads), "only what the worker held was lost"
        assert set(statuses) <= {0, 200} and set(statuses[-10:]) == {200}
        assert server.stop() == 0


@linux_only
def test_workers_that_stop_refuse_new_connections_and_answer_open_requests(tmp_path: Path) -> None:
    documents = [f"{row} " + "the office is closed on sundays " * 40 for row in range(300)]
    responses: list[Any] = []
    with started(tmp_path / "log", "--workers", "2") as server:
        body = {"query": "office", "documents": documents}
        thread = threading.Thread(target=lambda: responses.append(ask(server.url, body)))
        thread.start()
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 30
        while True:
            try:
                httpx2.get(f"{server.url}/health", timeout=1)
            except httpx2.ConnectError:
                break
            except httpx2.TransportError:  # was accepted while the port closed
                pass
            assert time.monotonic() < until, "the port is open"
        thread.join()
        assert server.process.wait(60) == 0
    assert responses[0].status_code == 200


@linux_only
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with started(tmp_path / "log", "--workers", "2") as server:
        workers = wait_for_workers(server, 2)
        server.process.kill()
        server.process.wait(60)
        until = time.monotonic() + 60
        while any(is_running(worker) for worker in workers):
            assert time.monotonic() < until, "a worker goes on"
            time.sleep(0.1)
        with pytest.raises(httpx2.ConnectError):
            ask(server.url)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_server_whose_stdout_is_full_serves(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    command = [sys.executable, "-m", "resift", "serve", "--port", "0"]
    with (tmp_path / "log").open("wb") as log, Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(command, stdout=full, stderr=log)
    until = time.monotonic() + 60
    while "the server goes on" not in (tmp_path / "log").read_text():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert "Traceback" not in (tmp_path / "log").read_text()


@linux_only
def test_a_worker_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "resift", "serve", "--port", "0", "--workers", "2"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    server = ServerProcess(process, "", "", tmp_path / "log")
    os.kill(wait_for_workers(server, 1)[0], signal.SIGKILL)
    assert process.wait(120) == 1
    assert process.stdout is not None and process.stdout.read() == ""
    process.stdout.close()
    assert "did not start" in server.log.read_text()


def wait_for_workers(server: ServerProcess, count: int) -> list[int]:
    until = time.monotonic() + 60
    while len(workers := server.children()) < count:
        assert time.monotonic() < until, server.log.read_text()
        time.sleep(0.05)
    return workers


def test_a_new_version_of_an_index_is_taken_up_without_a_failed_request(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "cat.md").write_text("The cat is an animal.")
    index = Index(tmp_path / "index")
    index.sync(str(docs))
    with started(tmp_path / "log", "--index", str(tmp_path / "index")) as server:
        versions: list[int] = []
        (docs / "dog.md").write_text("The dog is an animal.")
        syncing = threading.Thread(target=lambda: index.sync(str(docs)))
        syncing.start()
        until = time.monotonic() + 60
        while not versions or versions[-1] < 2:
            assert time.monotonic() < until
            answer = httpx2.post(f"{server.url}/v1/search", json={"query": "animal"}, timeout=60)
            assert answer.status_code == 200 and not answer.json()["receipt"]["partial"]
            versions.append(answer.json()["receipt"]["version"])
        syncing.join()
        assert versions == sorted(versions) and len(answer.json()["hits"]) == 2


def test_an_index_that_is_not_there_yet_makes_the_server_wait_for_it(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "cat.md").write_text("The cat is an animal.")
    with started(tmp_path / "log", "--index", f"later={tmp_path / 'index'}") as server:
        assert httpx2.get(f"{server.url}/health").status_code == 200
        ready = httpx2.get(f"{server.url}/ready")
        assert ready.status_code == 503 and ready.json()["waiting_for"] == ["later"]
        search = httpx2.post(f"{server.url}/v1/search", json={"query": "animal"})
        assert search.status_code == 503 and search.json()["error"]["kind"] == "unavailable"
        Index(tmp_path / "index").sync(str(docs))
        until = time.monotonic() + 60
        while httpx2.get(f"{server.url}/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    return cert, key


def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with started(tmp_path / "log", "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        assert ask(server.url, verify=context).status_code == 200


WRONG: list[tuple[list[str], str]] = [
    (["--model", "nobody/has-this-model"], "nobody/has-this-model"),
    (["--model", "a=bundled", "--model", "a=bundled"], "a: given twice"),
    (["--model", "=x"], "=x"),
    (["--port", "70000"], "70000"),
    (["--workers", "0"], "0"),
    (["--max-queue-tokens", "1"], "--max-queue-tokens"),
    (["--host", "nowhere.invalid"], "nowhere.invalid"),
    (["--keys", "/no/such/file"], "/no/such/file"),
    (["--tls-cert", "/no/such/file"], "tls"),
    (["--tls-cert", "/no/such/file", "--tls-key", "/no/such/file"], "/no/such/file"),
    (["--model", ""], "--model"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_option_is_refused_in_one_line(arguments: list[str], named: str) -> None:
    command = [sys.executable, "-m", "resift", "serve", *arguments]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=offline)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert named in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with started(tmp_path / "log") as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, "-m", "resift", "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr


def test_a_file_without_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# nobody\n")
    with pytest.raises(InputError, match="no key"):
        ServeOptions(keys=tmp_path / "keys")
    (tmp_path / "keys").write_text("short\n")
    with pytest.raises(InputError, match=r"line 1: a key of 5 characters"):
        ServeOptions(keys=tmp_path / "keys")


def test_the_log_has_a_line_a_request(tmp_path: Path) -> None:
    with started(tmp_path / "log") as server:
        ask(server.url)
        server.stop()
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert any(line.get("status") == 200 and line.get("dialect") == "native" for line in lines)
