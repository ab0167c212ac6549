"""What was kept of a document gives the same logits as reading it, and another's is never used."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from artifacts import make_joint_artifact
from resift import Candidate, Document, Precomputed, Reranker
from resift.rerank import models
from resift.rerank.caches import StateCache
from resift.rerank.precompute import EncodedDocument, digest, pack, unpack
from resift.rerank.runtimes import Session
from resift.rerank.tokenization import TokenRow
from resift.rerank.values import is_text
from resift.rerank.windows import TextTokens, Wanted
from resift.settings import Settings
from resift.types import Receipt
from split_artifacts import WORDS, make_split_artifact
from texts import QUESTIONS, passages

QUERY = QUESTIONS[0]
TEXTS = [*passages(30), "one", "word " * 700]  # the last is longer than the model reads
INT8, TOKEN_BYTES = np.dtype(np.int8), 4


@pytest.fixture(scope="module")
def bundled(runtime: str) -> Reranker:
    return Reranker(settings=Settings(runtime=runtime))


def held(texts: Sequence[str], kept: Sequence[Precomputed | None]) -> list[Candidate]:
    return [
        Candidate(str(place), text, precomputed=own)
        for place, (text, own) in enumerate(zip(texts, kept, strict=True))
    ]


@pytest.fixture(scope="module")
def together(bundled: Reranker) -> NDArray[np.float32]:
    """The logits of reading all."""
    return bundled.score(QUERY, TEXTS)


@pytest.fixture(scope="module")
def all_kept(bundled: Reranker) -> Sequence[Precomputed | None]:
    return bundled.precompute(TEXTS)


def test_kept_halves_give_the_logits_of_reading(
    bundled: Reranker, together: NDArray[np.float32], all_kept: Sequence[Precomputed | None]
) -> None:
    found = bundled.score(QUERY, held(TEXTS, all_kept))
    np.testing.assert_allclose(found, together, atol=1e-5, rtol=0)


@settings(max_examples=12)
@given(st.data())
def test_any_mixture_of_kept_and_unkept_in_any_order_gives_the_same_logits(
    bundled: Reranker,
    together: NDArray[np.float32],
    all_kept: Sequence[Precomputed | None],
    data: st.DataObject,
) -> None:
    count = len(TEXTS)
    places = data.draw(st.lists(st.integers(0, count - 1), unique=True, min_size=4, max_size=12))
    ways = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    own = [
        None if way == 0 or (one := all_kept[place]) is None
        else replace(one, states=b"") if way == 1 else one
        for place, way in zip(places, ways, strict=False)
    ]  # fmt: skip
    found = bundled.score(QUERY, held([TEXTS[place] for place in places], own))
    np.testing.assert_allclose(found, together[list(places)], atol=1e-5, rtol=0)


def test_a_ranking_says_what_was_kept_and_reads_only_the_rest(bundled: Reranker) -> None:
    kept = bundled.precompute(TEXTS[:20])
    mixed = [*held(TEXTS[:20], kept), *held(TEXTS[20:31], [None] * 11)]
    receipt = bundled.rank(QUERY, mixed, exact=True).receipt
    assert (receipt.precomputed, receipt.scored) == (20, 31)
    whole, rest = (bundled.rank(QUERY, own, exact=True).receipt for own in (TEXTS, TEXTS[20:31]))
    assert receipt.tokens == rest.tokens < whole.tokens


def test_in_a_mixture_only_the_rest_is_encoded(
    bundled: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = bundled.precompute(TEXTS)
    mixed = held(TEXTS, [own if place % 2 else None for place, own in enumerate(kept)])
    encode = models.encode
    rows_read: list[TokenRow] = []

    def noted(encoder: Session, rows: Sequence[TokenRow]) -> models.TokenStates:
        rows_read.extend(rows)
        return encode(encoder, rows)

    monkeypatch.setattr(models, "encode", noted)
    bundled.score(QUERY, mixed)
    assert len(rows_read) == 1 + len(TEXTS) // 2  # the query, and every second text


def test_hits_are_those_of_reading_spans_and_counts_too(bundled: Reranker) -> None:
    plain = [Candidate(str(place), text) for place, text in enumerate(TEXTS)]
    kept = held(TEXTS, bundled.precompute(TEXTS))
    for one, other in zip(
        bundled.rank(QUERY, plain, top_n=None), bundled.rank(QUERY, kept, top_n=None), strict=True
    ):
        assert (one.index, one.span, one.status) == (other.index, other.span, other.status)
        assert (one.tokens_seen, one.tokens_dropped) == (other.tokens_seen, other.tokens_dropped)


def test_titles_are_part_of_what_is_kept(bundled: Reranker) -> None:
    document = Document("d", TEXTS[0], title="A title")
    (kept,) = bundled.precompute([document])
    own = Candidate("d", TEXTS[0], title="A title", precomputed=kept)
    assert bundled.rank(QUERY, [own]).receipt.precomputed == 1
    assert bundled.rank(QUERY, [replace(own, title="Another")]).receipt.precomputed == 0


def _receipt(reranker: Reranker, text: str, kept: Precomputed, query: str = QUERY) -> Receipt:
    return reranker.rank(query, [Candidate("0", text, precomputed=kept)]).receipt


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
def test_what_was_kept_of_something_else_is_read_anew(fault: str, bundled: Reranker) -> None:
    (kept,) = bundled.precompute(TEXTS[:1])
    assert kept is not None
    wrong = {
        "another model": replace(kept, model="0" * 16),
        "another text": replace(kept, text=digest("other")),
        "states cut short": replace(kept, states=kept.states[:-1]),
        "states of one token less": replace(kept, states=kept.states[:-1152]),
        "torn ids": replace(kept, tokens=kept.tokens[:-1]),
        "one id less": replace(kept, tokens=kept.tokens[:-4]),
        "one token less in both": replace(
            kept, tokens=kept.tokens[:-4], states=kept.states[:-1152]
        ),
        "ids of no vocabulary": replace(kept, tokens=b"\xff" * len(kept.tokens)),
        "ids that are special": replace(kept, tokens=bytes(len(kept.tokens))),
        "ids of another order": replace(kept, tokens=kept.tokens[4:] + kept.tokens[:4]),
        "numbers": replace(kept, tokens=cast(bytes, 7), states=cast(bytes, 1.5)),
        "text": replace(kept, text=cast(bytes, "text"), tokens=cast(bytes, "abcd")),
        "nothing": replace(kept, text=cast(bytes, None), states=cast(bytes, None)),
        "an object": cast(Precomputed, object()),
    }[fault]
    expected = bundled.score(QUERY, TEXTS[:1])
    found = bundled.score(QUERY, [Candidate("0", TEXTS[0], precomputed=wrong)])
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert _receipt(bundled, TEXTS[0], wrong).precomputed == 0
    assert _receipt(bundled, TEXTS[0], kept).precomputed == 1


def test_sealed_ids_that_no_text_has_are_not_used(bundled: Reranker) -> None:
    """As an older resift kept them, which read "[SEP]" in a text as the end of it."""
    for ids in ([101, 2003, 102], [40_000]):
        forged = pack(
            TEXTS[0], EncodedDocument(TextTokens(np.array(ids, np.int64))), bundled.fingerprint
        )
        expected = bundled.score(QUERY, TEXTS[:1])
        assert bundled.score(QUERY, [Candidate("0", TEXTS[0], precomputed=forged)]) == expected


def test_another_split_models_states_are_not_used(
    bundled: Reranker, runtime: str, tmp_path: Path
) -> None:
    other = Reranker(make_split_artifact(tmp_path / "m"), settings=Settings(runtime=runtime))
    text = " ".join(WORDS[:9])
    (theirs,) = bundled.precompute([text])
    (own,) = other.precompute([text])
    assert theirs is not None and own is not None
    assert _receipt(other, text, theirs, WORDS[2]).precomputed == 0
    assert _receipt(other, text, own, WORDS[2]).precomputed == 1


def test_without_states_only_ids_are_kept(bundled: Reranker) -> None:
    with_states, without = (
        bundled.precompute(TEXTS[:2]),
        bundled.precompute(TEXTS[:2], states=False),
    )
    for one, other in zip(with_states, without, strict=True):
        assert one is not None and other is not None
        assert one.states and not other.states and one.tokens == other.tokens
    assert bundled.rank(QUERY, held(TEXTS[:2], without)).receipt.precomputed == 0


def test_a_joint_model_keeps_ids_and_tokenises_nothing_but_the_query(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint = Reranker(make_joint_artifact(tmp_path), settings=Settings(runtime=runtime))
    texts = TEXTS[:8]
    kept = joint.precompute(texts)
    assert all(own is not None and own.tokens and not own.states for own in kept)
    expected = joint.score(QUERY, texts)
    read: list[str] = []
    tokens = joint._engine.model._tokens
    tokenise: Callable[..., Iterator[TextTokens | None]] = tokens.read

    def noted(texts: Sequence[str], wanted: Wanted) -> Iterator[TextTokens | None]:
        read.extend(texts)
        return tokenise(texts, wanted)

    monkeypatch.setattr(tokens, "read", noted)
    np.testing.assert_allclose(joint.score(QUERY, held(texts, kept)), expected, atol=1e-6, rtol=0)
    assert read == [QUERY]
    joint.score(QUERY, texts)
    assert read == [QUERY, QUERY, *texts]


def test_what_cannot_be_read_is_kept_as_nothing(bundled: Reranker) -> None:
    kept = bundled.precompute([TEXTS[0], "", cast(str, None), "\udcff", TEXTS[1]])
    assert [own is None for own in kept] == [False, True, True, True, False]
    assert bundled.precompute([]) == []


def test_a_budget_of_nothing_leaves_kept_documents_late_too(bundled: Reranker) -> None:
    ranking = bundled.rank(QUERY, held(TEXTS, bundled.precompute(TEXTS)), budget_ms=0)
    assert ranking.receipt.partial and ranking.receipt.scored == 0


def test_documents_read_lately_are_not_encoded_again(runtime: str) -> None:
    reranker = Reranker(settings=Settings(runtime=runtime, state_cache_mb=50))
    first = reranker.rank(QUERY, TEXTS, exact=True)
    second = reranker.rank(QUESTIONS[1], TEXTS, exact=True)
    assert (first.receipt.precomputed, second.receipt.precomputed) == (0, len(TEXTS))
    assert second.receipt.tokens == 0
    plain = Reranker(settings=Settings(runtime=runtime)).rank(QUESTIONS[1], TEXTS, exact=True)
    assert [hit.index for hit in second] == [hit.index for hit in plain]
    for one, other in zip(second, plain, strict=True):
        assert one.logit == pytest.approx(other.logit, abs=1e-5)


def test_a_model_that_ends_in_late_interaction_encodes_nothing_again_either(
    runtime: str, tmp_path: Path
) -> None:
    folder = make_split_artifact(tmp_path / "m", meeting=False)
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


def test_threads_may_share_what_is_kept(runtime: str) -> None:
    reranker = Reranker(settings=Settings(runtime=runtime, state_cache_mb=3))  # room for a few
    expected = [reranker.score(question, TEXTS[:20]) for question in QUESTIONS[:3]]
    found: dict[int, float] = {}

    def call(number: int) -> None:
        logits = reranker.score(QUESTIONS[number % 3], TEXTS[:20])
        found[number] = float(np.abs(logits - expected[number % 3]).max())

    threads = [threading.Thread(target=call, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9 and max(found.values()) <= 1e-5


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


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 60)), max_size=60))
def test_a_cache_never_holds_more_than_its_bytes(puts: list[tuple[int, int]]) -> None:
    cache = StateCache(0.002)
    for name, tokens in puts:
        cache.put({bytes([name]): _known(tokens)})
        kept = cache.get(bytes([one]) for one in range(13)).values()
        assert (
            sum(own.tokens.ids.nbytes + own.states.nbytes for own in kept if own.states is not None)
            <= 2000
        )
        assert cache._size == sum(
            400 + own.tokens.ids.nbytes + own.states.nbytes
            for own in kept
            if own.states is not None
        )


def test_the_least_recently_used_make_room() -> None:
    cache = StateCache(0.0015)  # two of these
    for name in (b"a", b"b"):
        cache.put({name: _known(20)})
    cache.get([b"a"])
    cache.put({b"c": _known(20)})
    assert set(cache.get([b"a", b"b", b"c"])) == {b"a", b"c"}


def test_a_bit_that_flipped_in_kept_states_is_seen_and_the_text_read_anew() -> None:
    reranker = Reranker()
    kept = reranker.precompute(TEXTS[:3])
    fresh = reranker.score(QUERY, TEXTS[:3])
    assert kept[1] is not None
    states = bytearray(kept[1].states)
    states[len(states) // 2] ^= 0x40
    altered = [kept[0], replace(kept[1], states=bytes(states)), kept[2]]
    ranking = reranker.rank(QUERY, held(TEXTS[:3], altered), None)
    assert ranking.receipt.precomputed == 2
    np.testing.assert_allclose(
        reranker.score(QUERY, held(TEXTS[:3], altered)), fresh, atol=1e-5, rtol=0
    )
