"""Options of systems to compare, and orders at many depths from one pass."""

import tracemalloc
from types import SimpleNamespace
from typing import cast

import pytest

from resift import Candidate, Reranker
from resift.errors import InputError
from resift.evaluation.first_stage import FirstStageCandidates
from resift.evaluation.second_stage import (
    WEIGHTS,
    Orders,
    SecondStage,
    SecondStageResults,
    SystemOptions,
    parse_system,
)
from resift.rerank.options import LONG_DOCUMENTS
from resift.settings import Settings
from texts import QUESTIONS, passages

DEPTHS = [3, 6, 12]


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: these tests do not depend on it."""
    return in_one_runtime


def _window(size: int = 12) -> list[Candidate]:
    return [
        Candidate(str(n), text, rank=n + 1, score=9.0 - n)
        for n, text in enumerate(passages(size, 200))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bundled", SystemOptions("bundled", "bundled")),
        ("models/mine", SystemOptions("models/mine", "models/mine")),
        ("bundled?fusion_weight=0", SystemOptions("bundled?fusion_weight=0", "bundled", 0.0)),
        (
            "m?exact=false&fusion_weight=.5",
            SystemOptions("m?exact=false&fusion_weight=.5", "m", 0.5, False),
        ),
        (
            "bundled?long_documents=windows",
            SystemOptions("bundled?long_documents=windows", "bundled", long_documents="windows"),
        ),
    ],
)
def test_options_of_a_system_are_parsed(text: str, expected: SystemOptions) -> None:
    assert parse_system(text) == expected


@pytest.mark.parametrize(
    "text", ["m?depth=3", "m?fusion_weight=much", "m?fusion_weight=-1", "m?exact=maybe", "m?exact",
             "m?fusion_weight=nan", "m?long_documents=all"]
)  # fmt: skip
def test_an_unknown_option_of_a_system_is_named(text: str) -> None:
    with pytest.raises(InputError, match="is not an option; expected fusion_weight=NUMBER"):
        parse_system(text)


@pytest.mark.parametrize("exact", [True, False])
def test_long_documents_are_read_as_the_system_says(bundled: Reranker, exact: bool) -> None:
    filler = "The committee met on Tuesday to discuss the annual budget. " * 80
    late = Candidate("late", filler + "The capital of Australia is Canberra.")
    candidates = [Candidate("none", filler), late]
    orders = {
        mode: SecondStage(SystemOptions("s", exact=exact, long_documents=mode), bundled)
        .orders("capital of Australia", candidates, [2], [], timed=False)
        .indices[2, None]
        for mode in LONG_DOCUMENTS
    }
    assert list(orders["windows"]) == [1, 0]
    cut = [hit.index for hit in bundled.rank("capital of Australia", candidates)]
    assert list(orders["cut"]) == cut


@pytest.mark.parametrize("weight", [None, 0.0])
def test_every_depth_and_weight_is_the_order_of_rank(
    bundled: Reranker, weight: float | None
) -> None:
    candidates = _window()
    system = SecondStage(SystemOptions("s", fusion_weight=weight), bundled)
    orders = system.orders(QUESTIONS[0], candidates, DEPTHS, [2.0], timed=False)
    for depth in DEPTHS:
        for given, used in ((None, weight), (2.0, 2.0)):
            ranked = bundled.rank(
                QUESTIONS[0], candidates[:depth], None, exact=True, fusion_weight=used
            )
            assert orders.indices[depth, given] == [hit.index for hit in ranked]
        assert orders.tokens[depth] == sum(
            bundled.rank(QUESTIONS[0], [candidate], None).receipt.tokens
            for candidate in candidates[:depth]
        )
    assert list(orders.ms) == [12]


def test_timed_queries_are_scored_depth_by_depth(bundled: Reranker) -> None:
    system = SecondStage(SystemOptions("s"), bundled)
    whole = system.orders(QUESTIONS[1], _window(), DEPTHS, [], timed=False)
    timed = system.orders(QUESTIONS[1], _window(), DEPTHS, [], timed=True)
    assert timed.indices == whole.indices
    assert list(timed.ms) == [3, 6] and timed.ms[3] < timed.ms[6]


def test_fewer_candidates_than_a_depth_are_all_scored(bundled: Reranker) -> None:
    orders = SecondStage(SystemOptions("s"), bundled).orders(
        "a", _window(4), DEPTHS, [], timed=False
    )
    assert sorted(orders.indices[12, None]) == sorted(orders.indices[6, None]) == [0, 1, 2, 3]
    assert orders.ms[6] == orders.ms[12] and 3 not in orders.ms


def test_pruned_candidates_keep_their_order_behind_the_rest(bundled: Reranker) -> None:
    system = SecondStage(SystemOptions("s", exact=False), bundled)
    candidates = _window(14)
    orders = system.orders(QUESTIONS[2], candidates, [5, 14], [2.0], timed=True)
    assert list(orders.indices) == [(5, None), (14, None)]  # an early exit is for one weight
    first = [hit.index for hit in bundled.rank(QUESTIONS[2], candidates, 10)]
    assert orders.indices[14, None][:10] == first
    rest = orders.indices[14, None][10:]
    assert list(rest) == sorted(rest) and len(orders.indices[14, None]) == 14
    assert list(orders.ms) == [5, 14]


@pytest.mark.parametrize("exact", [True, False])
def test_scores_from_the_cache_are_not_timed(exact: bool) -> None:
    cached = Reranker(settings=Settings(cache_mb=8))
    system = SecondStage(SystemOptions("s", exact=exact), cached)
    first = system.orders(QUESTIONS[2], _window(), DEPTHS, [], timed=True)
    again = system.orders(QUESTIONS[2], _window(), DEPTHS, [], timed=True)
    assert again.from_cache and again.ms == {}
    assert exact is False or (not first.from_cache and first.ms)
    assert again.indices[12, None] == first.indices[12, None]


ALL_DEPTHS = (10, 20, 50, 100)
QUERIES = 200
NAMES = [f"document-{number}" for number in range(1_000)]
CANDIDATES = [Candidate(name, "text") for name in NAMES[:100]]


def _reversed(*_: object) -> Orders:
    """Every depth reversed, at every weight."""
    indices = {
        (depth, weight): list(range(depth - 1, -1, -1))
        for depth in ALL_DEPTHS
        for weight in (None, *WEIGHTS)
    }
    return Orders(indices, {}, dict.fromkeys(ALL_DEPTHS, 1))


def test_orders_are_complete_and_compact() -> None:
    system = cast(SecondStage, SimpleNamespace(orders=_reversed))
    candidates = FirstStageCandidates(CANDIDATES, tail=NAMES[100:])
    second = SecondStageResults()
    second.rerank(system, ("first", "text", 0), candidates, ALL_DEPTHS)
    tracemalloc.start()
    for number in range(QUERIES):
        second.rerank(system, (f"q{number}", "text", number), candidates, ALL_DEPTHS)
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert memory / QUERIES < 10_000  # bytes; a list of a thousand names takes as many
    ranked = second.ranked((20, 0.3))["q7"]
    assert ranked == [*reversed(NAMES[:20]), *NAMES[20:]]
    assert not second.has((20, 0.25)) and second.ranked((20, 0.25)) == {}


def test_queries_from_the_cache_are_named() -> None:
    def recalled(*_: object) -> Orders:
        return Orders({(10, None): [0]}, {}, {10: 0}, from_cache=True)

    second = SecondStageResults()
    system = cast(SecondStage, SimpleNamespace(orders=recalled))
    second.rerank(system, ("q1", "text", 0), FirstStageCandidates(CANDIDATES[:1]), [10])
    assert second.from_cache == ["q1"] and second.cost(10, 1)[0] is None


def test_a_label_has_no_secret_of_a_url_and_keeps_its_options() -> None:
    name = "bundled@100+tei:http://u:S3cret@host@20"
    system = parse_system(f"{name}?exact=false")
    assert system.label == "bundled@100+tei:http://…@host@20?exact=false"
    assert system.model == name and "S3cret" not in SystemOptions(name, name).label
    for text in (f"{name}?depth=3", "tei:http://host?key=S3cret"):
        with pytest.raises(InputError, match="is not an option") as raised:
            parse_system(text)
        assert "S3cret" not in str(raised.value)
