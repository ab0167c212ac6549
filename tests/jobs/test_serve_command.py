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
from resift.errors import InputError
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


def test_a_stop_during_the_deployment_deletes_what_was_deployed(
    ray_serve: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve = _Deploying()
    monkeypatch.setattr(command, "_serve", lambda: serve)
    deployment, stop = command.Deployment(ServeOptions()), threading.Event()
    stop.set()
    deployment.run(None, stop)
    deployment.delete()
    assert serve.applications == {}


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
    """``ray.serve`` in which an application never runs."""

    def __init__(self) -> None:
        self.applications: dict[str, SimpleNamespace] = {}

    def RunTarget(self, *_: object, **__: object) -> None:
        return None

    def run_many(self, *_: object, **__: object) -> None:
        self.applications[APPLICATION] = SimpleNamespace(
            status="DEPLOYING", last_deployed_time_s=1.0, deployments={}
        )

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(applications=dict(self.applications))

    def delete(self, name: str) -> None:
        del self.applications[name]


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
