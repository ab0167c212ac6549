"""A build on Ray outlasts an object store that refuses everything for ten seconds."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import pytest

from jobs.test_sync import Embedder, NoReranker, make_documents, results
from resift.index.part_work import OpenPools, write_part
from resift.index.parts import PartResult
from resift.index.run import Progress
from resift.jobs.cluster import Cluster
from resift.jobs.sync import RayWorkers
from resift.search.index import Index
from resift.settings import Settings
from storage.conftest import bucket as bucket
from storage.conftest import proxy as proxy
from storage.conftest import server as server
from storage.faulty import Faults, FaultyProxy
from storage.weed import Server

OUTAGE_S = 10.0
# More tries than a search makes, and fewer than a writer.
REFUSED = 6


@dataclass
class LateWorker:
    """Does the parts in this process; the store refuses its first requests."""

    proxy: FaultyProxy

    def connected(self) -> AbstractContextManager[object]:
        return nullcontext()

    def write(self, tables: Any, models: Any) -> Iterator[tuple[int, PartResult]]:
        self.proxy.restart(Faults(slow_down_until=REFUSED))
        with models.elsewhere(1)() as opened, OpenPools(1) as pools:
            for number, (job, items) in enumerate(tables):
                yield number, write_part(job, opened, pools, items)

    def publish(self, shards: Any, models: Any) -> Iterator[tuple[int, Any]]:
        raise NotImplementedError


def test_a_store_that_answers_503_for_ten_seconds_costs_time_only(
    tmp_path: Path, server: Server, bucket: str, proxy: FaultyProxy, ray_cluster: Any
) -> None:
    documents = make_documents(tmp_path / "documents", 40)
    for file in documents.iterdir():
        obstore.put(server.bucket(bucket), f"docs/{file.name}", file.read_bytes())
    settings = Settings(storage=Server(proxy.endpoint).settings())
    embedder = Embedder(delay_s=0.1)
    uri = f"s3://{bucket}"
    outages: list[threading.Thread] = []
    refused: list[int] = []

    def refuse() -> None:
        proxy.restart(Faults(slow_down_every=1))
        time.sleep(OUTAGE_S)
        refused.append(len(proxy.seen))
        proxy.restart()

    def begin_outage(state: Progress) -> None:
        if not outages and state.passages:
            outages.append(threading.Thread(target=refuse))
            outages[0].start()

    def open_index(name: str) -> Index:
        return Index(f"{uri}/{name}", settings=settings, embedder=embedder, reranker=NoReranker())

    remote, local = open_index("remote"), open_index("local")
    workers = RayWorkers(Cluster(ray_cluster.address))
    report = remote.sync(f"{uri}/docs", begin_outage, workers=workers)
    outages[0].join()
    assert refused[0] > 10
    assert (report.added, report.skipped, report.unread) == (40, (), 0)
    local.sync(f"{uri}/docs")
    assert results(remote) == results(local)
    assert len(remote.versions()) == 1


def test_a_worker_that_starts_while_the_store_answers_503_waits_for_it(
    server: Server, bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.storage.bucket_listing._MAX_WAIT_S", 0.05)
    obstore.put(server.bucket(bucket), "docs/a.txt", b"A document.")
    settings = Settings(storage=Server(proxy.endpoint).settings())
    uri = f"s3://{bucket}"
    index = Index(f"{uri}/index", settings=settings, embedder=Embedder(), reranker=NoReranker())
    report = index.sync(f"{uri}/docs", workers=LateWorker(proxy))
    assert len(proxy.seen) > REFUSED
    assert (report.added, report.unread) == (1, 0)
