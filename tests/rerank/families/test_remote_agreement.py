"""A ranking over HTTP, in each API that resift serves, is that of the model in this process."""

from collections.abc import Iterator

import pytest

from resift import Candidate, Document, Index, Ranking, Reranker
from resift.rerank.families.remote import SERVICES, RemoteReranker
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
PREFIX = {"resift": ""}


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
    for there, here in zip(remote, local, strict=True):
        assert (there.score is None) == (here.score is None)
        if here.score is not None and here.logit is not None and there.logit is not None:
            assert type(there.score) is float and type(there.logit) is float
            number, expected = there.score, here.score
            if service in ("tei", "resift"):
                number, expected = there.logit, here.logit
            assert number == pytest.approx(expected, abs=1e-5)
    receipt = remote.receipt
    assert (receipt.model, receipt.runtime) == (f"{service}/bundled", url.partition("//")[2])
    assert (receipt.depth, receipt.scored, receipt.skipped, receipt.partial) == (8, 6, 2, False)
    assert receipt.tokens == (0 if service == "tei" else local.receipt.tokens)


def test_our_own_api_says_what_was_read(url: str, in_one_runtime: Reranker) -> None:
    local = in_one_runtime.rank(QUERY, DOCUMENTS, exact=True)  # type: ignore[arg-type]
    with opened("resift", url) as reranker:
        remote = reranker.rank(QUERY, DOCUMENTS)  # type: ignore[arg-type]
    for there, here in zip(remote, local, strict=True):
        assert (there.status, there.tokens_seen, there.tokens_dropped, there.span) == (
            here.status, here.tokens_seen, here.tokens_dropped, here.span,
        )  # fmt: skip
    assert remote.receipt.notes == () and remote.receipt.cut == local.receipt.cut == 2


@pytest.mark.parametrize("service", ["tei", "resift"])
def test_first_stage_scores_are_added_here_at_the_weight_of_the_caller(
    service: str, url: str
) -> None:
    texts = ["Passwords are hashed.", "The office is closed.", "Press Reset password."]
    candidates = [
        Candidate(str(index), text, score=float(10 * (index == 1)))
        for index, text in enumerate(texts)
    ]
    with opened(service, url) as reranker:
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


def test_an_index_reranks_with_it(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
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
    assert ranking.receipt.model == "resift/bundled" and "Settings" in ranking[0].text
    assert late.receipt.partial and len(late) == 2
    assert "the reranker failed: RerankerError: tei: " in str(late.receipt.reason)
