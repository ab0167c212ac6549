"""A ranking over HTTP, in each API that resift serves, is that of the model in this process.

In the native API it is equal in every field, whatever the options and the first stage.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from resift import Candidate, Chain, Citation, Document, Index, Ranking, Reranker
from resift.rerank.families.remote import RemoteReranker
from resift.rerank.families.services.known import SERVICES
from resift.serve.admission import Admission
from resift.serve.service import Service
from resift.settings import Settings
from serve.running import running

QUERY = "how do I reset my password"
DOCUMENTS = [
    "The office is closed on Sundays.",
    Document("named", "Choose Settings, then Security, and press it.", "Reset a password"),
    "",
    "Passwords are stored as salted hashes.",
    None,
    "Your manager approves vacation. " * 200,
    {"text": "A password has twelve letters.", "id": "mapped", "source": "wiki"},
    "Your manager approves vacation. " * 200,
]
LONG = [
    "Nothing of interest is said here. " * 300 + "Error 0x80070005 means no permission.",
    "The sky is blue.",
    Document("titled", "Ask an administrator for permission. " * 150, "Error 0x80070005"),
]
PREFIX = {"resift": ""}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "top": {"top_n": 2},
    "top of all": {"top_n": 50, "tolerance": 0.2},
    "exact": {"top_n": 2, "exact": True},
    "min_score": {"min_score": 0.01},
    "min_score and top": {"min_score": 0.001, "top_n": 2},
    "all below": {"min_score": 1.0},
    "abstains": {"abstain_below": 0.999999},
    "windows": {"long_documents": "windows"},
    "weight": {"fusion_weight": 3.5},
    "no weight": {"fusion_weight": 0},
}


@pytest.fixture(scope="module")
def url(in_one_runtime: Reranker) -> Iterator[str]:
    with running(Service({"bundled": in_one_runtime}, {}, Admission())) as base:
        yield base


def opened(service: str, url: str) -> RemoteReranker:
    base = url + PREFIX.get(service, f"/{service}")
    return RemoteReranker(service, "bundled", url=base, settings=Settings(), fallback=None)


def facts(ranking: Ranking) -> list[tuple[object, ...]]:
    return [(hit.index, hit.id, hit.text, hit.title, hit.metadata, hit.rank) for hit in ranking]


@pytest.mark.parametrize("service", SERVICES)
def test_the_order_and_the_documents_are_those_of_the_local_model(
    service: str, url: str, in_one_runtime: Reranker
) -> None:
    local = in_one_runtime.rank(QUERY, DOCUMENTS, exact=True)  # type: ignore[arg-type]
    with opened(service, url) as reranker:
        remote = reranker.rank(QUERY, DOCUMENTS)  # type: ignore[arg-type]
        best = reranker.rank(QUERY, DOCUMENTS, 2)  # type: ignore[arg-type]
    assert facts(remote) == facts(local) and facts(best) == facts(local)[:2]
    if service == "resift":
        return  # compared field by field below
    for there, here in zip(remote, local, strict=True):
        assert (there.score is None) == (here.score is None)
        if here.score is not None and here.logit is not None and there.logit is not None:
            assert type(there.score) is float and type(there.logit) is float
            number, expected = there.score, here.score
            if service == "tei":
                number, expected = there.logit, here.logit
            assert number == pytest.approx(expected, abs=1e-5)
    receipt = remote.receipt
    assert (receipt.model, receipt.runtime) == (f"{service}/bundled", url.partition("//")[2])
    assert (receipt.depth, receipt.scored, receipt.skipped, receipt.partial) == (8, 6, 2, False)
    assert receipt.tokens == (0 if service == "tei" else local.receipt.tokens)


def with_first_stage(documents: list[Any]) -> list[Candidate]:
    """Candidates with a score, a rank, metadata and a citation, in an order of their own."""
    texts: list[Any] = [item.get("text") if isinstance(item, dict) else item for item in documents]
    return [
        Candidate(
            f"id {number}",
            text.text if isinstance(text, Document) else text,
            text.title if isinstance(text, Document) else "",
            {"number": number},
            rank=len(texts) - number,
            score=7.5 - 1.25 * ((number * 3) % len(texts)),
            citation=Citation("s3://there", f"{number}", 3, 9),
        )
        for number, text in enumerate(texts)
    ]


LISTS: dict[str, tuple[str, list[Any]]] = {
    "plain": (QUERY, DOCUMENTS),
    "first stage": (QUERY, with_first_stage(DOCUMENTS)),
    "a score is missing": (
        QUERY,
        [replace(item, score=None) if item.id == "id 3" else item
         for item in with_first_stage(DOCUMENTS)],
    ),
    "a score is no number": (
        QUERY,
        [{"text": "Press Reset password.", "score": "n/a"}, {"text": "Closed.", "score": 2.5}],
    ),
    "long": ("error 0x80070005", LONG),
    "long, first stage": ("error 0x80070005", with_first_stage(LONG)),
    "unknown query": ("\u16a0\u16a2", ["a text", "", "another"]),
    "without a text": (QUERY, ["", None, "  ", b"bytes", "\ud800 alone"]),
    "odd": (QUERY, ["\ud800 alone", "Press \U0001f600 Reset", "\x00", 3, {"text": "a", "id": 5}]),
    "nothing": (QUERY, []),
}  # fmt: skip


def assert_is_local(remote: Ranking, local: Ranking, host: str) -> None:
    """All is equal but times, the runtime's name, and the explainer, which stays on the server."""
    assert remote.query == local.query and remote.hits == local.hits
    there, here = remote.receipt, local.receipt
    assert there.runtime == f"resift at {host}"
    assert replace(there, runtime="", timings_ms={}) == replace(here, runtime="", timings_ms={})
    assert list(there.timings_ms)[-2:] == ["network", "total"]
    assert set(here.timings_ms) <= set(there.timings_ms)
    for hit in remote:
        kinds = {type(hit.score), type(hit.logit), type(hit.fusion), type(hit.feedback)}
        assert kinds <= {float, type(None)} and type(hit.span) is tuple


