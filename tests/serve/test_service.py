"""Proves that names are found, and that 500 open calls are answered or refused in time."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from resift import Index, Reranker
from resift.errors import InputError, Overloaded, RerankerClosed
from resift.serve.admission import Admission
from resift.serve.problems import UnknownIndex, UnknownModel
from resift.serve.service import Service
from resift.settings import Settings
from resift.types import Ranking

CALLS = 500
BUDGET_MS = 1_000
LATE_MS = 2_000
"""How late an answer may be on a busy machine; without a budget the calls take a minute."""


def test_models_and_indexes_are_found_by_name(service: Service) -> None:
    assert service.model_name(None) == "bundled" and service.model_name("second") == "second"
    assert service.reranker() is service.reranker("second")
    assert service.index() is service.index("handbook")
    with pytest.raises(UnknownModel, match=r"^model=gpt: this server has bundled, second$"):
        service.reranker("gpt")
    with pytest.raises(UnknownIndex, match=r"^index=other: this server has handbook$"):
        service.index("other")
    with pytest.raises(UnknownIndex, match="no index"):
        Service({}, {}, Admission()).index()


def test_a_service_is_opened_by_names_and_aliases(tmp_path: Path) -> None:
    uri = str(tmp_path / "a=b" / "docs")
    service = Service.open(["mine=bundled"], [uri, f"other={tmp_path}"], Settings())
    assert list(service.models) == ["mine"] and list(service.indexes) == ["docs", "other"]
    assert service.index("docs").uri == uri
    service.close()
    with pytest.raises(RerankerClosed):
        service.reranker().rank("a", ["b"])


@pytest.mark.parametrize(
    ("models", "indexes"), [(["a=bundled", "a=bundled"], []), ([], ["/x/docs", "/y/docs"])]
)
def test_a_name_given_twice_is_refused(models: list[str], indexes: list[str]) -> None:
    with pytest.raises(InputError, match="given twice"):
        Service.check(models, indexes)


@pytest.mark.parametrize("name", ["", "=bundled", "a="])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected a name, or ALIAS=NAME"):
        Service.check([name], [])


async def answered_in(call: Any) -> tuple[Ranking | Overloaded, float]:
    start = time.perf_counter()
    try:
        result = await call
    except Overloaded as refusal:
        result = refusal
    return result, (time.perf_counter() - start) * 1000


def test_500_open_calls_are_answered_or_refused_within_their_budgets(
    in_one_runtime: Reranker,
) -> None:
    service = Service({"bundled": in_one_runtime}, {}, Admission(max_tokens=10**9))
    documents = ["the office is closed on sundays and holidays " * 10] * 20
    threads = threading.active_count()
    most = 0

    async def run() -> list[tuple[Ranking | Overloaded, float]]:
        nonlocal most
        await service.rank("warm", documents)
        calls = [
            asyncio.ensure_future(
                answered_in(
                    service.rank(
                        f"office {number}",
                        [f"{number} {text}" for text in documents],
                        budget_ms=BUDGET_MS,
                    )
                )
            )
            for number in range(CALLS)
        ]
        await asyncio.sleep(0.05)
        most = threading.active_count()
        return await asyncio.gather(*calls)

    results = asyncio.run(run())
    assert most <= threads + 4, "a call takes no thread"
    refused = [result for result, _ in results if isinstance(result, Overloaded)]
    assert 0 < len(refused) < CALLS and all(error.retry_after_s > 0 for error in refused)
    assert max(took_ms for _, took_ms in results) < BUDGET_MS + LATE_MS
    assert service.admission.open_calls == 0 and service.admission.waiting_tokens == 0


def test_a_search_counts_as_waiting_and_its_receipt_is_observed(served_index: Index) -> None:
    seen: list[Any] = []
    service = Service(
        {"bundled": Reranker()},
        {"handbook": served_index},
        Admission(),
        lambda operation, receipt: seen.append((operation, receipt)),
    )

    async def tell(ranking: Ranking) -> None:
        assert service.admission.open_calls == 1

    ranking = asyncio.run(service.search("vacation", on_first_stage=tell, top_n=1))
    assert len(ranking) == 1 and seen == [("search", ranking.receipt)]
    assert service.admission.open_calls == 0


def test_indexes_that_cannot_be_opened_are_named_and_tried_again(
    tmp_path: Path, in_one_runtime: Reranker, caplog: pytest.LogCaptureFixture
) -> None:
    index = Index(tmp_path / "index")
    service = Service({"bundled": in_one_runtime}, {"later": index}, Admission())
    asyncio.run(service.open_indexes())
    assert service.not_ready == ["later"] and "later cannot be opened yet" in caplog.text
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "cat.md").write_text("The cat is an animal.")
    index.sync(str(tmp_path / "docs"))
    asyncio.run(service.renew())
    assert service.not_ready == []


def test_a_search_without_room_for_reranking_has_the_order_of_the_first_stage(
    in_one_runtime: Reranker, index_of_sections: Index
) -> None:
    service = Service(
        {"bundled": in_one_runtime}, {"cats": index_of_sections}, Admission(max_tokens=1_000)
    )

    async def search() -> Ranking:
        with service.admission.admit(500):
            return await service.search("cat", min_score=0.1, top_n=2, collapse="document")

    ranking = asyncio.run(search())
    assert [hit.status for hit in ranking] == ["not_reranked"] * 2
    assert ranking.receipt.collapsed == 2, "options of the first stage apply"
    assert ranking.receipt.partial
    assert "the reranker is overloaded: 500 tokens are waiting" in (ranking.receipt.reason or "")

    async def refused() -> None:
        with service.admission.admit(1_000), pytest.raises(Overloaded):
            await service.search("cat")

    asyncio.run(refused())
