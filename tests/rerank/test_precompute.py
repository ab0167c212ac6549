"""Precomputed states give the same logits as reading, and another document's are never used."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from artifacts import make_joint_artifact
from resift import Candidate, Document, Precomputed, Reranker
from resift.rerank import models
from resift.rerank.graph_runs import TokenStates
from resift.rerank.precompute import EncodedDocument, digest, pack, unpack
from resift.rerank.runtimes import Session
from resift.rerank.text_tokens import TextTokens
from resift.rerank.tokenization import TokenRow
from resift.rerank.values import is_text
from resift.settings import Settings
from resift.types import Receipt
from split_artifacts import WORDS, make_split_artifact
from texts import QUESTIONS, passages

TOKEN_BYTES = 3 * 384 + 128  # of the bundled model: layers' states and term states
QUERY = QUESTIONS[0]
TEXTS = [*passages(30), "one", "word " * 700]  # the last is longer than the model reads
INT8, TOKEN_BYTES = np.dtype(np.int8), 4


@pytest.fixture(scope="module")
def bundled(runtime: str) -> Reranker:
    return Reranker(settings=Settings(runtime=runtime))


def held(texts: Sequence[str], precomputed: Sequence[Precomputed | None]) -> list[Candidate]:
    return [
        Candidate(str(index), text, precomputed=document)
        for index, (text, document) in enumerate(zip(texts, precomputed, strict=True))
    ]


@pytest.fixture(scope="module")
def together(bundled: Reranker) -> NDArray[np.float32]:
    """The logits of reading all."""
    return bundled.score(QUERY, TEXTS)


@pytest.fixture(scope="module")
def all_precomputed(bundled: Reranker) -> Sequence[Precomputed | None]:
    return bundled.precompute(TEXTS)


def test_precomputed_states_give_the_logits_of_reading(
    bundled: Reranker, together: NDArray[np.float32], all_precomputed: Sequence[Precomputed | None]
) -> None:
    logits = bundled.score(QUERY, held(TEXTS, all_precomputed))
    np.testing.assert_allclose(logits, together, atol=1e-5, rtol=0)


@settings(max_examples=12)
@given(st.data())
def test_any_mixture_of_precomputed_and_new_documents_in_any_order_gives_the_same_logits(
    bundled: Reranker,
    together: NDArray[np.float32],
    all_precomputed: Sequence[Precomputed | None],
    data: st.DataObject,
) -> None:
    count = len(TEXTS)
    indices = data.draw(st.lists(st.integers(0, count - 1), unique=True, min_size=4, max_size=12))
    ways = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    mixed = [
        None if way == 0 or (known := all_precomputed[index]) is None
        else replace(known, states=b"") if way == 1 else known
        for index, way in zip(indices, ways, strict=False)
    ]  # fmt: skip
    logits = bundled.score(QUERY, held([TEXTS[index] for index in indices], mixed))
    np.testing.assert_allclose(logits, together[list(indices)], atol=1e-5, rtol=0)


def test_a_receipt_counts_what_was_precomputed(bundled: Reranker) -> None:
    precomputed = bundled.precompute(TEXTS[:20])
    mixed = [*held(TEXTS[:20], precomputed), *held(TEXTS[20:31], [None] * 11)]
    receipt = bundled.rank(QUERY, mixed, exact=True).receipt
    assert (receipt.precomputed, receipt.scored) == (20, 31)
    whole, rest = (
        bundled.rank(QUERY, texts, exact=True).receipt for texts in (TEXTS, TEXTS[20:31])
    )
    assert receipt.tokens == rest.tokens < whole.tokens


def test_in_a_mixture_only_the_rest_is_encoded(
    bundled: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    precomputed = bundled.precompute(TEXTS)
    mixed = held(
        TEXTS, [document if index % 2 else None for index, document in enumerate(precomputed)]
    )
    encode = models.encode
    rows_read: list[TokenRow] = []

    def noted(encoder: Session, rows: Sequence[TokenRow], terms: Any) -> TokenStates:
        rows_read.extend(rows)
        return encode(encoder, rows, terms)

    monkeypatch.setattr(models, "encode", noted)
    bundled.score(QUERY, mixed)
    assert len(rows_read) == 1 + len(TEXTS) // 2  # the query, and every second text


def test_hits_are_those_of_reading_spans_and_counts_too(bundled: Reranker) -> None:
    plain = [Candidate(str(index), text) for index, text in enumerate(TEXTS)]
    precomputed = held(TEXTS, bundled.precompute(TEXTS))
    for plain_hit, precomputed_hit in zip(
        bundled.rank(QUERY, plain, top_n=None),
        bundled.rank(QUERY, precomputed, top_n=None),
        strict=True,
    ):
        assert (plain_hit.index, plain_hit.span, plain_hit.status) == (
            precomputed_hit.index,
            precomputed_hit.span,
            precomputed_hit.status,
        )
        assert (plain_hit.tokens_seen, plain_hit.tokens_dropped) == (
            precomputed_hit.tokens_seen,
            precomputed_hit.tokens_dropped,
        )


def test_titles_are_part_of_what_is_precomputed(bundled: Reranker) -> None:
    document = Document("d", TEXTS[0], title="A title")
    (precomputed,) = bundled.precompute([document])
    candidate = Candidate("d", TEXTS[0], title="A title", precomputed=precomputed)
    assert bundled.rank(QUERY, [candidate]).receipt.precomputed == 1
    assert bundled.rank(QUERY, [replace(candidate, title="Another")]).receipt.precomputed == 0


def _receipt(
    reranker: Reranker, text: str, precomputed: Precomputed, query: str = QUERY
) -> Receipt:
    return reranker.rank(query, [Candidate("0", text, precomputed=precomputed)]).receipt


@pytest.mark.parametrize(
    "fault",
    [
        "another model",
        "another text",
        "states cut short",
        "states of one token less",
        "torn ids",
        "one id less",
        "one token less in both",
        "ids of no vocabulary",
        "ids that are special",
        "ids of another order",
        "numbers",
        "text",
        "nothing",
        "an object",
    ],
)
def test_what_was_precomputed_of_another_text_is_not_used(fault: str, bundled: Reranker) -> None:
    (precomputed,) = bundled.precompute(TEXTS[:1])
    assert precomputed is not None
    wrong = {
        "another model": replace(precomputed, model="0" * 16),
        "another text": replace(precomputed, text_hash=digest("other")),
        "states cut short": replace(precomputed, states=precomputed.states[:-1]),
        "states of one token less": replace(precomputed, states=precomputed.states[:-TOKEN_BYTES]),
        "torn ids": replace(precomputed, tokens=precomputed.tokens[:-1]),
        "one id less": replace(precomputed, tokens=precomputed.tokens[:-4]),
        "one token less in both": replace(
            precomputed, tokens=precomputed.tokens[:-4], states=precomputed.states[:-TOKEN_BYTES]
        ),
        "ids of no vocabulary": replace(precomputed, tokens=b"\xff" * len(precomputed.tokens)),
        "ids that are special": replace(precomputed, tokens=bytes(len(precomputed.tokens))),
        "ids of another order": replace(
            precomputed, tokens=precomputed.tokens[4:] + precomputed.tokens[:4]
        ),
        "numbers": replace(precomputed, tokens=cast(bytes, 7), states=cast(bytes, 1.5)),
        "text": replace(precomputed, text_hash=cast(bytes, "text"), tokens=cast(bytes, "abcd")),
        "nothing": replace(precomputed, text_hash=cast(bytes, None), states=cast(bytes, None)),
        "an object": cast(Precomputed, object()),
    }[fault]
    expected = bundled.score(QUERY, TEXTS[:1])
    logits = bundled.score(QUERY, [Candidate("0", TEXTS[0], precomputed=wrong)])
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
    assert _receipt(bundled, TEXTS[0], wrong).precomputed == 0
    assert _receipt(bundled, TEXTS[0], precomputed).precomputed == 1


def test_sealed_ids_that_no_text_has_are_not_used(bundled: Reranker) -> None:
    """Token ids of another resift, which reads "[SEP]" in a text as the end of it."""
    for ids in ([101, 2003, 102], [40_000]):
        forged = pack(
            TEXTS[0], EncodedDocument(TextTokens(np.array(ids, np.int64))), bundled.fingerprint
        )
        expected = bundled.score(QUERY, TEXTS[:1])
        assert bundled.score(QUERY, [Candidate("0", TEXTS[0], precomputed=forged)]) == expected


def test_another_models_states_are_not_used(
    bundled: Reranker, runtime: str, tmp_path: Path
) -> None:
    other = Reranker(make_split_artifact(tmp_path / "m"), settings=Settings(runtime=runtime))
    text = " ".join(WORDS[:9])
    (theirs,) = bundled.precompute([text])
    (ours,) = other.precompute([text])
    assert theirs is not None and ours is not None
    assert _receipt(other, text, theirs, WORDS[2]).precomputed == 0
    assert _receipt(other, text, ours, WORDS[2]).precomputed == 1


def test_without_states_only_ids_are_precomputed(bundled: Reranker) -> None:
    with_states, without = (
        bundled.precompute(TEXTS[:2]),
        bundled.precompute(TEXTS[:2], states=False),
    )
    for first, second in zip(with_states, without, strict=True):
        assert first is not None and second is not None
        assert first.states and not second.states and first.tokens == second.tokens
    assert bundled.rank(QUERY, held(TEXTS[:2], without)).receipt.precomputed == 0


def test_a_cross_encoder_precomputes_ids_and_tokenises_nothing_but_the_query(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint = Reranker(make_joint_artifact(tmp_path), settings=Settings(runtime=runtime))
    texts = TEXTS[:8]
    precomputed = joint.precompute(texts)
    assert all(
        document is not None and document.tokens and not document.states for document in precomputed
    )
    expected = joint.score(QUERY, texts)
    read: list[str] = []
    tokens = joint._engine.model._tokens
    tokenise: Callable[..., Iterator[TextTokens | None]] = tokens.read

    def noted(texts: Sequence[str], *wanted: Any) -> Iterator[TextTokens | None]:
        read.extend(texts)
        return tokenise(texts, *wanted)

    monkeypatch.setattr(tokens, "read", noted)
    np.testing.assert_allclose(
        joint.score(QUERY, held(texts, precomputed)), expected, atol=1e-6, rtol=0
    )
    assert read == [QUERY]
    joint.score(QUERY, texts)
    assert read == [QUERY, QUERY, *texts]


def test_an_unreadable_document_has_nothing_precomputed(bundled: Reranker) -> None:
    precomputed = bundled.precompute([TEXTS[0], "", cast(str, None), "\udcff", TEXTS[1]])
    assert [document is None for document in precomputed] == [False, True, True, True, False]
    assert bundled.precompute([]) == []


def test_a_budget_of_nothing_leaves_precomputed_documents_late_too(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, held(TEXTS, bundled.precompute(TEXTS)), budget_ms=0)
    assert ranking.receipt.partial and ranking.receipt.scored == 0


def test_recently_read_documents_are_not_encoded_again(runtime: str) -> None:
    reranker = Reranker(settings=Settings(runtime=runtime, state_cache_mb=50))
    first = reranker.rank(QUERY, TEXTS, exact=True)
    second = reranker.rank(QUESTIONS[1], TEXTS, exact=True)
    assert (first.receipt.precomputed, second.receipt.precomputed) == (0, len(TEXTS))
    assert second.receipt.tokens == 0
    plain = Reranker(settings=Settings(runtime=runtime)).rank(QUESTIONS[1], TEXTS, exact=True)
    assert [hit.index for hit in second] == [hit.index for hit in plain]
    for first_hit, second_hit in zip(second, plain, strict=True):
        assert first_hit.logit == pytest.approx(second_hit.logit, abs=1e-5)


def test_a_model_that_ends_in_late_interaction_encodes_nothing_again_either(
    runtime: str, tmp_path: Path
) -> None:
    folder = make_split_artifact(tmp_path / "m", cross_attention=False)
    reranker = Reranker(folder, settings=Settings(runtime=runtime, state_cache_mb=5))
    texts = [" ".join(WORDS[n : n + 7]) for n in range(12)]
    first = reranker.rank(WORDS[3], texts)
    second = reranker.rank(WORDS[5], texts)
    assert (first.receipt.precomputed, second.receipt.precomputed, second.receipt.tokens) == (
        0,
        12,
        0,
    )
    plain = Reranker(folder, settings=Settings(runtime=runtime)).rank(WORDS[5], texts)
    assert [(hit.index, hit.logit) for hit in second] == [(hit.index, hit.logit) for hit in plain]


def test_threads_may_share_the_state_cache(runtime: str) -> None:
    reranker = Reranker(settings=Settings(runtime=runtime, state_cache_mb=3))  # room for a few
    expected = [reranker.score(question, TEXTS[:20]) for question in QUESTIONS[:3]]
    differences: dict[int, float] = {}

    def call(number: int) -> None:
        logits = reranker.score(QUESTIONS[number % 3], TEXTS[:20])
        differences[number] = float(np.abs(logits - expected[number % 3]).max())

    threads = [threading.Thread(target=call, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(differences) == 9 and max(differences.values()) <= 1e-5


def _known(tokens: int) -> EncodedDocument:
    return EncodedDocument(
        TextTokens(np.arange(tokens)), np.ones((tokens + 2, TOKEN_BYTES), np.int8)
    )


@given(st.text(max_size=20), st.integers(0, 9))
def test_bytes_come_back_as_they_went(text: str, tokens: int) -> None:
    assume(is_text(text))
    known = _known(tokens)
    back = unpack(pack(text, known, "f"), text, "f", INT8, TOKEN_BYTES)
    assert back is not None and back.states is not None and known.states is not None
    np.testing.assert_array_equal(back.tokens.ids, known.tokens.ids)
    np.testing.assert_array_equal(back.states, known.states)


def test_a_flipped_bit_in_states_is_noticed_and_the_text_is_read_again() -> None:
    reranker = Reranker()
    precomputed = reranker.precompute(TEXTS[:3])
    fresh = reranker.score(QUERY, TEXTS[:3])
    assert precomputed[1] is not None
    states = bytearray(precomputed[1].states)
    states[len(states) // 2] ^= 0x40
    altered = [precomputed[0], replace(precomputed[1], states=bytes(states)), precomputed[2]]
    ranking = reranker.rank(QUERY, held(TEXTS[:3], altered), None)
    assert ranking.receipt.precomputed == 2
    np.testing.assert_allclose(
        reranker.score(QUERY, held(TEXTS[:3], altered)), fresh, atol=1e-5, rtol=0
    )
