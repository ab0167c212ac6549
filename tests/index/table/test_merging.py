"""Proves that merging loses no row, however the best are spread over the shards."""

from collections.abc import Mapping
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from resift.index.table.merging import Part, gather, shares


def scores_of(size: int, lowest: int, spread: int, seed: int) -> list[float]:
    return [float(lowest + at) for at in Random(seed).choices(range(spread + 1), k=size)]


# Some shards have most of the best rows, and scores occur often.
SCORES = st.builds(
    scores_of, st.integers(0, 150), st.integers(0, 20), st.integers(0, 20), st.integers(0, 99)
)


class Shards:
    """Shards with these scores; a row id is 1,000 times the shard's number, and the rank there."""

    def __init__(self, scores: list[list[float]]) -> None:
        self.scores = [sorted(shard, reverse=True) for shard in scores]
        self.asked: list[dict[int, int]] = []

    @property
    def sizes(self) -> list[int]:
        return list(map(len, self.scores))

    def search(self, counts: Mapping[int, int]) -> dict[int, Part]:
        self.asked.append(dict(counts))
        return {shard: self.part(shard, count) for shard, count in counts.items()}

    def part(self, shard: int, count: int) -> Part:
        rows = {1000 * shard + at: score for at, score in enumerate(self.scores[shard][:count])}
        return Part(rows, frozenset({max(rows)} if rows and len(rows) == count else ()))

    def all_rows(self) -> list[tuple[int, float]]:
        parts = [self.part(shard, size) for shard, size in enumerate(self.sizes)]
        rows = [entry for part in parts for entry in part.rows.items()]
        return sorted(rows, key=lambda entry: (-entry[1], entry[0]))


@settings(max_examples=200, deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=6), st.integers(1, 150))
def test_the_best_of_all_are_those_of_one_list(scores: list[list[float]], count: int) -> None:
    shards = Shards(scores)
    best = gather(shards.search, shards.sizes, count)
    expected = shards.all_rows()[:count]
    assert [score for _, score in best] == [score for _, score in expected]
    assert best == sorted(best, key=lambda entry: (-entry[1], entry[0]))
    lowest = expected[-1][1] if expected else 0.0
    assert {row for row, score in best if score > lowest} == {
        row for row, score in expected if score > lowest
    }


def test_even_shards_are_asked_once_for_less_than_all() -> None:
    shards = Shards([[float(8 * at + shard) for at in range(500)] for shard in range(8)])
    assert len(gather(shards.search, shards.sizes, 300)) == 300
    [asked] = shards.asked
    assert set(asked) == set(range(8))
    assert max(asked.values()) < 60


def test_only_a_shard_with_most_of_the_best_is_asked_again() -> None:
    shards = Shards([[100.0] * 300, *([1.0] * 300 for _ in range(3))])
    assert gather(shards.search, shards.sizes, 200) == [(at, 100.0) for at in range(200)]
    first, *again = shards.asked
    assert set(first) == {0, 1, 2, 3}
    assert again[-1] == {0: 200}  # never for more than are wanted of all
    assert not {2, 3} & {shard for counts in again for shard in counts}


def test_shards_without_rows_are_not_asked() -> None:
    shards = Shards([[], [3.0, 2.0], []])
    assert gather(shards.search, shards.sizes, 5) == [(1000, 3.0), (1001, 2.0)]
    assert [set(counts) for counts in shards.asked] == [{1}]
    assert gather(shards.search, [0, 0, 0], 5) == []


def test_shares_follow_the_sizes() -> None:
    small, large = shares([100, 10_000], 200)
    assert small < 30 < 200 == large
    assert shares([0, 3], 10) == [0, 3]
    assert shares([500, 500], 10, more=50) == [30, 30]
    assert shares([500, 500], 2, more=10) == [6, 6]
