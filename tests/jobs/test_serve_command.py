"""Proves that `resift serve --ray` serves until a signal, and leaves nothing behind."""

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import trustme
from typer.testing import CliRunner

from cli.command import Resift
from cli.conftest import resift as resift
from resift.cli.app import app
from resift.errors import ClusterError, InputError
from resift.jobs import serve_owner
from resift.jobs.cluster import Cluster
from resift.jobs.serve_names import APPLICATION
from resift.jobs.serve_options import ReplicaOptions
from resift.serve.options import ServeOptions
from serve.processes import started

pytest.importorskip("ray")

from resift.jobs import serve as command

DOCUMENTS = {"query": "vacation", "documents": ["the office is closed", "who approves vacation"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicas", "2"], "--replicas 2: only with --ray"),
        (["--replica-cpus", "2"], "--replica-cpus 2: only with --ray"),
        (["--ray", "local", "--replicas", "4:2"], "replicas=4:2: expected"),
        (["--ray", "local", "--replica-cpus", "0"], "replica_cpus=0: expected"),
        (["--ray", "local", "--workers", "2"], "workers=2: a cluster has replicas instead"),
        (["--ray", "local", "--model", "a=b", "--model", "a=c"], "model"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_cluster_is_asked(
    arguments: Sequence[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code != 0
    assert message in f"{result.exception} {result.output}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ray", "nonsense"], "--ray 'nonsense': expected auto"),
        (["--ray", "local", "--replicas=3:1"], "--replicas 3:1: expected MIN:MAX"),
        (["--tls-cert", "/no", "--tls-key", "/nor"], "--tls-cert /no, --tls-key /nor: cannot"),
        (["--tls-cert", "/no"], "--tls-cert /no: needs its key; give --tls-key"),
        (["--tls-key", "/no"], "--tls-key /no: needs its certificate; give --tls-cert"),
    ],
)
def test_messages_name_options_as_they_were_typed(
    ray_serve: Any, resift: Resift, arguments: Sequence[str], message: str
) -> None:
    assert message in resift("serve", *arguments).error


def test_a_command_that_cannot_listen_ends_the_serve_that_it_began(
    ray_serve: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve = _BusyPort()
    monkeypatch.setattr(command, "_serve", lambda: serve)
    monkeypatch.setattr(command, "_running_http", lambda: None)
    monkeypatch.setattr(command, "bound", lambda *_: None)
    monkeypatch.setattr(Cluster, "connected", lambda _: nullcontext())
    with pytest.raises(InputError, match=r"127\.0\.0\.1:8080: Ray Serve cannot listen there"):
        command.serve_on_cluster(ServeOptions(), "auto", ReplicaOptions(), print)
    assert serve.is_shut_down


@pytest.fixture
def deploying(ray_serve: Any, monkeypatch: pytest.MonkeyPatch) -> "_Deploying":
    """A Ray Serve in which an application is deployed, and never runs."""
    serve = _Deploying()
    monkeypatch.setattr(command, "_serve", lambda: serve)
    monkeypatch.setattr(serve_owner, "_store", lambda: serve)
    return serve


def test_a_stop_during_the_deployment_deletes_what_was_deployed(deploying: "_Deploying") -> None:
    deployment, stop = command.Deployment(ServeOptions()), threading.Event()
    stop.set()
    deployment.run(None, stop)
    assert set(deploying.applications) == {APPLICATION}
    deployment.delete()
    assert deploying.applications == {}


def test_a_command_that_is_replaced_while_it_starts_ends_and_deletes_nothing(
    deploying: "_Deploying", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "POLL_S", 0.05)
    first, second = (command.Deployment(ServeOptions()) for _ in range(2))
    stop, stopped = threading.Event(), threading.Event()
    stopped.set()
    replaces = threading.Timer(0.2, second.run, (None, stopped))
    replaces.start()
    with pytest.raises(ClusterError, match="another command has deleted or replaced it before"):
        first.run(None, stop)
    replaces.join()
    first.delete()
    assert set(deploying.applications) == {APPLICATION}
    second.delete()
    assert deploying.applications == {}


def test_a_command_whose_application_is_deleted_while_it_starts_ends(
    deploying: "_Deploying", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "POLL_S", 0.05)
    deletes = threading.Timer(0.2, deploying.delete, (APPLICATION,))
    deletes.start()
    with pytest.raises(ClusterError, match="another command has deleted or replaced it before"):
        command.Deployment(ServeOptions()).run(None, threading.Event())


def test_another_application_of_the_name_is_left_alone(deploying: "_Deploying") -> None:
    deploying.run_many()
    deploying.applications[APPLICATION].deployments = {"Other": None}
    deployment = command.Deployment(ServeOptions())
    with pytest.raises(InputError, match="another application of this name"):
        deployment.run(None, threading.Event())
    deployment.delete()
    assert set(deploying.applications) == {APPLICATION}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"port": 1}, "--host 127.0.0.1 --port 8000 without --tls-cert"),
        ({"host": "0.0.0.0", "port": 0}, "--host 127.0.0.1 --port 8000 without --tls-cert"),
        ({"port": 8000, "tls": True}, "--host 127.0.0.1 --port 8000 without --tls-cert"),
    ],
)
def test_a_serve_that_listens_in_another_way_is_refused(
    ray_serve: Any,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, Path],
    asked: dict[str, Any],
    given: str,
) -> None:
    running = SimpleNamespace(host="127.0.0.1", port=8000, ssl_certfile=None, ssl_keyfile=None)
    monkeypatch.setattr(command, "_running_http", lambda: running)
    asked = dict(asked)
    if asked.pop("tls", False):
        asked |= {"tls_cert": certificate[0], "tls_key": certificate[1]}
    with pytest.raises(InputError, match=rf"already, at 127\.0\.0\.1:8000; give {given}$"):
        command.Deployment(ServeOptions(**asked)).open_port()


