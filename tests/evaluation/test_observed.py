"""What is kept of a query while it is evaluated: whole lists, in little room."""

import tracemalloc
from types import SimpleNamespace
from typing import cast

from resift import Candidate
from resift.evaluation.first_stage import FirstStageCandidates
from resift.evaluation.observed import WEIGHTS, SecondSeen
from resift.evaluation.second_stage import Orders, SecondStage

DEPTHS = (10, 20, 50, 100)
QUERIES = 200
NAMES = [f"document-{number}" for number in range(1_000)]
CANDIDATES = [Candidate(name, "text") for name in NAMES[:100]]


def _reversed(*_: object) -> Orders:
    """Every depth turned round, at every weight."""
    places = {
        (depth, weight): list(range(depth - 1, -1, -1))
        for depth in DEPTHS
        for weight in (None, *WEIGHTS)
    }
    return Orders(places, {}, dict.fromkeys(DEPTHS, 1))


def test_lists_are_whole_and_take_little_room() -> None:
    system = cast(SecondStage, SimpleNamespace(orders=_reversed))
    window = FirstStageCandidates(CANDIDATES, beyond=NAMES[100:])
    second = SecondSeen()
    second.rerank(system, ("first", "text", 0), window, DEPTHS)
    tracemalloc.start()
    for number in range(QUERIES):
        second.rerank(system, (f"q{number}", "text", number), window, DEPTHS)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / QUERIES < 10_000  # bytes; a list of a thousand names takes as many
    found = second.reranked((20, 0.3))["q7"]
    assert found == [*reversed(NAMES[:20]), *NAMES[20:]]
    assert not second.has((20, 0.25)) and second.reranked((20, 0.25)) == {}


def test_what_came_out_of_the_cache_is_named() -> None:
    def recalled(*_: object) -> Orders:
        return Orders({(10, None): [0]}, {}, {10: 0}, recalled=True)

    second = SecondSeen()
    system = cast(SecondStage, SimpleNamespace(orders=recalled))
    second.rerank(system, ("q1", "text", 0), FirstStageCandidates(CANDIDATES[:1]), [10])
    assert second.recalled == ["q1"] and second.cost(10, 1)[0] is None
