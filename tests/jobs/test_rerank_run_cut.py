"""Parts of a run: each query once, in order, none too large, and enough for all workers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from resift import Document
from resift.evaluation.rerank_run import RerankJob
from resift.evaluation.trec import RunEntry
from resift.jobs.parts import cut
from resift.jobs.rerank_run import Size, _parts, _size, part_limit

COUNTS = st.integers(0, 50)
SIZES = st.lists(st.builds(Size, COUNTS, COUNTS, st.just(1)), max_size=40)
LIMITS = st.builds(Size, COUNTS, COUNTS, COUNTS)


def _total(sizes: list[Size]) -> Size:
    return Size(*(sum(values) for values in zip(*sizes, strict=True)))


def _fits(size: Size, limit: Size) -> bool:
    return all(value <= most for value, most in zip(size, limit, strict=True))


@given(SIZES, LIMITS)
def test_every_item_is_in_one_range_in_order(sizes: list[Size], limit: Size) -> None:
    ranges = cut(sizes, limit)
    assert [index for part in ranges for index in part] == list(range(len(sizes)))
    assert all(len(part) for part in ranges)


@given(SIZES, LIMITS)
def test_a_range_is_within_the_limit_and_the_next_item_would_not_be(
    sizes: list[Size], limit: Size
) -> None:
    ranges = cut(sizes, limit)
    for part in ranges:
        assert len(part) == 1 or _fits(_total([sizes[index] for index in part]), limit)
    for part, following in pairwise(ranges):
        assert not _fits(_total([sizes[index] for index in [*part, following[0]]]), limit)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=300), st.integers(1, 8))
def test_no_worker_waits_for_long_at_the_end(costs: list[int], workers: int) -> None:
    sizes = [Size(cost, cost, 1) for cost in costs]
    parts = cut(sizes, part_limit(sizes, workers))
    greatest = max(sum(costs[index] for index in part) for part in parts)
    assert greatest <= max(sum(costs) / (8 * workers), *costs)


def test_many_small_queries_are_cut_by_their_number() -> None:
    sizes = [Size(0, 0, 1)] * 2_500
    assert [len(part) for part in cut(sizes, part_limit(sizes, 1))] == [1_000, 1_000, 500]


DOCUMENTS = {"d1": Document("d1", "x" * 30, "title"), "d2": Document("d2", "x" * 9_000)}
RUN = {
    "q1": [RunEntry("d1", 3.0), RunEntry("d2", 2.0), RunEntry("d9", 1.0)],
    "q2": [RunEntry("d2", 1.0)],
}
JOB = RerankJob({"q1": "a query", "q2": "another"}, DOCUMENTS, RUN, 2)


def test_a_long_document_costs_what_the_model_reads_of_it() -> None:
    assert _size(JOB, "q1", 512) == Size((7 + 35) + 5 * 512, 7 + 35 + 9_000, 1)


def test_a_part_has_the_queries_with_their_candidates_within_the_depth() -> None:
    sizes = [Size(1, 1, 1)] * 2
    parts = _parts(JOB, ["q1", "q2"], sizes, 1)
    queries = [query for part in parts for query in part]
    assert [query.text for query in queries] == ["a query", "another"]
    assert [[document.id for document in query.candidates] for query in queries] == [
        ["d1", "d2"], ["d2"]
    ]  # fmt: skip
    assert [document.score for document in queries[0].candidates] == [3.0, 2.0]
