"""Proves that a store that goes away ends no follower, and that nothing is lost meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from resift.index import follow
from resift.index.report import SyncReport
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards
from storage.corpus import Corpus
from storage.fake_s3 import BUCKET, fake_s3_server, refusal
from storage.faulty import Faults, FaultyProxy

DENIED = ("403 Forbidden", "AccessDenied")


@pytest.fixture(autouse=True)
def _try_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_FIRST_RETRY_S", 0.01)


def close(reports: Iterator[SyncReport]) -> None:
    reports.close()  # type: ignore[attr-defined]  # a generator


def test_a_source_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with fake_s3_server() as server:
        server.objects = {f"docs/{number}.txt": b"text %d" % number for number in range(30)}
        index = Index(
            str(tmp_path / "index"),
            settings=Settings(storage=server.settings),
            embedder=HashingEmbedder(),
            reranker=Backwards(),
        )
        failures: list[str] = []

        def comes_back(failure: follow.SyncFailure) -> None:
            failures.append(str(failure))
            if len(failures) == 3:
                server.listing = lambda query: None

        reports = index.follow(f"s3://{BUCKET}/docs", every_s=1, on_failure=comes_back)
        assert next(reports).added == 30
        server.objects["docs/new.txt"] = b"new"
        server.listing = lambda query: (403, refusal("AccessDenied"))
        report = next(reports)
        assert (report.added, report.deleted, report.unchanged) == (1, 0, 30)
        assert len(failures) == 3
        assert all("access denied" in line and "next try in" in line for line in failures)
        server.objects = dict(list(server.objects.items())[:3])  # most documents are gone
        failures.clear()

        def is_put_back(failure: follow.SyncFailure) -> None:
            failures.append(str(failure))
            server.objects["docs/more.txt"] = b"more"
            server.objects |= {f"docs/{number}.txt": b"text %d" % number for number in range(30)}

        close(reports)
        reports = index.follow(f"s3://{BUCKET}/docs", every_s=1, on_failure=is_put_back)
        report = next(reports)
        assert (report.added, report.deleted, report.version) == (1, 1, 3)
        assert len(failures) == 1 and "--allow-deletes" in failures[0]
        close(reports)


def test_an_index_whose_store_goes_away_and_comes_back(
    published: Corpus, proxy: FaultyProxy
) -> None:
    failures: list[str] = []

    def comes_back(failure: follow.SyncFailure) -> None:
        failures.append(str(failure))
        if len(failures) == 3:
            proxy.restart()

    reports = published.index().follow(published.docs, every_s=1, on_failure=comes_back)
    assert next(reports).version == 1
    published.write({"new.txt": "A new document."})
    proxy.restart(Faults(refusal=DENIED))
    report = next(reports)
    close(reports)
    assert (report.added, report.unchanged, report.version) == (1, 20, 2)
    assert len(failures) == 3 and all("access denied" in line for line in failures)
