"""What a plan is for: how many passages, how many queries, how fast. Checked once."""

import math
from dataclasses import dataclass, fields

from resift.errors import InputError, shown
from resift.types import DEPTH

MOST_WORKERS = 10_000_000

_BOUNDS: dict[str, tuple[float, float, bool]] = {
    "passages": (1, 1e15, True),
    "qps": (1e-6, 1e9, False),
    "depth": (1, 10_000, True),
    "p95_ms": (1, 1e6, False),
    "words": (1, 10_000, False),
    "changes": (0, 1e15, False),
    "syncs": (0.01, 1_440, False),
    "copies": (1, 100, True),
    "shard_passages": (1, 1e9, True),
    "workers": (1, MOST_WORKERS, True),
}
"""Least and greatest value of each target, and whether it is a whole number."""

_CHANGED_SHARE = 0.001
"""Of the passages a day, unless `changes` says otherwise."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The size of an index and of its traffic.

    `depth` candidates of each query are reranked; the 95th percentile of a search takes at most
    `p95_ms`. A passage has `words` words. `changes` passages a day are added or replaced, by
    `syncs` syncs a day; None is a thousandth of the passages. Each passage is served by at least
    `copies` machines, so that one of them may fail. A shard has at most `shard_passages`. `workers`
    cores build the index; None is as many as finish in a day. Raises `InputError` for a value out
    of its bounds.
    """

    passages: float
    qps: float
    depth: float = DEPTH
    p95_ms: float = 500.0
    words: float = 90.0
    changes: float | None = None
    syncs: float = 1.0
    copies: float = 2
    shard_passages: float = 1_000_000
    workers: float | None = None
    token_states: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _BOUNDS and value is not None:
                check_number(field.name, value, *_BOUNDS[field.name])

    @property
    def changed_a_day(self) -> float:
        """Passages that are added or replaced a day."""
        return self.passages * _CHANGED_SHARE if self.changes is None else self.changes

    @property
    def shards(self) -> int:
        """Into how many shards the passages are divided; 1 is an ordinary index."""
        return max(math.ceil(self.passages / self.shard_passages), 1)

    @property
    def passages_a_shard(self) -> float:
        """How many passages a shard has."""
        return self.passages / self.shards


def check_number(name: str, value: object, least: float, most: float, is_whole: bool) -> None:
    """Raise `InputError` unless a value is a number between two bounds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and least <= value <= most and (not is_whole or float(value).is_integer()):  # type: ignore[operator,arg-type]
        return
    kind = "whole number" if is_whole else "number"
    raise InputError(f"{name}={shown(value)}: expected a {kind} from {least:g} to {most:g}")