def test_a_serve_with_a_certificate_is_not_announced_as_plain(
    ray_serve: Any, monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    running = SimpleNamespace(
        host="127.0.0.1", port=8000, ssl_certfile=str(cert), ssl_keyfile=str(key)
    )
    monkeypatch.setattr(command, "_running_http", lambda: running)
    with pytest.raises(InputError, match=f"give .* --tls-cert {cert} --tls-key {key}"):
        command.Deployment(ServeOptions(port=8000)).open_port()
    joined = command.Deployment(ServeOptions(port=0, tls_cert=cert, tls_key=key))
    joined.open_port()
    assert "at https://127.0.0.1:8000;" in joined.line()


class _BusyPort:
    """``ray.serve`` where it begins and then cannot listen."""

    is_shut_down = False

    def start(self, http_options: dict[str, Any]) -> None:
        raise RuntimeError("Failed to start the proxies")

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(applications={})

    def shutdown(self) -> None:
        self.is_shut_down = True


class _Deploying:
    """``ray.serve`` in which an application never runs, and the store of its cluster.

    As in Ray, an application that is deployed again keeps the time of its first deployment.
    """

    def __init__(self) -> None:
        self.applications: dict[str, SimpleNamespace] = {}
        self.stored: dict[str, str] = {}

    def RunTarget(self, *_: object, **__: object) -> None:
        return None

    def run_many(self, *_: object, **__: object) -> None:
        first = SimpleNamespace(status="DEPLOYING", last_deployed_time_s=1.0, deployments={})
        self.applications.setdefault(APPLICATION, first)

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(applications=dict(self.applications))

    def delete(self, name: str) -> None:
        del self.applications[name]

    def _internal_kv_get(self, key: str) -> str | None:
        return self.stored.get(key)

    def _internal_kv_put(self, key: str, value: str) -> None:
        self.stored[key] = value


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cluster_of_this_machine_ends_with_the_command(
    tmp_path: Path,
    number: signal.Signals,
    certificate: tuple[Path, Path],
    short_folder: str,
) -> None:
    cert, key = certificate
    arguments = ["--ray", "local", "--tls-cert", str(cert), "--tls-key", str(key)]
    with started(
        tmp_path / "log", *arguments, RAY_TMPDIR=short_folder, RAY_AUTH_MODE="disabled"
    ) as run:
        assert run.url.startswith("https://127.0.0.1:") and "Ctrl-C ends it" in run.line
        response = httpx2.post(f"{run.url}/v1/rank", json=DOCUMENTS, verify=False)
        assert response.json()["hits"][0]["index"] == 1
        processes = descendants(run.process.pid)
        assert len(processes) > 5
        assert run.stop(number) == 0
    assert [process for process in processes if Path(f"/proc/{process}").exists()] == []


@pytest.mark.long
def test_a_cluster_that_runs_stays_without_the_application(
    tmp_path: Path, ray_cluster: Any
) -> None:
    with started(tmp_path / "log", "--ray", ray_cluster.address) as run:
        response = httpx2.post(f"{run.url}/v1/rank", json=DOCUMENTS)
        assert response.json()["hits"][0]["index"] == 1
        assert run.stop() == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{run.url}/health")
    import ray

    ray.init(address=ray_cluster.address, log_to_driver=False)
    try:
        from ray import serve

        assert serve.status().applications == {}
        assert ray.available_resources()["CPU"] == 2
    finally:
        ray.shutdown()


@pytest.mark.long
def test_a_command_that_replaces_another_ends_it_and_takes_over_its_serve(
    tmp_path: Path, ray_cluster: Any
) -> None:
    with started(tmp_path / "first", "--ray", ray_cluster.address) as first:
        with started(tmp_path / "second", "--ray", ray_cluster.address) as second:
            assert second.url == first.url
            assert first.process.wait(30) == 0
            assert "another command has deleted or replaced it" in first.log.read_text()
            response = httpx2.post(f"{second.url}/v1/rank", json=DOCUMENTS)
            assert response.json()["hits"][0]["index"] == 1
            assert second.stop() == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{second.url}/health")


@pytest.mark.long
def test_a_command_ends_in_one_line_when_serve_is_shut_down(
    tmp_path: Path, ray_cluster: Any
) -> None:
    with started(tmp_path / "log", "--ray", ray_cluster.address) as run:
        import ray

        ray.init(address=ray_cluster.address, log_to_driver=False)
        try:
            from ray import serve

            serve.shutdown()
        finally:
            ray.shutdown()
        assert run.process.wait(30) == 0
        assert len(run.log.read_text().splitlines()) == 1
        assert "another command has deleted or replaced it" in run.log.read_text()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its private key."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(files[0])
    issued.private_key_pem.write_to_path(files[1])
    return files


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A folder whose path is short enough for Ray's sockets."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    pids = []
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += [int(child), *descendants(int(child))]
    return pids
