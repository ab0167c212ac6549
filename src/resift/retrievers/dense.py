"""What adapters share for dense retrieval: which mode is possible, and the vector of a query."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, TypeVar

import numpy as np

from resift.background import Background
from resift.errors import InputError, shown
from resift.rerank.values import number
from resift.search.options import Mode
from resift.search.options import checked_mode as known_mode

T = TypeVar("T")

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)

Embed = Callable[[str], Any] | Any
"""What encodes a query: a callable that returns its vector, or a `resift.Embedder`.

It must be the model that made the stored vectors.
"""


def checked_mode(mode: Mode | None, *, dense: str | None, lexical: str | None) -> Mode:
    """The mode of a retriever; by default all that its arguments allow.

    `dense` and `lexical` tell which argument is missing for that retriever, None if none is. Raises
    `InputError` if the mode needs it.
    """
    if mode is None:
        if dense and lexical:
            raise InputError(f"nothing to search with: give {dense}, or {lexical}")
        return "lexical" if dense else "dense" if lexical else "hybrid"
    mode = known_mode(mode)
    missing = (mode != "lexical" and dense) or (mode != "dense" and lexical)
    if missing:
        raise InputError(f"mode {mode!r} needs {missing}")
    return mode


def check_embed(embed: Embed | None) -> None:
    """Raise `InputError` for what cannot encode a query; None is allowed."""
    if embed is not None and not callable(embed) and not hasattr(embed, "embed_query"):
        raise InputError(
            f"embed: {shown(embed)}: expected a callable that returns the vector of a query, or a "
            "resift.Embedder"
        )


def encoded(embed: Embed, query: str) -> Any:
    """What `embed` returns for a query; its errors are raised."""
    encode = getattr(embed, "embed_query", None) or embed
    return encode(query)


def query_vector(embed: Embed, query: str) -> list[float] | None:
    """The vector of a query as plain floats; None for a zero vector, which is near nothing.

    Raises `InputError` if `embed` returns anything but a list of finite numbers.
    """
    return as_vector(encoded(embed, query))


def as_vector(value: Any) -> list[float] | None:
    """What an embedder returned as plain floats; None if all are zero with 32 bits.

    Engines compare vectors with 32 bits. Raises `InputError`.
    """
    values = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        values = []
    numbers = list(map(number, values))
    vector = [value for value in numbers if value is not None and abs(value) <= _LARGEST]
    if not vector or len(vector) != len(numbers):
        raise InputError(
            f"embed: returned {shown(value)} for a query: expected the vector, a list of numbers "
            "that are finite with 32 bits"
        )
    return vector if max(map(abs, vector)) >= _SMALLEST else None


async def in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, which would block an event loop; nobody waits for it once cancelled."""
    return await asyncio.wrap_future(_THREADS.run(work))


_THREADS = Background(32, "resift-retrieve")
