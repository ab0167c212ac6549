"""Proves that `resift serve --ray` serves until a signal, and leaves nothing behind."""

import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from typer.testing import CliRunner

from resift.cli.app import app
from serve.processes import started

pytest.importorskip("ray")

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