@pytest.mark.filterwarnings("ignore::UserWarning")  # hints, which both give
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("documents", [name for name in LISTS if name != "nothing"])
def test_our_own_api_gives_the_local_ranking_field_by_field(
    documents: str, options: str, url: str, in_one_runtime: Reranker
) -> None:
    query, items = LISTS[documents]
    local = in_one_runtime.rank(query, items, **OPTIONS[options])
    with opened("resift", url) as reranker:
        remote = reranker.rank(query, items, **OPTIONS[options])
    if documents == "without a text":  # nothing is asked
        assert [(hit.index, hit.status) for hit in remote] == [
            (hit.index, hit.status) for hit in local
        ]
        return
    assert_is_local(remote, local, url.partition("//")[2])


def test_our_own_api_gives_it_in_event_loops_and_for_many_queries(
    url: str, in_one_runtime: Reranker
) -> None:
    items = with_first_stage(DOCUMENTS)
    local = in_one_runtime.rank(QUERY, items, 3)
    with opened("resift", url) as reranker:
        awaited = asyncio.run(reranker.arank(QUERY, items, 3, budget_ms=60_000))
        many = reranker.rank_many([QUERY] * 3, [items] * 3, 3)
        assert reranker.rank(QUERY, []).hits == ()
    for remote in (awaited, *many):
        assert_is_local(remote, local, url.partition("//")[2])


def test_our_own_api_scores_as_the_model_does(url: str, in_one_runtime: Reranker) -> None:
    items = with_first_stage(DOCUMENTS)
    expected = in_one_runtime.score(QUERY, items)
    with opened("resift", url) as reranker:
        scores = reranker.score(QUERY, items)
    assert scores.dtype == expected.dtype and scores == pytest.approx(expected, nan_ok=True)


def test_a_chain_of_both_is_the_chain_of_the_model(url: str, in_one_runtime: Reranker) -> None:
    items = with_first_stage(DOCUMENTS)
    local = Chain(in_one_runtime, in_one_runtime, depths=(6, 3)).rank(QUERY, items)
    with opened("resift", url) as reranker:
        remote = Chain(in_one_runtime, reranker, depths=(6, 3)).rank(QUERY, items)
    assert remote.hits == local.hits


def test_a_server_that_has_too_little_time_answers_in_part(url: str) -> None:
    texts = [f"{number} " + "the office is closed " * 80 for number in range(300)]
    with opened("resift", url) as reranker:
        reranker.rank("office", texts[:2])
        ranking = reranker.rank("office", texts, 250, budget_ms=1_000)
    receipt = ranking.receipt
    assert receipt.partial and receipt.reason == "time was up" and not receipt.receipts
    assert 0 < receipt.scored < receipt.depth == 300
    assert receipt.late == 300 - receipt.scored and len(ranking) == 250
    assert ranking[0].logit is not None and ranking[-1].status == "late"


def test_first_stage_scores_are_added_here_at_the_weight_of_the_caller(url: str) -> None:
    texts = ["Passwords are hashed.", "The office is closed.", "Press Reset password."]
    candidates = [
        Candidate(str(index), text, score=float(10 * (index == 1)))
        for index, text in enumerate(texts)
    ]
    with opened("tei", url) as reranker:
        plain = reranker.rank(QUERY, candidates)
        fused = reranker.rank(QUERY, candidates, fusion_weight=100)
    assert plain.receipt.fusion_weight == 0 and plain[0].index == 2
    assert fused.receipt.fusion_weight == 100 and fused[0].index == 1
    assert fused[0].fusion > 100 and fused[0].logit == plain[-1].logit


def test_lists_that_are_longer_than_a_request_agree_too(url: str, in_one_runtime: Reranker) -> None:
    texts = [f"password {number} of office {number % 7}" for number in range(70)]
    with opened("tei", url) as reranker:
        remote = reranker.rank(QUERY, texts)
    local = in_one_runtime.rank(QUERY, texts, exact=True)
    assert [hit.index for hit in remote] == [hit.index for hit in local]


def test_an_index_reranks_with_it(
    url: str, in_one_runtime: Reranker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    served = in_one_runtime
    pytest.importorskip("lance")
    folder = tmp_path_factory.mktemp("documents")
    (folder / "a.md").write_text("Choose Settings, then Security, and press Reset password.")
    (folder / "b.md").write_text("The office is closed on Sundays.")
    with opened("resift", url) as reranker:
        broken = RemoteReranker("tei", url=url + "/x", settings=Settings(), fallback=None)
        index = Index(tmp_path_factory.mktemp("index") / "i", reranker=reranker)
        index.sync(str(folder))
        ranking = index.search(QUERY, budget_ms=60_000)
        late = Index(index.uri, reranker=broken).search(QUERY)
        broken.close()
    assert ranking.receipt.model == served.name and "Settings" in ranking[0].text
    assert late.receipt.partial and len(late) == 2
    assert "the reranker failed: RerankerError: tei: " in str(late.receipt.reason)
