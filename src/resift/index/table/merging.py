"""Merges the results of shards into the best of all. Pure.

Asking each shard for all `count` would be the sum of their work. The best are spread over the
shards by chance, so each is asked for its share and some more. If the last one of a shard's is
above the lowest of the best, there may be others behind it: then that shard is asked again, for
twice as many. So no score is missed by the shares, whatever they are; of rows with the lowest score
of the best, which are alike to a search, any may be taken.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

# Fewer deviations make a shard be asked again too often, which costs more than some more rows.
_DEVIATIONS, _MORE = 3.0, 2


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that a shard brought, with scores, in any order.

    `edges` are rows behind which the shard may have others: empty if it has no more.
    """

    rows: Mapping[int, float]
    edges: frozenset[int] = frozenset()


def shares(sizes: Sequence[int], count: int, more: int = 0) -> list[int]:
    """How many rows of each shard to ask for first, if the best `count` of all are wanted.

    `sizes` are the shards' numbers of rows, those that match a filter if there is one. The shares
    are at least those of `count` and `more` rows.
    """
    total = max(sum(sizes), 1)
    asked = []
    for size in sizes:
        mean = count * size / total
        slack = max(_DEVIATIONS * math.sqrt(mean) + _MORE, more * size / total)
        asked.append(min(math.ceil(mean + slack), count + more, size))
    return asked


def gather(
    search: Callable[[Mapping[int, int]], Mapping[int, Part]],
    sizes: Sequence[int],
    count: int,
    more: int = 0,
) -> list[tuple[int, float]]:
    """Find the best `count` rows of all shards, best first; equal scores are in order of row id.

    `search` takes a number of rows for some shards, by the shard's number, and returns what they
    bring. Row ids are those of the whole. `more` rows are asked for besides, for a search that
    brings rows in another order than that of their scores.
    """
    asked = {shard: share for shard, share in enumerate(shares(sizes, count, more)) if share}
    parts: dict[int, Part] = {}
    best: list[tuple[int, float]] = []
    again = dict(asked)
    while again:
        parts |= search(again)
        best = _best(parts.values(), count)
        lowest = best[-1][1] if len(best) == count else -math.inf
        again = {
            shard: min(2 * asked[shard], sizes[shard], count + more)
            for shard, part in parts.items()
            if asked[shard] < min(sizes[shard], count + more)
            and any(part.rows[row] > lowest for row in part.edges)
        }
        asked |= again
    return best


def _best(parts: Iterable[Part], count: int) -> list[tuple[int, float]]:
    scored = (entry for part in parts for entry in part.rows.items())
    return sorted(scored, key=lambda entry: (-entry[1], entry[0]))[:count]
