"""A build on Ray outlasts an object store that refuses everything for ten seconds."""

import threading
import time
from pathlib import Path
from typing import Any

import obstore

from jobs.test_sync import Embedder, NoReranker, make_documents, results
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
