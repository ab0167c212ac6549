"""Proves that a server searches what another process's `Index.follow` has published."""

import asyncio
import threading
from pathlib import Path

from index.fakes import HashingEmbedder
from resift import Index, Reranker
from resift.serve.admission import Admission
from resift.serve.service import Service


def test_a_server_takes_up_each_version_of_a_follower(
    tmp_path: Path, in_one_runtime: Reranker
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    uri, embedder = str(tmp_path / "index"), HashingEmbedder()
    served = Index(uri, embedder=embedder, reranker=in_one_runtime)
    service = Service({"bundled": in_one_runtime}, {"docs": served}, Admission())
    stop = threading.Event()
    follower = Index(uri, embedder=embedder, reranker=in_one_runtime)
    (docs / "0.md").write_text("The cat number 0 sleeps.")

    async def serve() -> list[tuple[int, int]]:
        seen = []
        renewing = asyncio.create_task(service.keep_renewed(every_s=0.02))
        reports = follower.follow(str(docs), every_s=1, stop=stop)
        for number in range(1, 4):
            report = await asyncio.to_thread(next, reports)
            while served.opened is None or served.opened.number < report.version:
                await asyncio.sleep(0.01)
            ranking = await service.search("cat", top_n=5)
            seen.append((report.version, len(ranking)))
            (docs / f"{number}.md").write_text(f"The cat number {number} sleeps.")
        renewing.cancel()
        return seen

    assert asyncio.run(serve()) == [(1, 1), (2, 2), (3, 3)]
